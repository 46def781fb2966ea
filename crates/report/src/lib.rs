//! One self-contained HTML report of a study.
//!
//! A study fills [`ReportData`]; [`render_html`] turns it into one HTML file that needs no network, no script and no
//! font from elsewhere, and [`render_json`] into `report.json`, whose [`schema`] is committed beside this crate.
//!
//! The page answers six questions in this order: who contributed how much, how sure are we, can the scores be trusted,
//! what happens without the top or bottom contributors, what did it cost, and exactly how was it made. Its sentences
//! are computed from the numbers ([`Verdict`]); a number that is missing is called "not measured".

mod data;
mod error;
mod format;
mod json;
mod page;
mod plot;
mod verdict;

pub use data::*;
pub use error::ReportError;
pub use json::{render_json, schema};
pub use page::render_html;
pub use verdict::{Standing, Verdict, standing};
