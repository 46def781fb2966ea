//! Exactly how the study was made.

use std::collections::BTreeMap;

use report::{NamedHash, Provenance};

use super::Findings;
use crate::error::StudyError;

pub(super) fn provenance(findings: &Findings<'_>) -> Result<Provenance, StudyError> {
    let context = findings.context;
    let settings =
        match serde_json::to_value(&context.config).map_err(|source| StudyError::NotJson { source })? {
            serde_json::Value::Object(settings) => settings,
            _ => serde_json::Map::new(),
        };
    let named = |name: &str, hash: &str| NamedHash { name: name.to_owned(), sha256: hash.to_owned() };
    let mut hashes = vec![
        named("images, contributors and selection", &context.data_hash),
        named("full model (averaged weights)", &findings.models.full.hash),
    ];
    if let Some(loaded) = context.loaded_hash() {
        hashes.push(named("loaded model, from which the full model starts", loaded));
    }
    if let Some(pruned) = &findings.models.pruned {
        hashes.push(named("pruned model (averaged weights)", &pruned.hash));
    }
    for (name, hash) in context.run_settings().extractors {
        hashes.push(named(&format!("weights of {name}"), hash));
    }
    Ok(Provenance {
        command: Some(format!("tribute run {}", findings.dir.study_file().display())),
        settings,
        hashes,
        seeds: BTreeMap::from([("study".to_owned(), context.config.seed)]),
        records: findings.records.ledger().ids()?.len() as u64,
        failures: Vec::new(),
    })
}

/// When the newest of the study's own records was made, RFC 3339.
pub(super) fn newest_record(findings: &Findings<'_>) -> Result<String, StudyError> {
    let mut newest = 0;
    for record in findings.records.ledger().iter()? {
        newest = newest.max(record?.times.finished_unix);
    }
    Ok(rfc3339(newest))
}

/// Seconds since 1970 as a UTC date and time (Hinnant's `civil_from_days`).
fn rfc3339(unix: u64) -> String {
    let (days, second) = (unix / 86_400, unix % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_part = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_part + 2) / 5 + 1;
    let month = if month_part < 10 { month_part + 3 } else { month_part - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_868_799), "2000-02-29T23:59:59Z");
        assert_eq!(rfc3339(1_798_761_599), "2026-12-31T23:59:59Z");
    }
}
