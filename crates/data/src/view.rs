//! Some of a data set's images: coalitions and splits.

use crate::batches::{Batches, ImageBatch};
use crate::{DataError, Dataset};
use removal::Coalition;
use std::ops::Range;
use std::sync::Arc;
use streams::{Streams, permutation};

/// Some of a data set's images, by number in ascending order. Pixels are never copied.
#[derive(Debug, Clone)]
pub struct View {
    dataset: Dataset,
    indices: Arc<[usize]>,
}

impl View {
    /// `indices` ascend and are below the data set's length.
    pub(crate) fn new(dataset: Dataset, indices: Vec<usize>) -> Self {
        Self { dataset, indices: indices.into() }
    }

    /// The data set that the images belong to.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Numbers of the images in the data set, ascending.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether there are no images: the view of an empty coalition.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Those images that members of a coalition supplied.
    ///
    /// # Errors
    /// [`DataError::CoalitionSize`] for a coalition over another number of contributors.
    pub fn restricted_to(&self, coalition: &Coalition) -> Result<View, DataError> {
        let contributors = self.dataset.contributors().len();
        if coalition.n() != contributors {
            return Err(DataError::CoalitionSize { coalition: coalition.n(), dataset: contributors });
        }
        let remains =
            |&image: &usize| self.dataset.owner(image).is_some_and(|owner| coalition.contains(owner));
        let indices = self.indices.iter().copied().filter(remains).collect();
        Ok(View::new(self.dataset.clone(), indices))
    }

    /// The images at the given places of the view, in order and unflipped: for measuring rather than training. Places
    /// beyond the last are left out.
    ///
    /// # Errors
    /// Files that cannot be read or decoded.
    pub fn load(&self, places: Range<usize>) -> Result<ImageBatch, DataError> {
        let end = places.end.min(self.len());
        let indices = &self.indices[places.start.min(end)..end];
        ImageBatch::read(&self.dataset, indices, &vec![false; indices.len()], 1)
    }

    /// Whether the pixels of all its images are in memory.
    pub fn is_in_memory(&self) -> bool {
        self.dataset.holds_all(&self.indices)
    }

    /// Shuffled training batches; with `flip`, each image is mirrored left to right with probability 1/2.
    ///
    /// # Errors
    /// [`DataError::EmptyView`] where there are no images.
    pub fn batches(&self, streams: Streams, flip: bool) -> Result<Batches, DataError> {
        Batches::new(self.clone(), streams, flip)
    }
}

/// Every contributor's images, divided into those to train on and those held out.
///
/// Of a contributor's m images round(fraction m) are held out, but at least one and at most m - 1 where the fraction is
/// above 0. Which ones depends on the seed and the contributor's name alone (stream `held out <name>`), never on the other
/// contributors.
#[derive(Debug, Clone)]
pub struct Split {
    /// Images to train on: at least one a contributor.
    pub train: View,
    /// Images held out: empty where the fraction is 0.
    pub held_out: View,
}

impl Split {
    pub(crate) fn of(dataset: &Dataset, fraction: f64, streams: &Streams) -> Result<Self, DataError> {
        if !(0.0..1.0).contains(&fraction) {
            return Err(DataError::HeldOutFraction { fraction });
        }
        let mut held_out = Vec::new();
        if fraction > 0.0 {
            for contributor in dataset.contributors() {
                let images = contributor.images.len();
                if images < 2 {
                    return Err(DataError::TooFewToSplit { contributor: contributor.name.clone(), images });
                }
                let count = ((fraction * images as f64).round() as usize).clamp(1, images - 1);
                let order =
                    permutation(&mut streams.rng(&format!("held out {}", contributor.name), 0), images);
                held_out.extend(order[..count].iter().map(|&place| contributor.images[place]));
            }
            held_out.sort_unstable();
        }
        let train = (0..dataset.len()).filter(|image| held_out.binary_search(image).is_err()).collect();
        Ok(Self { train: View::new(dataset.clone(), train), held_out: View::new(dataset.clone(), held_out) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Selection;

    /// Contributor k has `counts[k]` images of one pixel; the pixel says contributor and number.
    fn dataset(counts: &[u8]) -> Dataset {
        let images = counts.iter().enumerate().flat_map(|(who, &count)| {
            (0..count).map(move |number| (format!("artist {who}"), vec![who as u8, number, 0]))
        });
        Dataset::from_images((1, 1), images).unwrap()
    }

    #[test]
    fn views_hold_the_images_of_members() {
        let dataset = dataset(&[2, 3, 1]);
        let members = |members: &[usize]| {
            let coalition = Coalition::from_members(3, members.iter().copied()).unwrap();
            dataset.view(&coalition).unwrap().indices().to_vec()
        };
        assert_eq!(members(&[0, 2]), [0, 1, 5]);
        assert_eq!(members(&[1]), [2, 3, 4]);
        assert_eq!(members(&[0, 1, 2]), dataset.all().indices());
        assert!(members(&[]).is_empty());
        let message = dataset.view(&Coalition::full(4)).unwrap_err().to_string();
        assert!(
            message.starts_with("the coalition is over 4 contributors, but the data set has 3"),
            "{message}"
        );
    }

    #[test]
    fn splits_hold_out_the_rounded_share_of_everybody() {
        let dataset = dataset(&[2, 3, 10, 25]);
        for (fraction, shares) in
            [(0.1, [1, 1, 1, 3]), (0.25, [1, 1, 3, 6]), (0.5, [1, 2, 5, 13]), (0.99, [1, 2, 9, 24])]
        {
            let split = dataset.split(fraction, &Streams::new(3)).unwrap();
            for (who, share) in shares.into_iter().enumerate() {
                let only = Coalition::from_members(4, [who]).unwrap();
                assert_eq!(split.held_out.restricted_to(&only).unwrap().len(), share, "{fraction} of {who}");
            }
            let mut both = [split.train.indices(), split.held_out.indices()].concat();
            both.sort_unstable();
            assert_eq!(both, dataset.all().indices());
            assert!(split.train.indices().is_sorted() && split.held_out.indices().is_sorted());
        }
        let nothing = dataset.split(0.0, &Streams::new(3)).unwrap();
        assert!(nothing.held_out.is_empty() && nothing.train.len() == dataset.len());
    }

    #[test]
    fn a_contributor_s_split_depends_on_seed_and_name_only() {
        let all = dataset(&[30, 40, 20]);
        let some = all.select(&Selection::names(["artist 1", "artist 2"])).unwrap();
        let held_out = |dataset: &Dataset, seed, name: &str| -> Vec<u8> {
            let who = dataset.contributor(name).unwrap();
            let only = Coalition::from_members(dataset.contributors().len(), [who]).unwrap();
            let view =
                dataset.split(0.3, &Streams::new(seed)).unwrap().held_out.restricted_to(&only).unwrap();
            view.indices().iter().map(|&image| dataset.image(image).unwrap()[1]).collect()
        };
        assert_eq!(held_out(&all, 5, "artist 1"), held_out(&some, 5, "artist 1"));
        assert_ne!(held_out(&all, 5, "artist 1"), held_out(&all, 6, "artist 1"));
    }

    #[test]
    fn refuses_impossible_splits() {
        let dataset = dataset(&[1, 3]);
        let message = dataset.split(0.2, &Streams::new(0)).unwrap_err().to_string();
        assert!(message.starts_with("contributor \"artist 0\" has 1 image only"), "{message}");
        assert!(dataset.split(0.0, &Streams::new(0)).is_ok());
        for fraction in [1.0, -0.1, f64::NAN] {
            assert!(matches!(
                dataset.split(fraction, &Streams::new(0)),
                Err(DataError::HeldOutFraction { .. })
            ));
        }
    }
}
