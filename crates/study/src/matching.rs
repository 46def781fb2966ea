//! Which records a study file asks for: the others in its folder were made with settings that it had before.

use std::collections::{BTreeMap, BTreeSet};

use ledger::{Record, RunId, RunKey};
use serde_json::Value;

use crate::config::StudyConfig;
use crate::error::StudyError;
use crate::layout::StudyDir;
use crate::runs::{LOADED, Recipe, Run, RunSettings};
use crate::status::read_plan;

/// A setting that differs between two runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SettingDifference {
    /// Its place in the run's key, as `training.steps` or `seeds.study`.
    pub setting: String,
    /// Its value in the one, as JSON; `none` if it has none.
    pub one: String,
    /// Its value in the other.
    pub other: String,
}

/// All that determines a record but its method, coalition and repetition, by dotted name: `training.steps`, `seeds.study`,
/// `parent`. Values are JSON, texts without quotes.
pub fn run_settings(key: &RunKey) -> BTreeMap<String, String> {
    let mut flat = BTreeMap::new();
    for (name, value) in &key.settings {
        flatten(name.clone(), value, &mut flat);
    }
    for (purpose, seed) in key.seeds.iter().filter(|(purpose, _)| *purpose != "repetition") {
        flat.insert(format!("seeds.{purpose}"), seed.to_string());
    }
    if let Some(parent) = &key.parent {
        flat.insert("parent".to_owned(), parent.clone());
    }
    flat
}

/// The settings in which two runs differ.
pub fn setting_differences(
    one: &BTreeMap<String, String>,
    other: &BTreeMap<String, String>,
) -> Vec<SettingDifference> {
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let text = |settings: &BTreeMap<String, String>, name: &str| {
        settings.get(name).cloned().unwrap_or_else(|| "none".to_owned())
    };
    let pairs = names.into_iter().map(|name| SettingDifference {
        setting: name.clone(),
        one: text(one, name),
        other: text(other, name),
    });
    pairs.filter(|difference| difference.one != difference.other).collect()
}

/// The settings in which a record differs from what the study file says, apart from those that the file alone does not tell:
/// hashes of images, weights and parent, and the network's shape, which follows from the images.
///
/// # Errors
/// If a setting cannot be written as JSON.
pub fn differences_from_study(
    config: &StudyConfig,
    record: &Record,
) -> Result<Vec<SettingDifference>, StudyError> {
    let key = record.key();
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let data_hash = text(key.settings.get("data").and_then(|data| data.get("hash")));
    let extractors = key.settings.get("measure").and_then(|measure| measure.get("extractors"));
    let extractors: Vec<(String, String)> =
        extractors.and_then(|list| serde_json::from_value(list.clone()).ok()).unwrap_or_default();
    let reference = text(key.settings.get("measure").and_then(|measure| measure.get("reference")));
    let local = key.settings.get("measure").and_then(|measure| measure.get("local"));
    let loaded = local.and_then(|local| local.get("loaded")).and_then(Value::as_str).map(str::to_owned);
    let unet = key.settings.get("model").and_then(|model| serde_json::from_value(model.clone()).ok());
    let recipe = match key.method.as_str() {
        "null" => Recipe::Null,
        LOADED => Recipe::Loaded { hash: key.parent.clone().unwrap_or_default() },
        "retrain" => Recipe::Retrain { seed: key.seeds.get("repetition").copied().unwrap_or(0) },
        _ => Recipe::Unlearn { parent: key.parent.clone().unwrap_or_default() },
    };
    let settings = RunSettings {
        config,
        unet: &unet.unwrap_or_default(),
        data_hash: &data_hash,
        loaded: loaded.as_deref(),
        extractors: &extractors,
        reference: config.measures.reference.is_some().then_some(reference.as_str()),
    };
    let mut expected = run_settings(&Run { coalition: key.coalition.clone(), recipe }.key(&settings)?);
    let mut found = run_settings(key);
    for flat in [&mut expected, &mut found] {
        flat.retain(|name, _| name != "model" && !name.starts_with("model."));
    }
    Ok(setting_differences(&found, &expected))
}

/// The runs that the study's last start asked for; empty if it was never started.
///
/// # Errors
/// [`StudyError::NoStudyFolder`] for a damaged `plan.json`.
pub fn planned_runs(dir: &StudyDir) -> Result<BTreeSet<RunId>, StudyError> {
    Ok(read_plan(dir)?.into_iter().flat_map(|part| part.ids).collect())
}

fn flatten(name: String, value: &Value, flat: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                flatten(format!("{name}.{key}"), value, flat);
            }
        }
        Value::String(text) => {
            flat.insert(name, text.clone());
        }
        other => {
            flat.insert(name, other.to_string());
        }
    }
}
