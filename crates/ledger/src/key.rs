//! What determines a run, and the name that follows from it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use removal::Coalition;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{LedgerError, canonical_json};

/// Everything that determines a run's result. Two runs with equal keys are the same run.
///
/// Leave out what cannot change the result (worker, output folder, dates); put in all that can: dataset hash, network,
/// steps, learning rate, sampler, number of samples, the device if its numbers differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunKey {
    /// The method by its serialized name (`retrain`, `gd`, ...).
    pub method: String,
    /// The contributors whose images the run trains on.
    pub coalition: Coalition,
    /// Every seed by its purpose.
    pub seeds: BTreeMap<String, u64>,
    /// Hash of the model the run starts from; `None` for a run that starts from scratch.
    pub parent: Option<String>,
    /// All further settings by name; nested values are allowed.
    pub settings: BTreeMap<String, serde_json::Value>,
}

impl RunKey {
    /// A key with a method and a coalition, and nothing else yet.
    pub fn new(method: impl Into<String>, coalition: Coalition) -> RunKey {
        RunKey {
            method: method.into(),
            coalition,
            seeds: BTreeMap::new(),
            parent: None,
            settings: BTreeMap::new(),
        }
    }

    /// Adds a seed.
    pub fn seed(mut self, purpose: impl Into<String>, seed: u64) -> RunKey {
        self.seeds.insert(purpose.into(), seed);
        self
    }

    /// Sets the hash of the model the run starts from.
    pub fn parent(mut self, hash: impl Into<String>) -> RunKey {
        self.parent = Some(hash.into());
        self
    }

    /// Adds one setting: any value that serde can write as JSON.
    ///
    /// # Errors
    /// [`LedgerError::NotJson`] if it has no JSON form.
    pub fn setting(mut self, name: impl Into<String>, value: &impl Serialize) -> Result<RunKey, LedgerError> {
        let value = serde_json::to_value(value)
            .map_err(|source| LedgerError::NotJson { what: "a setting", source })?;
        self.settings.insert(name.into(), value);
        Ok(self)
    }

    /// The run's id: SHA-256 of the key's [canonical JSON](canonical_json).
    ///
    /// # Errors
    /// [`LedgerError::NotJson`], which needs a JSON value that serde_json itself refuses.
    pub fn id(&self) -> Result<RunId, LedgerError> {
        Ok(RunId::of_text(&canonical_json(self)?))
    }
}

/// The name of a run: a SHA-256, shown as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId([u8; 32]);

impl RunId {
    /// The SHA-256 of a text.
    pub(crate) fn of_text(text: &str) -> RunId {
        RunId(Sha256::digest(text.as_bytes()).into())
    }

    /// The first 12 digits, enough to tell runs apart in a table or a log.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_string()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RunId({self})")
    }
}

impl FromStr for RunId {
    type Err = LedgerError;

    fn from_str(text: &str) -> Result<RunId, LedgerError> {
        let bad = || LedgerError::BadRunId { text: text.to_string() };
        if text.len() != 64 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(bad());
        }
        let mut bytes = [0; 32];
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).map_err(|_| bad())?;
        }
        Ok(RunId(bytes))
    }
}

impl TryFrom<String> for RunId {
    type Error = LedgerError;

    fn try_from(text: String) -> Result<RunId, LedgerError> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> String {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> RunKey {
        RunKey::new("gd", Coalition::full(3))
            .seed("optimizer", 42)
            .parent("abc")
            .setting("steps", &40)
            .unwrap()
    }

    #[test]
    fn id_is_the_hash_of_the_canonical_text() {
        let text = canonical_json(&key()).unwrap();
        assert!(
            text.starts_with(r#"{"coalition":"#) && text.ends_with(r#""settings":{"steps":40}}"#),
            "{text}"
        );
        assert_eq!(key().id().unwrap(), RunId::of_text(&text));
        // The well-known digest of "abc" (FIPS 180-2, appendix B.1).
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(RunId::of_text("abc").to_string(), abc);
        assert_eq!(abc.parse::<RunId>().unwrap(), RunId::of_text("abc"));
    }

    #[test]
    fn every_part_of_the_key_changes_the_id() {
        let id = key().id().unwrap();
        let empty = Coalition::empty(3);
        let others = [
            RunKey { method: "ga".into(), ..key() },
            RunKey { coalition: empty, ..key() },
            RunKey { parent: None, ..key() },
            key().seed("optimizer", 43),
            key().seed("sampling", 0),
            key().setting("steps", &41).unwrap(),
            key().setting("steps", &40.0).unwrap(),
        ];
        let ids: std::collections::BTreeSet<_> = others.iter().map(|other| other.id().unwrap()).collect();
        assert_eq!(ids.len(), others.len());
        assert!(!ids.contains(&id));
    }

    #[test]
    fn only_lower_case_sha256_is_an_id() {
        for text in ["", "abc", &"g".repeat(64), &"A".repeat(64), &"é".repeat(32)] {
            assert!(matches!(text.parse::<RunId>(), Err(LedgerError::BadRunId { .. })), "{text}");
        }
    }
}
