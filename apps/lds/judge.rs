//! Scores and LDS of one behaviour.

use anyhow::Context as _;
use attribution_lds::{
    AttributionError, Bootstrap, KernelShap, LdsSettings, Observations, UtilityTable, lds, noise_ceiling,
};
use ledger::Record;
use serde_json::{Value, json};
use terminal::usage;

use crate::Arguments;
use crate::select::Selected;

/// Shapley values, LDS and noise ceiling as JSON.
///
/// # Errors
/// A record without the behaviour; too few coalitions.
pub fn judge(records: &Selected, key: &str, arguments: &Arguments) -> anyhow::Result<Value> {
    let value = |record: &Record| {
        record.behaviors.get(key).and_then(|value| value.scalar()).ok_or_else(|| {
            usage(format!(
                "record {} has no scalar behaviour `{key}`; it has {:?}",
                record.id().short(),
                record.behaviors.keys().collect::<Vec<_>>()
            ))
        })
    };
    let table = |list: &mut dyn Iterator<Item = (&Record, u32)>| -> anyhow::Result<UtilityTable> {
        let mut table = UtilityTable::new(records.n);
        for (record, times) in list {
            table.push_times(record.key().coalition.clone(), vec![value(record)?], times)?;
        }
        Ok(table)
    };
    let mut draws = records.train.iter().map(|(record, times)| (record, *times));
    let bootstrap = Bootstrap { resamples: arguments.bootstrap, seed: arguments.seed };
    let observations =
        Observations::new(table(&mut draws)?, vec![value(&records.full)?], vec![value(&records.none)?])?;
    let estimator =
        KernelShap { level: arguments.confidence, bootstrap: Some(bootstrap), ..KernelShap::default() };
    let scores =
        estimator.fit_size_adjusted(&observations).with_context(|| format!("the scores for `{key}`"))?;

    let tests = records
        .tests
        .values()
        .map(|list| table(&mut list.iter().map(|record| (record, 1))))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let settings = LdsSettings { level: arguments.confidence, bootstrap };
    Ok(json!({
        "shapley": scores,
        "warnings": scores.diagnostics.warnings(),
        "lds": defined(lds(|coalition| scores.predict(coalition), &tests, &settings))?,
        "noise_ceiling": defined(noise_ceiling(&tests, &settings))?,
    }))
}

/// The result, or `{"undefined": "<why>"}`: an undefined number is said, never 0 or NaN.
fn defined<T: serde::Serialize>(result: Result<T, AttributionError>) -> anyhow::Result<Value> {
    match result {
        Ok(value) => Ok(serde_json::to_value(value)?),
        Err(error) => Ok(json!({ "undefined": error.to_string() })),
    }
}
