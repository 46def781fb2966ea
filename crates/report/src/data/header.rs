//! The head of a report.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Title, origin and warnings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The headline, for example "Who taught this model to draw?".
    pub title: String,
    /// The study's name.
    pub study: String,
    /// When the report was made, RFC 3339 (`2026-01-31T12:00:00Z`).
    pub created: String,
    /// The version of Tribute that made it.
    pub tool_version: String,
    /// The device in words, for example "cpu (2 threads)".
    pub device: String,
    /// The data.
    pub dataset: DatasetInfo,
    /// If the numbers are only for show (quick mode), the sentence that says so; printed as a banner above everything.
    pub show_only: Option<String>,
    /// Remarks and warnings about this run, most important first.
    pub notes: Vec<Note>,
}

/// Where the training images come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatasetInfo {
    /// The pack's or folder's name.
    pub name: String,
    /// The licence of the images, for example "CC BY-SA 4.0".
    pub licence: String,
    /// The credit that the licence or good manners ask for.
    pub credit: String,
    /// Number of training images.
    pub images: u64,
    /// Height and width of an image in pixels.
    pub resolution: [u32; 2],
    /// The columns whose values name a contributor, for example `["contributor"]`.
    pub contributor_key: Vec<String>,
    /// SHA-256 of the data, in hexadecimal.
    pub content_hash: String,
}

/// A remark about this run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// How much it matters.
    pub level: NoteLevel,
    /// The remark, one or two sentences of plain text.
    pub text: String,
}

/// How much a note matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoteLevel {
    /// Good to know.
    Info,
    /// The reader should trust something less because of it.
    Warning,
}
