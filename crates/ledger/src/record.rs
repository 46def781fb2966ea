//! The result of one run.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{LedgerError, RunId, RunKey, canonical_json};

/// The `format` field of every record.
pub const RECORD_FORMAT: &str = "tribute-record";
/// The `version` field of the records that this crate writes and reads.
pub const RECORD_VERSION: u32 = 1;

/// A measured model behavior: one number, or one number per contributor, image, cluster...
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// One number.
    Scalar(f64),
    /// Several numbers in a fixed order.
    Vector(Vec<f64>),
}

impl Value {
    /// The number, if it is one.
    pub fn scalar(&self) -> Option<f64> {
        match self {
            Value::Scalar(value) => Some(*value),
            Value::Vector(_) => None,
        }
    }

    /// The numbers in order; a scalar is a slice of one.
    pub fn as_slice(&self) -> &[f64] {
        match self {
            Value::Scalar(value) => std::slice::from_ref(value),
            Value::Vector(values) => values,
        }
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value::Scalar(value)
    }
}

impl From<Vec<f64>> for Value {
    fn from(values: Vec<f64>) -> Value {
        Value::Vector(values)
    }
}

/// When and how long: all of a record that may differ between two runs of one key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// Seconds of computing by stage (`unlearn`, `sample`, `measure`, ...): those that passed, times the threads at work.
    pub seconds: BTreeMap<String, f64>,
    /// When the record was made, in seconds since 1970-01-01 UTC; 0 if unknown.
    pub finished_unix: u64,
}

impl Times {
    /// Seconds of all stages together.
    pub fn total(&self) -> f64 {
        self.seconds.values().sum()
    }
}

/// The result of one run, immutable once it is in a ledger.
///
/// On disk it is one object of canonical JSON (keys sorted, no white space) and a line feed:
/// ```json
/// {"behaviors":{"entropy":3.1,"loss_by_contributor":[0.11,0.13]},
///  "content_sha256":"<SHA-256 of this object without content_sha256 and times>",
///  "device":"cpu","format":"tribute-record","id":"<SHA-256 of key>",
///  "key":{"coalition":"...","method":"gd","parent":"<hash>","seeds":{"optimizer":42},"settings":{"steps":40}},
///  "program":"tribute 0.1.0",
///  "times":{"finished_unix":1760000000,"seconds":{"sample":3.2,"unlearn":5.1}},
///  "version":1}
/// ```
/// Numbers are finite. Two runs of one key on one device differ in `times` only.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    id: RunId,
    key: RunKey,
    /// What was measured, by name.
    pub behaviors: BTreeMap<String, Value>,
    /// The device that computed it, in words.
    pub device: String,
    /// The program and version that computed it.
    pub program: String,
    /// When and how long.
    pub times: Times,
}

/// The record's fields as they stand in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    version: u32,
    id: RunId,
    key: RunKey,
    behaviors: BTreeMap<String, Value>,
    device: String,
    program: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<Times>,
}

impl Record {
    /// A record without any behavior yet.
    ///
    /// # Errors
    /// Those of [`RunKey::id`].
    pub fn new(key: RunKey) -> Result<Record, LedgerError> {
        Ok(Record {
            id: key.id()?,
            key,
            behaviors: BTreeMap::new(),
            device: String::new(),
            program: String::new(),
            times: Times::default(),
        })
    }

    /// Adds a behavior.
    pub fn behavior(mut self, name: impl Into<String>, value: impl Into<Value>) -> Record {
        self.behaviors.insert(name.into(), value.into());
        self
    }

    /// Adds the seconds of a stage.
    pub fn seconds(mut self, stage: impl Into<String>, seconds: f64) -> Record {
        self.times.seconds.insert(stage.into(), seconds);
        self
    }

    /// The run's id, which is the hash of the key.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// What determined the run.
    pub fn key(&self) -> &RunKey {
        &self.key
    }

    /// The same record with its times cleared: equal for two runs of one key.
    pub fn without_times(&self) -> Record {
        Record { times: Times::default(), ..self.clone() }
    }

    /// SHA-256 (hexadecimal) of the canonical JSON without `times` and without the hash itself.
    ///
    /// # Errors
    /// [`LedgerError::NotJson`], which needs a JSON value that serde_json itself refuses.
    pub fn content_sha256(&self) -> Result<String, LedgerError> {
        let text = canonical_json(&self.file(None, None))?;
        Ok(Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The file's text: canonical JSON and a line feed.
    ///
    /// # Errors
    /// [`LedgerError::NotFinite`] for a NaN or infinite behavior or time.
    pub fn to_text(&self) -> Result<String, LedgerError> {
        self.check_finite()?;
        let file = self.file(Some(self.content_sha256()?), Some(self.times.clone()));
        Ok(canonical_json(&file)? + "\n")
    }

    /// Reads and verifies a record's text; `path` is for the messages.
    ///
    /// # Errors
    /// [`LedgerError::CutShort`], [`LedgerError::Foreign`], [`LedgerError::WrongId`] or [`LedgerError::Altered`].
    pub fn from_text(text: &[u8], path: &Path) -> Result<Record, LedgerError> {
        let foreign = |detail: String| LedgerError::Foreign { path: path.to_path_buf(), detail };
        let json: serde_json::Value = serde_json::from_slice(text).map_err(|error| {
            if error.is_eof() {
                LedgerError::CutShort { path: path.to_path_buf(), detail: error.to_string() }
            } else {
                foreign(error.to_string())
            }
        })?;
        if json.get("format").and_then(|format| format.as_str()) != Some(RECORD_FORMAT) {
            return Err(foreign(format!("its `format` is not \"{RECORD_FORMAT}\"")));
        }
        let version = &json["version"];
        if version.as_u64() != Some(u64::from(RECORD_VERSION)) {
            return Err(foreign(format!("its `version` is {version}, this program reads {RECORD_VERSION}")));
        }
        if let Some(name) = not_a_number(&json["behaviors"]) {
            return Err(foreign(format!("behavior `{name}` is neither a finite number nor a list of them")));
        }
        let file: File = serde_json::from_value(json).map_err(|error| foreign(error.to_string()))?;
        let record = Record {
            id: file.key.id()?,
            key: file.key,
            behaviors: file.behaviors,
            device: file.device,
            program: file.program,
            times: file.times.ok_or_else(|| foreign("it has no `times`".into()))?,
        };
        if record.id != file.id {
            return Err(LedgerError::WrongId {
                path: path.to_path_buf(),
                expected: file.id.to_string(),
                actual: record.id.to_string(),
            });
        }
        if file.content_sha256 != Some(record.content_sha256()?) {
            return Err(LedgerError::Altered { path: path.to_path_buf() });
        }
        Ok(record)
    }

    /// The first field in which two records of one run differ, times aside.
    pub(crate) fn difference(&self, other: &Record) -> Option<String> {
        let names = self.behaviors.keys().chain(other.behaviors.keys());
        for name in names {
            match (self.behaviors.get(name), other.behaviors.get(name)) {
                (Some(one), Some(two)) if one == two => {}
                (Some(Value::Scalar(one)), Some(Value::Scalar(two))) => {
                    return Some(format!("`{name}` is {one:?} there, {two:?} now"));
                }
                (Some(_), Some(_)) => return Some(format!("the vectors `{name}` differ")),
                (Some(_), None) => return Some(format!("`{name}` is measured there, not now")),
                (None, _) => return Some(format!("`{name}` is measured now, not there")),
            }
        }
        let texts = [("device", &self.device, &other.device), ("program", &self.program, &other.program)];
        texts
            .iter()
            .find(|(_, one, two)| one != two)
            .map(|(name, one, two)| format!("`{name}` is \"{one}\" there, \"{two}\" now"))
    }

    fn file(&self, content_sha256: Option<String>, times: Option<Times>) -> File {
        File {
            format: RECORD_FORMAT.into(),
            version: RECORD_VERSION,
            id: self.id,
            key: self.key.clone(),
            behaviors: self.behaviors.clone(),
            device: self.device.clone(),
            program: self.program.clone(),
            content_sha256,
            times,
        }
    }

    fn check_finite(&self) -> Result<(), LedgerError> {
        let bad =
            |name: &str, value: String| LedgerError::NotFinite { id: self.id, behavior: name.into(), value };
        for (name, value) in &self.behaviors {
            if let Some(place) = value.as_slice().iter().position(|number| !number.is_finite()) {
                let number = value.as_slice()[place];
                let at = if value.scalar().is_some() { String::new() } else { format!(" at index {place}") };
                return Err(bad(name, format!("{number}{at}")));
            }
        }
        match self.times.seconds.iter().find(|(_, seconds)| !seconds.is_finite()) {
            Some((stage, seconds)) => Err(bad(&format!("times.seconds.{stage}"), seconds.to_string())),
            None => Ok(()),
        }
    }
}

/// The first behavior that is not a number or a list of numbers.
fn not_a_number(behaviors: &serde_json::Value) -> Option<&str> {
    let is_number = |value: &serde_json::Value| value.as_f64().is_some_and(f64::is_finite);
    let (name, _) = behaviors.as_object()?.iter().find(|(_, value)| match value.as_array() {
        Some(values) => !values.iter().all(is_number),
        None => !is_number(value),
    })?;
    Some(name)
}

#[cfg(test)]
mod tests {
    use removal::Coalition;

    use super::*;

    fn record() -> Record {
        let key = RunKey::new("gd", Coalition::full(3)).setting("lr", &1e-4).unwrap();
        let mut record = Record::new(key).unwrap().behavior("entropy", 0.1 + 0.2).seconds("unlearn", 2.5);
        record.device = "cpu".into();
        record.behavior("losses", vec![1.0, 1.0 / 3.0, -0.0])
    }

    fn read(text: &str) -> Result<Record, LedgerError> {
        Record::from_text(text.as_bytes(), Path::new("x.json"))
    }

    #[test]
    fn reads_back_what_was_written() {
        let text = record().to_text().unwrap();
        let back = read(&text).unwrap();
        assert_eq!(back, record());
        assert_eq!(back.to_text().unwrap(), text);
        assert_eq!(back.times.total(), 2.5);
    }

    #[test]
    fn times_do_not_count() {
        let later = record().seconds("unlearn", 9.0);
        assert_ne!(later, record());
        assert_eq!(later.without_times().to_text().unwrap(), record().without_times().to_text().unwrap());
        assert_eq!(later.content_sha256().unwrap(), record().content_sha256().unwrap());
        assert_eq!(later.difference(&record()), None);
        assert!(record().difference(&record().behavior("entropy", 1.0)).unwrap().contains("`entropy`"));
    }

    #[test]
    fn every_cut_is_noticed() {
        let text = record().to_text().unwrap();
        for end in 0..text.len() - 1 {
            assert!(matches!(read(&text[..end]), Err(LedgerError::CutShort { .. })), "cut at {end}");
        }
    }

    #[test]
    fn edits_are_noticed() {
        let text = record().to_text().unwrap();
        let edited = |from: &str, to: &str| {
            assert!(text.contains(from), "{text}");
            read(&text.replace(from, to))
        };
        assert!(matches!(edited("\"cpu\"", "\"gpu\""), Err(LedgerError::Altered { .. })));
        assert!(matches!(edited("\"entropy\":0.3", "\"entropy\":1.3"), Err(LedgerError::Altered { .. })));
        assert!(matches!(edited("\"method\":\"gd\"", "\"method\":\"ga\""), Err(LedgerError::WrongId { .. })));
        assert!(matches!(edited("\"device\"", "\"devise\""), Err(LedgerError::Foreign { .. })));
        let newer = edited("\"version\":1", "\"version\":2").unwrap_err().to_string();
        assert!(newer.contains("version") && newer.contains('2') && newer.contains("x.json"), "{newer}");
        let nan = edited("[1.0,", "[null,").unwrap_err().to_string();
        assert!(nan.contains("`losses`") && nan.contains("delete"), "{nan}");
        assert!(matches!(read("{\"a\": 1}"), Err(LedgerError::Foreign { .. })));
        assert!(matches!(read("not json"), Err(LedgerError::Foreign { .. })));
    }

    #[test]
    fn no_record_with_nan() {
        for (record, place) in [
            (record().behavior("is", f64::NAN), "`is`"),
            (record().behavior("is", vec![0.0, f64::INFINITY]), "index 1"),
            (record().seconds("sample", f64::NAN), "times.seconds.sample"),
        ] {
            let message = record.to_text().unwrap_err().to_string();
            assert!(message.contains(place) && message.contains(&record.id().to_string()), "{message}");
        }
    }
}
