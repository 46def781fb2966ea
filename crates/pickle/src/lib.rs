//! Reads arrays out of Python's pickles and PyTorch's files, and runs nothing.
//!
//! A pickle is a program for a stack machine, which may call any function of Python. [`Pickle`] knows the instructions that build
//! data (protocols 0 to 4), and the few names that NumPy's arrays and PyTorch's tensors are written with, each of which it acts
//! out by itself. Everything else is refused by name. [`torch_file`] reads the files that `torch.save` makes of a state dict.
//!
//! ```
//! use pickle::{Pickle, torch_file};
//!
//! // pickle.dumps({"labels": [6, 9]}, protocol=2)
//! let labels = b"\x80\x02}X\x06\x00\x00\x00labels](K\x06K\tes.";
//! assert_eq!(Pickle::parse(labels)?.integers("labels"), Some(vec![6, 9]));
//!
//! let weights = include_bytes!("../tests/fixtures/state.pth");
//! for (name, tensor) in torch_file(weights)? {
//!     println!("{name}: {:?}", tensor.shape);
//! }
//!
//! // A file that would run a program when Python opens it is refused.
//! assert!(torch_file(include_bytes!("../tests/fixtures/evil.pth")).is_err());
//! # Ok::<(), pickle::PickleError>(())
//! ```

mod error;
mod machine;
mod storage;
mod torch;
mod zip;

pub use error::PickleError;
pub use machine::Pickle;
pub use torch::{TorchTensor, torch_file};
