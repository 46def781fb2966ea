//! Which channels of a group stay.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::SparsifyError;

/// Channel numbers in increasing order, each once. In text: numbers and ranges, like `0-3 5 8-9`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeptChannels(Vec<usize>);

impl KeptChannels {
    /// These channels.
    ///
    /// # Errors
    /// [`SparsifyError::KeptChannels`] if they do not increase.
    pub fn new(channels: Vec<usize>) -> Result<Self, SparsifyError> {
        match channels.windows(2).find(|pair| pair[0] >= pair[1]) {
            None => Ok(Self(channels)),
            Some(pair) => Err(SparsifyError::KeptChannels {
                given: format!("{} {}", pair[0], pair[1]),
                reason: "the numbers do not increase".to_owned(),
            }),
        }
    }

    /// All channels of a group of this width.
    pub fn all(channels: usize) -> Self {
        Self((0..channels).collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The channel numbers.
    pub fn as_slice(&self) -> &[usize] {
        &self.0
    }
}

impl fmt::Display for KeptChannels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, run) in self.0.chunk_by(|a, b| a + 1 == *b).enumerate() {
            let space = if i == 0 { "" } else { " " };
            match run {
                [only] => write!(f, "{space}{only}")?,
                _ => write!(f, "{space}{}-{}", run[0], run[run.len() - 1])?,
            }
        }
        Ok(())
    }
}

/// More channels than any layer has; a range that is longer is an error in the file, not a wish.
const WIDEST: usize = 1 << 20;

impl FromStr for KeptChannels {
    type Err = SparsifyError;

    fn from_str(text: &str) -> Result<Self, SparsifyError> {
        let refused =
            |reason: &str| SparsifyError::KeptChannels { given: text.to_owned(), reason: reason.to_owned() };
        let mut channels = Vec::new();
        for part in text.split_whitespace() {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |digits: &str| digits.parse().ok().filter(|n: &usize| *n < WIDEST);
            match (number(first), number(last)) {
                (Some(first), Some(last)) if first <= last => channels.extend(first..=last),
                _ => return Err(refused(&format!("`{part}` is neither a channel number nor a range"))),
            }
            if channels.len() > WIDEST {
                return Err(refused("there are too many numbers"));
            }
        }
        Self::new(channels).map_err(|_| refused("the numbers do not increase"))
    }
}

impl TryFrom<String> for KeptChannels {
    type Error = SparsifyError;

    fn try_from(text: String) -> Result<Self, SparsifyError> {
        text.parse()
    }
}

impl From<KeptChannels> for String {
    fn from(kept: KeptChannels) -> String {
        kept.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trip() {
        for (channels, text) in
            [(vec![], ""), (vec![4], "4"), (vec![0, 1, 2, 3, 5, 8, 9], "0-3 5 8-9"), (vec![1, 3, 5], "1 3 5")]
        {
            let kept = KeptChannels::new(channels).unwrap();
            assert_eq!(kept.to_string(), text);
            assert_eq!(text.parse::<KeptChannels>().unwrap(), kept);
        }
    }

    #[test]
    fn disorder_and_nonsense_are_refused() {
        for bad in ["3 2", "1 1", "0-3 3", "5-2", "a", "-1", "1-", "0-99999999999999", "0,1"] {
            let error = bad.parse::<KeptChannels>().unwrap_err().to_string();
            assert!(error.contains(bad), "{error}");
        }
        assert!(KeptChannels::new(vec![2, 2]).is_err());
    }
}
