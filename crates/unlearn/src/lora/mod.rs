//! Low-rank adaptation of the attention projections.
//!
//! The parent is frozen. Each query, key and value projection y = W x + b of its attention blocks gets two matrices,
//! A `[r, in]` and B `[out, r]`, and becomes
//!
//! ```text
//! y = W x + b + alpha / r  B A dropout(x)
//! ```
//!
//! A begins uniform in +-1/sqrt(in), B at zero, so training begins at the parent. B learns `lora_lr_ratio` times faster than A
//! (LoRA+). The average follows the adapters alone. For sampling they are merged, W + alpha / r B A: a network without
//! adapters, of the parent's architecture, pruned or not.
//!
//! Adapters alone are read and written as PEFT does, see [`LoraUNet::adapter_files`] and [`LoraUNet::with_adapter`].
//!
//! Sources: Hu et al. 2022 (LoRA, <https://arxiv.org/abs/2106.09685>), Hayou et al. 2024 (LoRA+,
//! <https://arxiv.org/abs/2402.12354>).

mod adapter;
mod network;
mod peft;
mod settings;

pub use adapter::LoraAdapter;
pub use network::{LoraUNet, is_adapter_checkpoint};
pub use peft::{ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE};
pub use settings::LoraSettings;
