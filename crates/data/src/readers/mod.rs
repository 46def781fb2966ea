//! Readers of published layouts: images in few large files, with a label each.

mod cifar;
mod idx;

use crate::known::{DIGIT_CLASSES, FASHION_CLASSES};
use crate::source::Source;
use crate::table::{Row, Table};
use crate::{DataError, DataFormat};
use std::path::Path;

/// Opens the training images of a published layout at `path`, if there is one: CIFAR-10 or CIFAR-100 (binary or Python),
/// or MNIST's files.
pub(crate) fn open(path: &Path, format: Option<DataFormat>) -> Result<Option<(Table, Source)>, DataError> {
    let wanted = |kind| format.is_none() || format == Some(kind);
    for kind in [DataFormat::Cifar10, DataFormat::Cifar100] {
        if wanted(kind)
            && let Some(found) = cifar::open(path, kind)?
        {
            return Ok(Some(found));
        }
    }
    let classes = match format {
        None | Some(DataFormat::Mnist) => &DIGIT_CLASSES,
        Some(DataFormat::FashionMnist) => &FASHION_CLASSES,
        Some(_) => return Ok(None),
    };
    open_idx(path, classes)
}

/// Opens `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, plain or with `.gz`.
fn open_idx(path: &Path, classes: &[&str]) -> Result<Option<(Table, Source)>, DataError> {
    let find = |name: &str| {
        [".gz", ""].into_iter().map(|end| path.join(format!("{name}{end}"))).rfind(|file| file.is_file())
    };
    let Some(images_path) = find("train-images-idx3-ubyte") else { return Ok(None) };
    let wrong = |message: String| DataError::Malformed { path: images_path.clone(), message };
    let labels_path = find("train-labels-idx1-ubyte")
        .ok_or_else(|| wrong("there is no train-labels-idx1-ubyte[.gz] beside it".to_owned()))?;
    let (images, labels) = (idx::read(&images_path)?, idx::read(&labels_path)?);
    let [count, height, width] = images.shape[..] else {
        return Err(wrong(format!("its axes are {:?}, not images, rows and columns", images.shape)));
    };
    if labels.shape != [count] {
        return Err(wrong(format!("there are {count} images, but labels of shape {:?}", labels.shape)));
    }
    let side = |pixels: usize| {
        u32::try_from(pixels)
            .ok()
            .filter(|side| (1..=4096).contains(side))
            .ok_or_else(|| wrong(format!("its images are {height} x {width}; sides of 1 to 4096 are read")))
    };
    let size = (side(width)?, side(height)?);
    let mut rows = Vec::with_capacity(count);
    for (index, &label) in labels.bytes.iter().enumerate() {
        let name = classes.get(usize::from(label)).ok_or_else(|| DataError::Malformed {
            path: labels_path.clone(),
            message: format!("label {index} is {label}, but there are {} classes", classes.len()),
        })?;
        rows.push(Row { line: 0, fields: vec![(*name).to_owned(), label.to_string(), index.to_string()] });
    }
    if rows.is_empty() {
        return Err(wrong("it holds no images".to_owned()));
    }
    let columns = ["contributor", "label", "index"].map(str::to_owned).to_vec();
    Ok(Some((
        Table { path: path.to_owned(), columns, rows },
        Source::Raw { bytes: images.bytes, planes: 1, size },
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dataset, OpenOptions};
    use std::fs;

    fn idx(sides: &[u32], content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, sides.len() as u8];
        sides.iter().for_each(|side| bytes.extend(side.to_be_bytes()));
        bytes.extend(content);
        bytes
    }

    #[test]
    fn clothing_is_named_where_the_format_says_so() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("train-images-idx3-ubyte"), idx(&[2, 1, 2], &[1, 2, 3, 255])).unwrap();
        fs::write(dir.path().join("train-labels-idx1-ubyte"), idx(&[2], &[9, 0])).unwrap();
        let digits = Dataset::open(dir.path(), &OpenOptions::default()).unwrap();
        assert_eq!(digits.contributors()[0].name, "0");
        assert_eq!(digits.size(), (2, 1));
        assert_eq!(digits.image(1).unwrap()[..], [3, 3, 3, 255, 255, 255]);
        let options = OpenOptions { format: Some(DataFormat::FashionMnist), ..OpenOptions::default() };
        let clothing = Dataset::open(dir.path(), &options).unwrap();
        assert_eq!(clothing.contributors()[0].name, "Ankle boot");
        assert_eq!(clothing.field(1, "contributor"), Some("T-shirt/top"));
        let options = OpenOptions { format: Some(DataFormat::Cifar10), ..OpenOptions::default() };
        let message = Dataset::open(dir.path(), &options).unwrap_err().to_string();
        assert!(message.contains("holds no data set in the format cifar10"), "{message}");
        fs::write(dir.path().join("train-labels-idx1-ubyte"), idx(&[2], &[9, 10])).unwrap();
        let message = Dataset::open(dir.path(), &OpenOptions::default()).unwrap_err().to_string();
        assert!(message.contains("label 1 is 10"), "{message}");
    }

    /// Where Debian's package `dataset-fashion-mnist` is installed.
    #[test]
    fn debian_s_fashion_mnist_has_6000_images_a_class() {
        let path = Path::new("/usr/share/datasets/fashion-mnist");
        if !path.is_dir() {
            return;
        }
        let options = OpenOptions {
            format: Some(DataFormat::FashionMnist),
            resolution: Some(32),
            ..OpenOptions::default()
        };
        let dataset = Dataset::open(path, &options).unwrap();
        assert_eq!((dataset.len(), dataset.size()), (60_000, (32, 32)));
        assert!(dataset.contributors().iter().all(|class| class.images.len() == 6000));
        assert_eq!(dataset.field(0, "contributor"), Some("Ankle boot"));
    }
}
