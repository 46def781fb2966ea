//! Exactly how a study was made.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings, hashes, seeds and counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The command that repeats the study, if there is one.
    pub command: Option<String>,
    /// The study file as a tree: tables are objects, everything with its defaults filled in.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// Content hashes of data, settings and weights.
    pub hashes: Vec<NamedHash>,
    /// Seeds by what they are for.
    pub seeds: BTreeMap<String, u64>,
    /// Number of finished runs on record.
    pub records: u64,
    /// Runs that failed and are missing from every number above.
    pub failures: Vec<Failure>,
}

/// The hash of something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedHash {
    /// What was hashed, for example "full model weights".
    pub name: String,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

/// A run that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Which run.
    pub run: String,
    /// What went wrong, as the error said it.
    pub error: String,
}
