//! Data-parallel training: several processes, each with a slice of every batch, that add their gradients.
//!
//! burn's distributed operations (`DistributedOps::all_reduce`) add tensors of several devices of one backend within one
//! process, through that backend's communication library; Flex and ndarray keep their default, which is not
//! implemented. Here any processes with a
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
