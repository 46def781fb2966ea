//! Choosing contributors and images.

use crate::{DataError, Dataset};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use streams::{Streams, permutation};

/// Names listed in a message at most.
const NAMES_IN_MESSAGES: usize = 12;

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
    /// Contributors by name. It is an error if one has no images left, or fewer than `min_images`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// Contributors with at least this many images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_images: Option<usize>,
    /// The contributors with the most images; of equal ones, the first by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub largest: Option<usize>,
    /// This many contributors, drawn at random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub random: Option<usize>,
    /// At most this many images of each contributor, drawn at random: those whose places, among the images left to the
    /// contributor, come first in the permutation of stream (`selected images <name>`, 0) of `seed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_images: Option<usize>,
    /// Seed of `random`: of the contributors left by the other conditions, sorted by name, the first of the permutation of
    /// stream (`selected contributors`, 0) are kept.
    #[serde(skip_serializing_if = "is_zero")]
    pub seed: u64,
}

fn is_zero(seed: &u64) -> bool {
    *seed == 0
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

    /// `n` contributors drawn at random.
    pub fn random(n: usize, seed: u64) -> Self {
        Self { random: Some(n), seed, ..Self::default() }
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

impl Dataset {
    /// The data set with the contributors and images of a selection only, numbered anew.
    ///
    /// # Errors
    /// Unknown columns, values and names, named contributors without images left, more contributors asked for than there
    /// are, and fewer than two left.
    pub fn select(&self, selection: &Selection) -> Result<Self, DataError> {
        let kept = self.filtered(&selection.filter)?;
        let mut chosen = self.meeting(selection, &kept)?;
        if let Some(asked) = selection.largest {
            if asked > chosen.len() {
                let conditional = *selection != Selection::largest(asked);
                let condition = if conditional { " after the other conditions" } else { "" }.to_owned();
                return Err(DataError::NotEnoughContributors { asked, available: chosen.len(), condition });
            }
            chosen.sort_by_key(|&(contributor, images)| (Reverse(images), contributor));
            chosen.truncate(asked);
        }
        if let Some(asked) = selection.random {
            if asked > chosen.len() {
                return Err(DataError::NotEnoughToDraw { asked, available: chosen.len() });
            }
            chosen.sort_unstable();
            let mut rng = Streams::new(selection.seed).rng("selected contributors", 0);
            let order = permutation(&mut rng, chosen.len());
            chosen = order[..asked].iter().map(|&place| chosen[place]).collect();
        }
        if chosen.is_empty() || selection.max_images == Some(0) {
            let remedy = "no image is left after the selection; loosen it".to_owned();
            return Err(DataError::NoImages { path: self.path().to_owned(), remedy });
        }
        let chosen: BTreeSet<usize> = chosen.into_iter().map(|(contributor, _)| contributor).collect();
        let mut images = Vec::new();
        for contributor in chosen.iter().map(|&number| &self.contributors()[number]) {
            let own = contributor.images.iter().copied().filter(|&image| kept[image]);
            match selection.max_images {
                None => images.extend(own),
                Some(most) => {
                    let own: Vec<usize> = own.collect();
                    let stream = format!("selected images {}", contributor.name);
                    let order = permutation(&mut Streams::new(selection.seed).rng(&stream, 0), own.len());
                    images.extend(order.into_iter().take(most).map(|place| own[place]));
                }
            }
        }
        images.sort_unstable();
        self.keep(images)
    }

    /// Whether each image passes the filter.
    fn filtered(&self, filter: &BTreeMap<String, Vec<String>>) -> Result<Vec<bool>, DataError> {
        let mut kept = vec![true; self.len()];
        for (column, values) in filter {
            self.check_values(column, values)?;
            let place = self.table.column(column)?;
            for (image, kept) in kept.iter_mut().enumerate() {
                *kept &= values.contains(&self.table.rows[self.rows[image]].fields[place]);
            }
        }
        Ok(kept)
    }

    /// The contributors with the names and numbers of images asked for, each with the number of images kept.
    fn meeting(&self, selection: &Selection, kept: &[bool]) -> Result<Vec<(usize, usize)>, DataError> {
        let names: Option<BTreeSet<&str>> =
            selection.names.as_ref().map(|names| names.iter().map(String::as_str).collect());
        if let Some(unknown) = names.iter().flatten().find(|&&name| self.contributor(name).is_none()) {
            return Err(self.unknown_contributor(unknown));
        }
        let needed = selection.min_images.unwrap_or(1).max(1);
        let mut chosen = Vec::new();
        for (number, contributor) in self.contributors().iter().enumerate() {
            let named = names.as_ref().map(|names| names.contains(contributor.name.as_str()));
            let images = contributor.images.iter().filter(|&&image| kept[image]).count();
            match named {
                Some(false) => {}
                _ if images >= needed => chosen.push((number, images)),
                None => {}
                Some(true) if images == 0 => {
                    return Err(DataError::ContributorWithoutImages {
                        contributor: contributor.name.clone(),
                        reason: "left after the filters".to_owned(),
                    });
                }
                Some(true) => {
                    return Err(DataError::TooFewImages {
                        contributor: contributor.name.clone(),
                        images,
                        needed,
                    });
                }
            }
        }
        Ok(chosen)
    }

    fn check_values(&self, column: &str, values: &[String]) -> Result<(), DataError> {
        let place = self.table.column(column)?;
        let existing: BTreeSet<&str> =
            self.rows.iter().map(|&row| self.table.rows[row].fields[place].as_str()).collect();
        match values.iter().find(|value| !existing.contains(value.as_str())) {
            None => Ok(()),
            Some(value) => Err(DataError::UnknownValue {
                column: column.to_owned(),
                value: value.clone(),
                available: listed(existing.into_iter()),
            }),
        }
    }

    fn unknown_contributor(&self, name: &str) -> DataError {
        let hint =
            format!("there are {}", listed(self.contributors().iter().map(|other| other.name.as_str())));
        DataError::UnknownContributor { contributor: name.to_owned(), key: self.key().to_string(), hint }
    }
}

/// The first names of a list, and how many more there are.
fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(NAMES_IN_MESSAGES);
    let shown: Vec<&str> = names.take(NAMES_IN_MESSAGES).collect();
    match more {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_images_are_drawn_for_each_contributor_alone() {
        let images =
            (0..60u8).map(|i| (if i < 10 { "Ann" } else { ["Bob", "Eve"][i as usize % 2] }, vec![i; 3]));
        let all = Dataset::from_images((1, 1), images).unwrap();
        let of = |dataset: &Dataset, name: &str| -> Vec<u8> {
            let who = dataset.contributor(name).unwrap();
            dataset.contributors()[who].images.iter().map(|&image| dataset.image(image).unwrap()[0]).collect()
        };
        let most =
            |max_images, seed| Selection { max_images: Some(max_images), seed, ..Selection::default() };
        let some = all.select(&most(12, 0)).unwrap();
        assert_eq!([of(&some, "Ann").len(), of(&some, "Bob").len(), of(&some, "Eve").len()], [10, 12, 12]);
        assert!(of(&some, "Bob").is_sorted());
        let pair =
            all.select(&Selection { names: Some(vec!["Bob".into(), "Ann".into()]), ..most(12, 0) }).unwrap();
        assert_eq!(of(&pair, "Bob"), of(&some, "Bob"), "whoever else is there");
        let fewer = all.select(&most(5, 0)).unwrap();
        assert!(of(&fewer, "Bob").iter().all(|image| of(&some, "Bob").contains(image)));
        assert_ne!(of(&all.select(&most(12, 1)).unwrap(), "Bob"), of(&some, "Bob"));
    }

    #[test]
    fn random_contributors_depend_on_the_seed_and_the_names_left() {
        let images = (0..40u8).map(|i| (format!("artist {:02}", i / 2), vec![i; 3]));
        let all = Dataset::from_images((1, 1), images).unwrap();
        let chosen = |selection: &Selection| -> Vec<String> {
            all.select(selection).unwrap().contributors().iter().map(|c| c.name.clone()).collect()
        };
        let first = chosen(&Selection::random(5, 0));
        assert_eq!(first.len(), 5);
        assert!(first.is_sorted());
        assert_eq!(first, chosen(&Selection::random(5, 0)));
        assert_ne!(first, chosen(&Selection::random(5, 1)));
        // A smaller draw is part of a larger one.
        let more = chosen(&Selection::random(9, 0));
        assert!(first.iter().all(|name| more.contains(name)));
        let message = all.select(&Selection::random(21, 0)).unwrap_err().to_string();
        assert!(message.starts_with("21 random contributors were asked for, but there are 20"), "{message}");
    }
}
