//! Fast CPU kernels behind burn's backend-extension mechanism.
//!
//! Each function takes and returns plain burn tensors. On the Flex backend in `f32`, with or
//! without autodiff, it runs kernels written here, forward and backward; on every other backend
//! and number type it runs burn's own operations, which are also what the tests compare with.
//!
//! Results are the same bits on every run and for every number of threads: each number is one
//! chain of operations whose order depends on shapes alone, and a forward pass gives an image the
//! same bits in every batch. They differ in the last bits between
//! instruction sets (see [`InstructionSet`]).
//!
//! Work is shared through the rayon pool of the calling thread. A caller that runs many small
//! operations should do so inside `ThreadPool::install`, which spares a hand-over for each, and hold an [`Awake`] meanwhile,
//! which spares waking the other threads.
//!
//! This is the only crate of the workspace with `unsafe` code: vector instructions and results
//! written in parallel need it. Every block says why it is sound.
#![allow(unsafe_code)]

mod adam;
#[cfg(feature = "mimalloc")]
mod allocator;
mod attention;
mod awake;
mod concat;
mod conv;
mod cpu;
mod dispatch;
mod flex;
mod gemm;
mod linear;
mod norm;
mod parallel;
mod reduce;
mod shift;
mod silu;
mod simd;
mod storage;
mod transpose;
mod upsample;

pub use adam::{AdamStep, AdamTensors, adam_step, squared_norm};
#[cfg(feature = "mimalloc")]
pub use allocator::keep_freed_memory;
pub use attention::{attention, pixel_attention};
pub use awake::Awake;
pub use concat::concat_channels;
pub use conv::{conv2d, conv2d_added};
pub use cpu::{INSTRUCTION_SET_VARIABLE, InstructionSet};
pub use linear::linear;
pub use norm::{group_norm, group_norm_shifted};
pub use shift::add_per_channel;
pub use silu::silu;
pub use upsample::upsample_nearest_2x;
