//! Readers of layouts that others chose.

mod cifar;
mod identities;
mod idx;
mod parquet;
mod webdataset;

use crate::known::{DIGIT_CLASSES, FASHION_CLASSES};
use crate::source::Source;
use crate::table::{Row, Table};
use crate::{DataError, DataFormat, OpenOptions};
use std::fs;
use std::path::{Path, PathBuf};

/// Opens what lies at `path` in a layout of [`DataFormat`], if there is one.
pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Option<(Table, Source)>, DataError> {
    let format = options.format;
    let wanted = |kind| format.is_none() || format == Some(kind);
    if wanted(DataFormat::Identities)
        && let Some(file) = identities::find(path, options)
    {
        return identities::open(path, &file, options.resolution).map(Some);
    }
    for (kind, extension) in [(DataFormat::Webdataset, "tar"), (DataFormat::Parquet, "parquet")] {
        if wanted(kind) {
            let files = shards(path, extension)?;
            if !files.is_empty() {
                let open = if kind == DataFormat::Parquet { parquet::open } else { webdataset::open };
                return open(path, &files, options.resolution).map(Some);
            }
        }
    }
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

/// The files of a data set in parts: `path` itself, or the files with this ending in the folder, or in `data` below it, by
/// name. Where the names of some begin with `train`, only those.
fn shards(path: &Path, extension: &str) -> Result<Vec<PathBuf>, DataError> {
    let ends = |file: &Path| file.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension));
    if path.is_file() {
        return Ok(if ends(path) { vec![path.to_owned()] } else { Vec::new() });
    }
    for dir in [path.to_owned(), path.join("data")] {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        let mut files = Vec::new();
        for entry in entries {
            let file = entry.map_err(DataError::read(&dir))?.path();
            if ends(&file) && file.is_file() {
                files.push(file);
            }
        }
        let training = |file: &Path| {
            file.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("train"))
        };
        if files.iter().any(|file| training(file)) {
            files.retain(|file| training(file));
        }
        files.sort_unstable();
        if !files.is_empty() {
            return Ok(files);
        }
    }
    Ok(Vec::new())
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
        Table::new(path.to_owned(), columns, rows),
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
