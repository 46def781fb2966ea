//! The numbers of one behaviour, and the records that lack them.

use std::collections::BTreeSet;

use ledger::Value;
use serde_json::{Value as Json, json};
use terminal::usage;

use crate::evidence::{Evidence, Row};

/// A record with its numbers: one, or one for each image.
pub type Measured<'a> = (&'a Row, Vec<f64>);

/// All numbers of a behaviour by role.
pub struct Utilities<'a> {
    /// Numbers in each record.
    pub images: usize,
    /// Whether the behaviour is one number for each image.
    pub by_image: bool,
    /// Training coalitions.
    pub train: Vec<Measured<'a>>,
    /// Models of everybody.
    pub full: Vec<Measured<'a>>,
    /// Models of nobody.
    pub none: Vec<Measured<'a>>,
    /// Test sets that are not empty.
    pub tests: Vec<Vec<Measured<'a>>>,
    /// Records left out.
    pub missing: Missing,
}

/// Records that lack a behaviour, and how.
#[derive(Debug, Default)]
pub struct Missing {
    /// `(training or test..., place, reason)`.
    records: Vec<(&'static str, String, String)>,
}

impl<'a> Utilities<'a> {
    /// Collects the numbers. Records without them are left out and noted.
    ///
    /// # Errors
    /// If no training record, or none of the records of an endpoint or of the tests, has the behaviour.
    pub fn collect(evidence: &'a Evidence, key: &str, n_samples: Option<usize>) -> anyhow::Result<Self> {
        let keys = names_of(evidence, key)?;
        let value = |row: &'a Row| keys.iter().find_map(|key| row.behaviors.get(key));
        let known: Vec<&Value> = evidence.train.iter().filter_map(value).collect();
        let Some(first) = known.first() else { return Err(nobody_has_it(evidence, key)) };
        let by_image = matches!(first, Value::Vector(_));
        let longest = known.iter().map(|value| value.as_slice().len()).max().unwrap_or(0);
        let images = if by_image { n_samples.unwrap_or(longest) } else { 1 };
        if images > longest || longest == 0 {
            return Err(usage(format!(
                "`{key}` has {longest} numbers in each record, --n-samples asks for {images}"
            )));
        }

        let mut missing = Missing::default();
        let mut of = |what: &'static str, rows: &'a [Row]| -> Vec<Measured<'a>> {
            let measured = rows.iter().filter_map(|row| match numbers(value(row), images, by_image) {
                Ok(numbers) => Some((row, numbers)),
                Err(reason) => {
                    missing.records.push((what, row.place.clone(), reason));
                    None
                }
            });
            measured.collect()
        };
        let train = of("training", &evidence.train);
        let (full, none) = (of("everybody's", &evidence.full), of("nobody's", &evidence.none));
        let tests: Vec<_> =
            evidence.tests.values().map(|rows| of("test", rows)).filter(|set| !set.is_empty()).collect();
        let this = Self { images, by_image, train, full, none, tests, missing };
        for (what, found, had) in [
            ("training", this.train.len(), evidence.train.len()),
            ("everybody's", this.full.len(), evidence.full.len()),
            ("nobody's", this.none.len(), evidence.none.len()),
            ("test", this.tests.len(), evidence.tests.len()),
        ] {
            if found == 0 && had > 0 {
                return Err(usage(format!(
                    "none of the {what} records has `{key}`: {}",
                    this.missing.words()
                )));
            }
        }
        Ok(this)
    }
}

impl Missing {
    /// Whether no record is missing.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many records of each kind lack it, and the first ones by name.
    pub fn words(&self) -> String {
        const SHOWN: usize = 5;
        let kinds: BTreeSet<&str> = self.records.iter().map(|(kind, ..)| *kind).collect();
        let counts = kinds.iter().map(|kind| {
            let count = self.records.iter().filter(|(other, ..)| other == kind).count();
            format!("{count} {kind} record{}", if count == 1 { "" } else { "s" })
        });
        let shown = self.records.iter().take(SHOWN).map(|(_, place, reason)| format!("{place} ({reason})"));
        let more = self.records.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        format!("{}: {}{more}", counts.collect::<Vec<_>>().join(", "), shown.collect::<Vec<_>>().join(", "))
    }

    /// All of them.
    pub fn to_json(&self) -> Json {
        let records = self.records.iter();
        records
            .map(|(kind, place, reason)| json!({ "kind": kind, "place": place, "reason": reason }))
            .collect()
    }
}

/// The numbers of a record, or why they cannot be used.
fn numbers(value: Option<&Value>, images: usize, by_image: bool) -> Result<Vec<f64>, String> {
    let value = value.ok_or("it is missing")?;
    if by_image != matches!(value, Value::Vector(_)) {
        return Err("it is one number here and a list there".into());
    }
    let numbers = value
        .as_slice()
        .get(..images)
        .ok_or_else(|| format!("it has {} of {images} numbers", value.as_slice().len()))?;
    if numbers.iter().any(|number| !number.is_finite()) {
        return Err("it is not a finite number".into());
    }
    Ok(numbers.to_vec())
}

/// The names under which the behaviour stands: its own, or for records of Tribute the one behaviour that the reference's name
/// means (`is` is `is_squeezenet`, `fid_value` is `fid_lite0`, ...).
fn names_of(evidence: &Evidence, key: &str) -> anyhow::Result<Vec<String>> {
    let has = |name: &str| evidence.train.iter().any(|row| row.behaviors.contains_key(name));
    if evidence.reference || has(key) {
        return Ok(vec![key.to_owned()]);
    }
    let prefix = match key {
        "fid_value" => "fid_",
        "diversity_score" | "entropy" => "entropy_",
        "is" => "is_",
        "precision" => "precision_",
        "recall" => "recall_",
        "aesthetic_score" => "aesthetic",
        other => match other.strip_prefix("avg_") {
            Some(rest) if has(rest) => return Ok(vec![rest.to_owned()]),
            _ => return Ok(vec![key.to_owned()]),
        },
    };
    let meant: BTreeSet<&String> = evidence
        .train
        .iter()
        .flat_map(|row| row.behaviors.keys())
        .filter(|name| name.starts_with(prefix))
        .collect();
    match meant.into_iter().collect::<Vec<_>>().as_slice() {
        [one] => Ok(vec![(*one).clone()]),
        [] => Ok(vec![key.to_owned()]),
        several => Err(usage(format!("`{key}` may be any of {several:?}: name one with --behavior"))),
    }
}

fn nobody_has_it(evidence: &Evidence, key: &str) -> anyhow::Error {
    let scalars: BTreeSet<&String> = evidence.train.iter().flat_map(|row| row.behaviors.keys()).collect();
    let first = evidence.train.first().map(|row| row.place.clone()).unwrap_or_default();
    usage(format!("{first} and the other training records have no behaviour `{key}`; they have {scalars:?}"))
}
