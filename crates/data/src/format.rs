//! Kinds of data sets.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How images and contributors are written down. Left out, it is found out by what lies at the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataFormat {
    /// CIFAR-10: `data_batch_1` to `5`, binary (`.bin`) or Python pickles; training images only.
    Cifar10,
    /// CIFAR-100: `train.bin`, or the Python pickle `train` with `meta`; training images only.
    Cifar100,
    /// MNIST: `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, plain or `.gz`; classes are numbers.
    Mnist,
    /// As MNIST, with the names of Fashion-MNIST's classes.
    FashionMnist,
    /// Images with a text file of lines `name id`, such as CelebA-HQ's.
    Identities,
    /// WebDataset: `.tar` files whose members of one name are an image and what belongs to it.
    Webdataset,
    /// Parquet files with encoded images, as Hugging Face's data sets are published.
    Parquet,
}

impl fmt::Display for DataFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion-mnist",
            Self::Identities => "identities",
            Self::Webdataset => "webdataset",
            Self::Parquet => "parquet",
        })
    }
}
