//! Diversity as the entropy of the samples over true labels of the reference images, such as the skin tones of drawn people.

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use super::cluster_entropy::unit_rows;
use super::{check_width, entropy_bits};
use crate::BehaviorError;

/// Reference images with their labels: tells the label of a sample by its k nearest neighbours.
#[derive(Clone, Debug)]
pub struct LabelledReference {
    /// Features scaled to length one, `[N, d]`.
    unit: Array2<f64>,
    labels: Vec<usize>,
    classes: usize,
    k: usize,
}

/// How samples spread over the labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelEntropy {
    /// `-sum p_c log2 p_c`, in bits: from 0 (one label) to `log2(labels)` (all alike).
    pub bits: f64,
    /// Samples told to have each label.
    pub counts: Vec<usize>,
    /// Shares of the samples, p.
    pub proportions: Vec<f64>,
}

impl LabelledReference {
    /// Takes the rows of `features` `[N, d]` with the label of each, in `0..classes`.
    ///
    /// # Errors
    /// `k` = 0 or no fewer than N, another number of labels than rows, a label out of range, a feature vector of length zero, or
    /// a NaN or an infinity.
    pub fn new(
        features: ArrayView2<f32>,
        labels: &[usize],
        classes: usize,
        k: usize,
    ) -> Result<Self, BehaviorError> {
        if labels.len() != features.nrows() {
            return Err(BehaviorError::Mismatch {
                what: "number of labels of the reference images",
                expected: features.nrows(),
                found: labels.len(),
                remedy: "give one label for each image",
            });
        }
        let parameter = |name, value: usize, valid: String| {
            Err(BehaviorError::Parameter { name, value: value.to_string(), valid })
        };
        if k == 0 || k >= labels.len() {
            return parameter(
                "k",
                k,
                format!("1 to {}, one less than the reference images", labels.len().max(1) - 1),
            );
        }
        if let Some(&label) = labels.iter().find(|&&label| label >= classes) {
            return parameter("label", label, format!("0 to {}", classes.max(1) - 1));
        }
        Ok(Self { unit: unit_rows("reference image", features)?, labels: labels.to_vec(), classes, k })
    }

    /// The label of each row of `features` `[N, d]`: that of most of the k reference images of the largest cosine similarity; of
    /// labels with as many votes the first.
    ///
    /// # Errors
    /// No row, another number of features, a feature vector of length zero, or a NaN or an infinity.
    pub fn classify(&self, features: ArrayView2<f32>) -> Result<Vec<usize>, BehaviorError> {
        check_width(self.unit.ncols(), features.ncols())?;
        let similarity = unit_rows("sample", features)?.dot(&self.unit.t());
        Ok(similarity.rows().into_iter().map(|row| self.vote(&row.to_vec(), None)).collect())
    }

    /// The share of the reference images whose label the others tell: how far the classifier can be trusted.
    pub fn accuracy(&self) -> f64 {
        let similarity = self.unit.dot(&self.unit.t());
        let right = similarity
            .rows()
            .into_iter()
            .enumerate()
            .filter(|(image, row)| self.vote(&row.to_vec(), Some(*image)) == self.labels[*image])
            .count();
        right as f64 / self.labels.len() as f64
    }

    /// The entropy of the rows of `features` over the labels.
    ///
    /// # Errors
    /// As [`LabelledReference::classify`].
    pub fn entropy(&self, features: ArrayView2<f32>) -> Result<LabelEntropy, BehaviorError> {
        let mut counts = vec![0; self.classes];
        for label in self.classify(features)? {
            counts[label] += 1;
        }
        let total = features.nrows() as f64;
        let proportions: Vec<f64> = counts.iter().map(|&count| count as f64 / total).collect();
        Ok(LabelEntropy { bits: entropy_bits(&proportions), counts, proportions })
    }

    /// The label with most votes among the k images most similar, `left_out` aside.
    fn vote(&self, similarity: &[f64], left_out: Option<usize>) -> usize {
        let mut images: Vec<usize> = (0..similarity.len()).filter(|&image| Some(image) != left_out).collect();
        // Of equally similar images the first: the order is total, so the choice is one.
        let order = |a: &usize, b: &usize| similarity[*b].total_cmp(&similarity[*a]).then(a.cmp(b));
        images.select_nth_unstable_by(self.k - 1, order);
        let mut votes = vec![0usize; self.classes];
        for &image in &images[..self.k] {
            votes[self.labels[image]] += 1;
        }
        let most = votes.iter().max().copied().unwrap_or(0);
        votes.iter().position(|&count| count == most).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::super::fixture;
    use super::*;

    #[test]
    fn labels_accuracy_and_entropy_are_those_of_scikit_learn() {
        let fixture = fixture::open();
        let truth = fixture.integers("true_labels");
        for k in [1, 5] {
            let reference = LabelledReference::new(fixture.rows("reference").view(), &truth, 4, k).unwrap();
            let samples = fixture.rows("samples");
            let told = fixture.integers(&format!("told_labels_{k}"));
            assert_eq!(reference.classify(samples.view()).unwrap(), told);
            let entropy = reference.entropy(samples.view()).unwrap();
            assert!((entropy.bits - fixture.value(&format!("label_entropy_{k}"))).abs() < 1e-12);
            assert_eq!(entropy.counts.iter().sum::<usize>(), samples.nrows());
            let expected = fixture.value(&format!("label_accuracy_{k}"));
            assert!((reference.accuracy() - expected).abs() < 1e-12, "{}", reference.accuracy());
        }
    }

    #[test]
    fn wrong_labels_and_neighbours_are_refused() {
        let rows = array![[1.0f32, 0.0], [0.0, 1.0], [1.0, 1.0]];
        let new = |labels: &[usize], k| LabelledReference::new(rows.view(), labels, 2, k);
        assert!(matches!(new(&[0, 1], 1), Err(BehaviorError::Mismatch { expected: 3, found: 2, .. })));
        assert!(matches!(new(&[0, 1, 2], 1), Err(BehaviorError::Parameter { name: "label", .. })));
        for k in [0, 3] {
            assert!(matches!(new(&[0, 1, 1], k), Err(BehaviorError::Parameter { name: "k", .. })));
        }
        let even = new(&[0, 1, 1], 1).unwrap().entropy(array![[2.0f32, 0.1], [0.1, 2.0]].view()).unwrap();
        assert_eq!((even.bits, even.counts), (1.0, vec![1, 1]));
    }
}
