//! The databases of the reference system: Python's result files, one JSON object a line.
//!
//! Each line holds every argument of the program that wrote it (`dataset`, `method`, `removal_dist`, `exp_name`, ...), the
//! images of the coalition as `remaining_idx` and `removed_idx`, and what was measured (`is`, `fid_value`, `entropy`, ...).
//! Many jobs append to one file at once, so lines are torn, joined and repeated. A [`ReferenceDatabase`] reads what is whole,
//! and names every line that it leaves out and why; [`Condition`]s pick the lines of one experiment; [`Classes`] turn
//! coalitions of images into coalitions of classes.
//!
//! ```
//! use ledger::reference::{Condition, ReferenceDatabase};
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("train.jsonl");
//! # std::fs::write(&path, concat!(
//! #     "{\"exp_name\": \"a\", \"remaining_idx\": [0, 2], \"removed_idx\": [1], \"is\": 2.5}\n",
//! #     "{\"exp_name\": \"b\", \"remaining_idx\": [1], \"removed_idx\": [0, 2], \"is\": 2.0}\n",
//! #     "{\"exp_name\": \"a\", \"remaining_i\n",
//! # ))?;
//! let database = ReferenceDatabase::read(&path)?;
//! let ours = database.matching(&[Condition::equals("exp_name", "a")]);
//! assert_eq!(ours.len(), 1);
//! assert_eq!(ours[0].behavior("is").and_then(|value| value.scalar()), Some(2.5));
//! assert_eq!(database.damaged[0].line, 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod classes;
mod condition;
mod database;
mod line;
mod row;

pub use classes::Classes;
pub use condition::Condition;
pub use database::{DamagedLine, ReferenceDatabase, RepeatedLine};
pub use row::{KNOWN_BEHAVIORS, ReferenceRow, SETTINGS, behavior_aliases};
