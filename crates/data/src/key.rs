//! Which columns make a contributor.

use crate::DataError;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Between the values of several key columns in a contributor's name.
const NAME_SEPARATOR: &str = " / ";

/// The columns whose values, together, say who contributed an image.
///
/// With the key `contributor,skin_tone` an image by "Liz Bravo" with skin tone 3 belongs to the contributor
/// "Liz Bravo / 3". As text the columns are joined by commas; in serde formats a key is a list of columns or that text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct ContributorKey {
    columns: Vec<String>,
}

impl ContributorKey {
    /// A key of one or more different columns, in this order.
    ///
    /// # Errors
    /// [`DataError::Key`] for no column, an empty name or a column named twice.
    pub fn new(columns: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, DataError> {
        let columns: Vec<String> = columns.into_iter().map(Into::into).collect();
        let wrong = |reason| DataError::Key { text: columns.join(","), reason };
        if columns.iter().any(|column| column.trim().is_empty()) || columns.is_empty() {
            return Err(wrong("a column name is empty"));
        }
        if columns.iter().collect::<BTreeSet<_>>().len() != columns.len() {
            return Err(wrong("a column is named twice"));
        }
        Ok(Self { columns })
    }

    /// The columns, in the order in which their values are joined.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The contributor's name from the values of the key columns.
    pub(crate) fn name(values: &[&str]) -> String {
        values.join(NAME_SEPARATOR)
    }
}

impl Default for ContributorKey {
    /// The column `contributor`.
    fn default() -> Self {
        Self { columns: vec!["contributor".to_owned()] }
    }
}

impl fmt::Display for ContributorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.columns.join(","))
    }
}

impl FromStr for ContributorKey {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        Self::new(text.split(',').map(str::trim))
    }
}

impl<'de> Deserialize<'de> for ContributorKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a contributor key is a list of columns, or columns joined by commas")]
        enum Text {
            One(String),
            List(Vec<String>),
        }
        match Text::deserialize(deserializer)? {
            Text::One(text) => text.parse(),
            Text::List(columns) => Self::new(columns),
        }
        .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_list_and_display_agree() {
        let key = ContributorKey::new(["contributor", "skin_tone"]).unwrap();
        assert_eq!("contributor, skin_tone".parse::<ContributorKey>().unwrap(), key);
        assert_eq!(key.to_string(), "contributor,skin_tone");
        assert_eq!(serde_json::to_string(&key).unwrap(), r#"["contributor","skin_tone"]"#);
        for text in [r#""contributor,skin_tone""#, r#"["contributor", "skin_tone"]"#] {
            assert_eq!(serde_json::from_str::<ContributorKey>(text).unwrap(), key);
        }
    }

    #[test]
    fn refuses_empty_and_repeated_columns() {
        for text in ["", "a,,b", "a,a"] {
            let message = text.parse::<ContributorKey>().unwrap_err().to_string();
            assert!(message.contains("is not a contributor key"), "{message}");
        }
        assert!(ContributorKey::new(Vec::<String>::new()).is_err());
        assert!(
            serde_json::from_str::<ContributorKey>("3").unwrap_err().to_string().contains("list of columns")
        );
    }
}
