//! A study's work as a list that any number of machines can share.
//!
//! [`write_work_list`] puts the list beside the study; [`work`] does one slice of one stage of it, anywhere that sees the
//! study's folder. Slices need not know of each other: a run's record has the run's hash for its name and appears by a
//! rename, so even two machines that do the same run, without locks between them, leave one record.

mod list;
mod slice;
mod stage;

pub use list::{WorkList, WorkStage, is_planned, list_of, write_work_list};
pub use slice::{Slice, work};
pub use stage::Stage;
