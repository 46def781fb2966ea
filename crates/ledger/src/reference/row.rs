//! One result of the reference system.

use removal::Coalition;
use serde_json::{Map, Value as Json};

use crate::Value;

/// Arguments that determine a result, as the reference names them. Rows that differ in one of them are of different runs.
pub const SETTINGS: [&str; 39] = [
    "exp_name",
    "dataset",
    "method",
    "removal_dist",
    "datamodel_alpha",
    "removal_seed",
    "opt_seed",
    "seed",
    "excluded_class",
    "gd_steps",
    "ga_ratio",
    "iu_ratio",
    "lora_rank",
    "lora_dropout",
    "pruning_ratio",
    "pruner",
    "thr",
    "pruned",
    "gradient_accumulation_steps",
    "batch_size",
    "mixed_precision",
    "use_8bit_optimizer",
    "learning_rate",
    "lr",
    "ema_inv_gamma",
    "ema_power",
    "ema_max_decay",
    "use_ema",
    "num_inference_steps",
    "num_train_steps",
    "n_samples",
    "n_noises",
    "model_behavior",
    "by_class",
    "training_steps",
    "trained_steps",
    "lr_warmup_steps",
    "weight_decay",
    "vqvae_scaling_factor",
];

/// What the reference measures, by the names in its databases; each also as `avg_<name>`.
pub const KNOWN_BEHAVIORS: [&str; 11] = [
    "is",
    "fid_value",
    "entropy",
    "diversity_score",
    "aesthetic_score",
    "precision",
    "recall",
    "mse",
    "nrmse",
    "ssim",
    "diffusion_loss",
];

/// Names under which a behaviour may stand in a row: its own, and the other one of `entropy` and `diversity_score`.
pub fn behavior_aliases(name: &str) -> Vec<&str> {
    match name {
        "entropy" => vec!["entropy", "diversity_score"],
        "diversity_score" => vec!["diversity_score", "entropy"],
        "avg_entropy" => vec!["avg_entropy", "avg_diversity_score"],
        "avg_diversity_score" => vec!["avg_diversity_score", "avg_entropy"],
        other => vec![other],
    }
}

/// One result: the coalition of images, every argument, and what was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceRow {
    /// Its line in the file, from 1.
    pub line: usize,
    /// The images that remained out of all that it names; `None` if it names no images.
    pub images: Option<Coalition>,
    /// All other fields.
    pub fields: Map<String, Json>,
}

impl ReferenceRow {
    /// Takes an object of a line apart.
    ///
    /// # Errors
    /// Why it is no result: `remaining_idx` and `removed_idx` that are not lists of numbers, or that are not 0..n once each.
    pub(super) fn new(line: usize, mut fields: Map<String, Json>) -> Result<ReferenceRow, String> {
        let remaining = indices(&mut fields, "remaining_idx")?;
        let removed = indices(&mut fields, "removed_idx")?;
        let images = match (remaining, removed) {
            (None, None) => None,
            (Some(remaining), Some(removed)) => Some(partition(&remaining, &removed)?),
            (None, Some(_)) => return Err("it has `removed_idx` but no `remaining_idx`".into()),
            (Some(_), None) => return Err("it has `remaining_idx` but no `removed_idx`".into()),
        };
        Ok(ReferenceRow { line, images, fields })
    }

    /// A measured value by its name or [alias](behavior_aliases): one number, or one for each image. What is not a number
    /// there (`NaN`, `null`) is NaN here. `None` if the row does not have it, or has a text there.
    pub fn behavior(&self, name: &str) -> Option<Value> {
        let found = behavior_aliases(name).into_iter().find_map(|alias| self.fields.get(alias))?;
        let number = |value: &Json| match value {
            Json::Null => Some(f64::NAN),
            other => other.as_f64(),
        };
        match found {
            Json::Array(items) => items.iter().map(number).collect::<Option<Vec<f64>>>().map(Value::Vector),
            other => number(other).map(Value::Scalar),
        }
    }

    /// The [settings](SETTINGS) that it has.
    pub fn settings(&self) -> impl Iterator<Item = (&'static str, &Json)> {
        SETTINGS.into_iter().filter_map(|name| Some((name, self.fields.get(name)?)))
    }

    /// Behaviours that it holds: the [known ones](KNOWN_BEHAVIORS) and their averages, with `entropy` for both of its names.
    pub fn known_behaviors(&self) -> Vec<String> {
        let averages = KNOWN_BEHAVIORS.iter().map(|name| format!("avg_{name}"));
        let names = KNOWN_BEHAVIORS.iter().map(|name| name.to_string()).chain(averages);
        let mut found: Vec<String> = names
            .filter(|name| self.fields.contains_key(name))
            .map(|name| name.replace("diversity_score", "entropy"))
            .collect();
        found.dedup();
        found
    }

    /// Whether what was measured is the same: every field that is neither a setting nor of the occasion (times, paths,
    /// device).
    pub(super) fn same_results(&self, other: &ReferenceRow) -> bool {
        let results = |row: &ReferenceRow| -> Map<String, Json> {
            let kept =
                row.fields.iter().filter(|(name, _)| !SETTINGS.contains(&name.as_str()) && !incidental(name));
            kept.map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        results(self) == results(other)
    }
}

/// Fields that two runs of one thing may differ in.
fn incidental(name: &str) -> bool {
    const NAMES: [&str; 12] = [
        "outdir",
        "db",
        "load",
        "device",
        "log_freq",
        "keep_all_ckpts",
        "reference_dir",
        "precompute_stage",
        "resume",
        "full_db",
        "null_db",
        "save_null_model",
    ];
    NAMES.contains(&name) || name.contains("time") || name.ends_with("_dir") || name.ends_with("_path")
}

/// Takes a list of indices out of the fields; `null` is no list.
fn indices(fields: &mut Map<String, Json>, name: &str) -> Result<Option<Vec<usize>>, String> {
    match fields.remove(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Array(items)) => {
            let number = |item: &Json| item.as_u64().and_then(|index| usize::try_from(index).ok());
            items
                .iter()
                .map(number)
                .collect::<Option<Vec<usize>>>()
                .map(Some)
                .ok_or_else(|| format!("`{name}` holds something else than indices from 0"))
        }
        Some(_) => Err(format!("`{name}` is not a list of indices")),
    }
}

/// The remaining ones out of all, which must be 0..n once each.
fn partition(remaining: &[usize], removed: &[usize]) -> Result<Coalition, String> {
    let n = remaining.len() + removed.len();
    let mut seen = vec![false; n];
    for &index in remaining.iter().chain(removed) {
        match seen.get_mut(index) {
            Some(seen) if !*seen => *seen = true,
            Some(_) => {
                return Err(format!("index {index} stands in `remaining_idx` and `removed_idx` twice"));
            }
            None => {
                return Err(format!(
                    "its {n} indices in `remaining_idx` and `removed_idx` are not those from 0 to {}: {index} is among them",
                    n.saturating_sub(1)
                ));
            }
        }
    }
    Coalition::from_members(n, remaining.iter().copied()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Result<ReferenceRow, String> {
        ReferenceRow::new(7, serde_json::from_str(text).unwrap())
    }

    #[test]
    fn coalitions_and_behaviours() {
        let row = row(
            r#"{"remaining_idx": [3, 0], "removed_idx": [1, 2], "diversity_score": 2, "mse": [0.5, null],
                "exp_name": "x", "avg_ssim": null}"#,
        )
        .unwrap();
        assert_eq!(row.images.as_ref().unwrap().to_string(), "4:9");
        assert_eq!(row.behavior("entropy"), Some(Value::Scalar(2.0)));
        assert!(matches!(row.behavior("mse"), Some(Value::Vector(v)) if v[0] == 0.5 && v[1].is_nan()));
        assert!(row.behavior("avg_ssim").unwrap().scalar().unwrap().is_nan());
        assert_eq!(row.behavior("exp_name"), None);
        assert_eq!(row.behavior("is"), None);
        assert_eq!(row.known_behaviors(), ["entropy", "mse", "avg_ssim"]);
    }

    #[test]
    fn what_is_no_partition_is_said() {
        for (text, part) in [
            (r#"{"remaining_idx": [0, 1], "removed_idx": [1, 2]}"#, "index 1 stands"),
            (r#"{"remaining_idx": [0, 7], "removed_idx": [1]}"#, "0 to 2: 7"),
            (r#"{"remaining_idx": [0.5], "removed_idx": []}"#, "remaining_idx` holds"),
            (r#"{"remaining_idx": "0", "removed_idx": []}"#, "not a list"),
            (r#"{"remaining_idx": [0]}"#, "no `removed_idx`"),
        ] {
            let reason = row(text).unwrap_err();
            assert!(reason.contains(part), "{text}: {reason}");
        }
        assert_eq!(row(r#"{"remaining_idx": null}"#).unwrap().images, None);
        assert_eq!(
            row(r#"{"remaining_idx": [], "removed_idx": []}"#).unwrap().images,
            Some(Coalition::empty(0))
        );
    }
}
