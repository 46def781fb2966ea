//! Reads arrays out of Python's pickles and PyTorch's files, and runs nothing.
//!
//! A pickle is a program for a stack machine, which may call any function of Python. [`Pickle`] knows the instructions that build
//! data (protocols 0 to 4), and the few names that NumPy's arrays and PyTorch's tensors are written with, each of which it acts
//! out by itself. Everything else is refused by name. [`torch_file`] reads the files that `torch.save` makes of a state dict.

mod error;
mod machine;
mod storage;
mod torch;
mod zip;

pub use error::PickleError;
pub use machine::Pickle;
pub use torch::{TorchTensor, torch_file};
