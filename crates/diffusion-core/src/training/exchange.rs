//! Data-parallel training: several processes, each with a slice of every batch, that add their gradients.
//!
//! burn's distributed operations (`DistributedOps::all_reduce`) start from devices of one backend with a communication
//! library of their own (NCCL on CUDA); the CPU backends have one device and implement none. Here any processes with a
//! channel between them can add rows of numbers: [`GradientExchange`] is that channel.

use crate::DiffusionError;

/// A channel between the ranks of a data-parallel training.
pub trait GradientExchange: Send + std::fmt::Debug {
    /// The number of this process among them, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn ranks(&self) -> usize;

    /// Replaces `values` by their sum over the ranks, added in the order of the ranks: the same bits for all.
    ///
    /// # Errors
    /// [`DiffusionError::Ranks`] if another rank ended or sent a row of another length.
    fn sum(&mut self, values: &mut [f32]) -> Result<(), DiffusionError>;
}
