//! Runs as immutable, content-addressed records.
//!
//! A *study* expands to *runs*. What determines a run (method, coalition, seeds, parent model, settings) is its
//! [`RunKey`]; the SHA-256 of the key's canonical JSON is its [`RunId`]; its result is one [`Record`], one JSON file
//! named by the id. A [`Ledger`] is the folder of those files. It gives three promises:
//!
//! * **atomic**: a record is written to a temporary name, synced and only then linked to its own name, so a reader
//!   sees a whole record or none, whenever a writer was killed;
//! * **unique**: the link refuses to replace, so two writers can never leave two records of one run, and a second,
//!   different result is an error that names the file;
//! * **verified**: every read checks format, key hash, content hash and finiteness, and says which file to delete when
//!   one of them is wrong.
//!
//! Threads and processes share a study through [`Ledger::next_claim`]: a claim is an operating-system file lock, gone
//! the moment its holder is, even by `kill -9`. A [`DriverLock`] keeps a second driver off the whole study. Locks only spare
//! work: where a file system has none, claims are granted to all who ask, and the promises above hold all the same.
//!
//! ```
//! use ledger::{Ledger, Next, Record, RunKey};
//! use removal::Coalition;
//!
//! # let dir = tempfile::tempdir()?;
//! let ledger = Ledger::open(dir.path())?;
//! let keys: Vec<RunKey> =
//!     (0..3).map(|seed| RunKey::new("gd", Coalition::full(4)).seed("optimizer", seed)).collect();
//! let ids = keys.iter().map(RunKey::id).collect::<Result<Vec<_>, _>>()?;
//! while let Next::Claimed(claim) = ledger.next_claim(&ids, 3)? {
//!     let key = keys[claim.index()].clone();
//!     ledger.put(&Record::new(key)?.behavior("entropy", 1.5).seconds("unlearn", 0.2))?;
//! }
//! assert_eq!(ledger.status(&ids)?.done, 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The folder
//! | path | what it is |
//! | --- | --- |
//! | `ledger.json` | format name and version of the folder |
//! | `records/<run id>.json` | one record, see [`Record`] |
//! | `claims/<run id>.lock` | locked while somebody works on the run; holds the worker's process id |
//! | `failures/<run id>.json` | the last failure of a run that has no record yet, see [`Failure`] |
//! | `driver.lock` | locked while a driver owns the study; holds its process id |
//! | `.tmp-*` in any of these | a file being written; those of dead writers are swept by [`Ledger::open`] |

mod append;
mod canonical;
mod claim;
mod error;
mod export;
mod failure;
mod key;
mod publish;
mod record;
pub mod reference;
mod status;
mod store;
mod table;

pub use append::append_jsonl;
pub use canonical::canonical_json;
pub use claim::{Claim, ClaimOutcome, DriverLock, Next};
pub use error::LedgerError;
pub use failure::Failure;
pub use key::{RunId, RunKey};
pub use publish::write_file;
pub use record::{RECORD_FORMAT, RECORD_VERSION, Record, Times, Value};
pub use status::{Running, Status};
pub use store::Ledger;
pub use table::{Cell, Table, TableFormat};
