//! Well-known data sets: what their classes are called, and which part of them a study uses.

use crate::Selection;
use std::fmt;
use std::str::FromStr;

/// A data set that studies know by name.
///
/// ```
/// use data::KnownDataset;
///
/// let known: KnownDataset = "cifar2".parse()?;
/// assert_eq!(known.used_classes(), ["automobile", "horse"]);
/// assert_eq!(known.classes()[1], "automobile");
/// # Ok::<(), data::UnknownDataset>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KnownDataset {
    /// CIFAR-10 (Krizhevsky 2009): ten classes of 5,000 training images.
    Cifar10,
    /// Automobiles (class 1) and horses (class 7) of CIFAR-10.
    Cifar2,
    /// Twenty classes of four superclasses of animals of CIFAR-100: 10,000 training images.
    Cifar20,
    /// CIFAR-100 (Krizhevsky 2009): a hundred classes of 500 training images.
    Cifar100,
    /// CelebA-HQ (Karras et al. 2018): portraits by the celebrity's number.
    CelebaHq,
    /// MNIST (LeCun et al. 1998): handwritten digits.
    Mnist,
    /// Fashion-MNIST (Xiao et al. 2017): ten kinds of clothing.
    FashionMnist,
}

/// Classes of CIFAR-10 by label.
pub(crate) const CIFAR10_CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Fine classes of CIFAR-100 by label: alphabetical.
#[rustfmt::skip]
pub(crate) const CIFAR100_CLASSES: [&str; 100] = [
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur",
    "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard",
    "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
    "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
    "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket",
    "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
    "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor",
    "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
];

/// Superclasses of CIFAR-100 by coarse label, with their classes in the order in which
/// <https://www.cs.toronto.edu/~kriz/cifar.html> publishes them.
#[rustfmt::skip]
pub(crate) const CIFAR100_SUPERCLASSES: [(&str, [&str; 5]); 20] = [
    ("aquatic_mammals", ["beaver", "dolphin", "otter", "seal", "whale"]),
    ("fish", ["aquarium_fish", "flatfish", "ray", "shark", "trout"]),
    ("flowers", ["orchid", "poppy", "rose", "sunflower", "tulip"]),
    ("food_containers", ["bottle", "bowl", "can", "cup", "plate"]),
    ("fruit_and_vegetables", ["apple", "mushroom", "orange", "pear", "sweet_pepper"]),
    ("household_electrical_devices", ["clock", "keyboard", "lamp", "telephone", "television"]),
    ("household_furniture", ["bed", "chair", "couch", "table", "wardrobe"]),
    ("insects", ["bee", "beetle", "butterfly", "caterpillar", "cockroach"]),
    ("large_carnivores", ["bear", "leopard", "lion", "tiger", "wolf"]),
    ("large_man-made_outdoor_things", ["bridge", "castle", "house", "road", "skyscraper"]),
    ("large_natural_outdoor_scenes", ["cloud", "forest", "mountain", "plain", "sea"]),
    ("large_omnivores_and_herbivores", ["camel", "cattle", "chimpanzee", "elephant", "kangaroo"]),
    ("medium_mammals", ["fox", "porcupine", "possum", "raccoon", "skunk"]),
    ("non-insect_invertebrates", ["crab", "lobster", "snail", "spider", "worm"]),
    ("people", ["baby", "boy", "girl", "man", "woman"]),
    ("reptiles", ["crocodile", "dinosaur", "lizard", "snake", "turtle"]),
    ("small_mammals", ["hamster", "mouse", "rabbit", "shrew", "squirrel"]),
    ("trees", ["maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"]),
    ("vehicles_1", ["bicycle", "bus", "motorcycle", "pickup_truck", "train"]),
    ("vehicles_2", ["lawn_mower", "rocket", "streetcar", "tank", "tractor"]),
];

/// Classes 40-44, 55-64 and 80-84 in the published order by superclass.
const CIFAR20_CLASSES: [&str; 20] = {
    let superclasses = [8, 11, 12, 16];
    let mut classes = [""; 20];
    let mut place = 0;
    while place < 20 {
        classes[place] = CIFAR100_SUPERCLASSES[superclasses[place / 5]].1[place % 5];
        place += 1;
    }
    classes
};

pub(crate) const DIGIT_CLASSES: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// Classes of Fashion-MNIST by label.
#[rustfmt::skip]
pub(crate) const FASHION_CLASSES: [&str; 10] = [
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
];

/// Celebrities that a study of CelebA-HQ uses.
const CELEBRITIES: usize = 50;

impl KnownDataset {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Cifar10,
        Self::Cifar2,
        Self::Cifar20,
        Self::Cifar100,
        Self::CelebaHq,
        Self::Mnist,
        Self::FashionMnist,
    ];

    /// Its name on command lines; [`FromStr`] also takes `cifar10`, `celeba-hq` and `_` for `-`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cifar10 => "cifar",
            Self::Cifar2 => "cifar2",
            Self::Cifar20 => "cifar20",
            Self::Cifar100 => "cifar100",
            Self::CelebaHq => "celeba",
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion-mnist",
        }
    }

    /// Names of all classes by label, in the published order of the whole data set; none for CelebA-HQ, whose
    /// contributors are numbers.
    pub fn classes(self) -> &'static [&'static str] {
        match self {
            Self::Cifar10 | Self::Cifar2 => &CIFAR10_CLASSES,
            Self::Cifar20 | Self::Cifar100 => &CIFAR100_CLASSES,
            Self::CelebaHq => &[],
            Self::Mnist => &DIGIT_CLASSES,
            Self::FashionMnist => &FASHION_CLASSES,
        }
    }

    /// The classes that a study uses: all, but two of CIFAR-2 and twenty of CIFAR-20.
    ///
    /// CIFAR-20 is numbered in the order by superclass in which CIFAR-100 is published (40-44, 55-64, 80-84: large
    /// carnivores, large omnivores and herbivores, medium-sized and small mammals), not in the alphabetical order of the
    /// labels in its files, where those numbers would mean lamps and sweet peppers.
    pub fn used_classes(self) -> &'static [&'static str] {
        match self {
            Self::Cifar2 => &["automobile", "horse"],
            Self::Cifar20 => &CIFAR20_CLASSES,
            _ => self.classes(),
        }
    }

    /// The part of the data set that a study uses, with the class (for CelebA-HQ the celebrity) as contributor. Of
    /// CelebA-HQ it is 50 celebrities, chosen by [`Selection::random`] with seed 0.
    pub fn selection(self) -> Selection {
        match self {
            Self::Cifar2 | Self::Cifar20 => Selection::names(self.used_classes().iter().copied()),
            Self::CelebaHq => Selection::random(CELEBRITIES, 0),
            _ => Selection::default(),
        }
    }

    /// Side of the square images that a study trains on, in pixels.
    pub fn resolution(self) -> u32 {
        match self {
            Self::CelebaHq => 256,
            _ => 32,
        }
    }

    /// Colour channels: 1 for grey, 3 for RGB.
    pub fn channels(self) -> usize {
        match self {
            Self::Mnist | Self::FashionMnist => 1,
            _ => 3,
        }
    }

    /// Whether training mirrors images at random.
    pub fn horizontal_flip(self) -> bool {
        matches!(self, Self::Cifar10 | Self::Cifar2 | Self::Cifar20 | Self::Cifar100)
    }
}

/// A word that names none of the data sets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{word:?} is no known data set: there are cifar, cifar2, cifar20, cifar100, celeba, mnist and fashion-mnist"
)]
pub struct UnknownDataset {
    /// The word.
    pub word: String,
}

impl fmt::Display for KnownDataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KnownDataset {
    type Err = UnknownDataset;

    fn from_str(word: &str) -> Result<Self, UnknownDataset> {
        match word.to_ascii_lowercase().replace('_', "-").as_str() {
            "cifar10" => Ok(Self::Cifar10),
            "celeba-hq" => Ok(Self::CelebaHq),
            wanted => Self::ALL
                .into_iter()
                .find(|known| known.name() == wanted)
                .ok_or_else(|| UnknownDataset { word: word.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn superclasses_hold_every_class_of_cifar100_once() {
        let mut all: Vec<&str> =
            CIFAR100_SUPERCLASSES.iter().flat_map(|(_, classes)| classes).copied().collect();
        all.sort_unstable();
        assert_eq!(all, CIFAR100_CLASSES);
        assert!(CIFAR100_SUPERCLASSES.is_sorted_by_key(|(name, _)| *name));
    }

    #[test]
    fn subsets_are_those_of_the_paper() {
        assert_eq!([CIFAR10_CLASSES[1], CIFAR10_CLASSES[7]], KnownDataset::Cifar2.used_classes());
        let published: Vec<&str> =
            CIFAR100_SUPERCLASSES.iter().flat_map(|(_, classes)| classes).copied().collect();
        let numbered: Vec<&str> =
            (40..45).chain(55..65).chain(80..85).map(|number: usize| published[number]).collect();
        assert_eq!(KnownDataset::Cifar20.used_classes(), numbered);
        assert!(numbered.contains(&"leopard") && numbered.contains(&"squirrel"));
    }

    #[test]
    fn names_are_read_back() {
        for known in KnownDataset::ALL {
            assert_eq!(known.to_string().parse(), Ok(known));
        }
        assert_eq!("Fashion_MNIST".parse(), Ok(KnownDataset::FashionMnist));
        assert_eq!("cifar10".parse(), Ok(KnownDataset::Cifar10));
        let message = "imagenet".parse::<KnownDataset>().unwrap_err().to_string();
        assert!(message.contains("imagenet") && message.contains("fashion-mnist"), "{message}");
    }
}
