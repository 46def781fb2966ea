//! Choosing contributors and images.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which contributors and images of a data set to use. The default uses all.
///
/// Conditions apply in the order of the fields: first the filter on images, then the conditions on contributors by the
/// images that are left to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selection {
    /// For each column, the values that images may have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub filter: BTreeMap<String, Vec<String>>,
    /// Contributors by name. A name without images left is an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// Contributors with at least this many images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_images: Option<usize>,
    /// The contributors with the most images; of equal ones, the first by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub largest: Option<usize>,
}

impl Selection {
    /// Contributors by name.
    pub fn names(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { names: Some(names.into_iter().map(Into::into).collect()), ..Self::default() }
    }

    /// The `n` contributors with the most images.
    pub fn largest(n: usize) -> Self {
        Self { largest: Some(n), ..Self::default() }
    }

    /// Contributors with at least `images` images.
    pub fn min_images(images: usize) -> Self {
        Self { min_images: Some(images), ..Self::default() }
    }

    /// The same selection, of images with one of `values` in `column`.
    #[must_use]
    pub fn with_filter(
        mut self,
        column: impl Into<String>,
        values: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.filter.insert(column.into(), values.into_iter().map(Into::into).collect());
        self
    }
}
