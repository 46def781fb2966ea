//! CIFAR-10 and CIFAR-100 as published: <https://www.cs.toronto.edu/~kriz/cifar.html>.
//!
//! Binary: records of label bytes (one, or coarse and fine) and 3,072 bytes of red, green and blue planes of 32 x 32.
//! Python: pickled dictionaries with `data` (a matrix of bytes, 3,072 a row) and lists of labels.

use pickle::Pickle;

use crate::known::{CIFAR10_CLASSES, CIFAR100_CLASSES, CIFAR100_SUPERCLASSES};
use crate::source::Source;
use crate::table::{Row, Table};
use crate::{DataError, DataFormat};
use std::fs;
use std::path::{Path, PathBuf};

const PIXELS: usize = 3 * 32 * 32;
/// Largest file that is read; the largest published one has 184 MB.
const MAX_BYTES: u64 = 1 << 30;

/// Labels and pixels of one or more files.
#[derive(Debug, Default)]
struct Images {
    fine: Vec<usize>,
    coarse: Vec<usize>,
    pixels: Vec<u8>,
}

/// Opens the training images at `path`, or in the folder of the usual name below it.
pub(super) fn open(path: &Path, kind: DataFormat) -> Result<Option<(Table, Source)>, DataError> {
    let hundred = kind == DataFormat::Cifar100;
    let layouts = if hundred {
        [("cifar-100-binary", ".bin"), ("cifar-100-python", "")]
    } else {
        [("cifar-10-batches-bin", ".bin"), ("cifar-10-batches-py", "")]
    };
    for (folder, end) in layouts {
        for dir in [path.to_owned(), path.join(folder)] {
            let files: Vec<PathBuf> = if hundred {
                // A file `train` alone says little; `meta` beside it tells the Python layout.
                let described = !end.is_empty() || dir.join("meta").is_file();
                if described { vec![dir.join(format!("train{end}"))] } else { Vec::new() }
            } else {
                (1..=5).map(|batch| dir.join(format!("data_batch_{batch}{end}"))).collect()
            };
            if files.iter().any(|file| file.is_file()) {
                return read(path, &files, end.is_empty(), hundred).map(Some);
            }
        }
    }
    Ok(None)
}

fn read(path: &Path, files: &[PathBuf], pickled: bool, hundred: bool) -> Result<(Table, Source), DataError> {
    let mut images = Images::default();
    for file in files {
        let length = fs::metadata(file).map_err(DataError::read(file))?.len();
        let wrong = |message| DataError::Malformed { path: file.clone(), message };
        if length > MAX_BYTES {
            return Err(wrong(format!("it has {length} bytes; up to {MAX_BYTES} are read")));
        }
        let bytes = fs::read(file).map_err(DataError::read(file))?;
        let parse = if pickled { parse_pickle } else { parse_binary };
        parse(&bytes, hundred, &mut images).map_err(wrong)?;
    }
    let rows = (0..images.fine.len()).map(|index| {
        let fine = images.fine[index];
        let fields = if hundred {
            let coarse = images.coarse[index];
            vec![
                CIFAR100_CLASSES[fine].to_owned(),
                fine.to_string(),
                CIFAR100_SUPERCLASSES[coarse].0.to_owned(),
                index.to_string(),
            ]
        } else {
            vec![CIFAR10_CLASSES[fine].to_owned(), fine.to_string(), index.to_string()]
        };
        Row { line: 0, fields }
    });
    let columns: &[&str] = if hundred {
        &["contributor", "label", "superclass", "index"]
    } else {
        &["contributor", "label", "index"]
    };
    let columns = columns.iter().map(|&name| name.to_owned()).collect();
    let table = Table::new(path.to_owned(), columns, rows.collect());
    Ok((table, Source::Raw { bytes: images.pixels, planes: 3, size: (32, 32) }))
}

fn label(value: i64, classes: usize) -> Result<usize, String> {
    usize::try_from(value)
        .ok()
        .filter(|&label| label < classes)
        .ok_or_else(|| format!("label {value} is outside of 0 to {}", classes - 1))
}

fn parse_binary(bytes: &[u8], hundred: bool, images: &mut Images) -> Result<(), String> {
    let labels = if hundred { 2 } else { 1 };
    let record = labels + PIXELS;
    if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
        return Err(format!("its {} bytes are not whole records of {record}", bytes.len()));
    }
    for record in bytes.chunks_exact(record) {
        if hundred {
            images.coarse.push(label(record[0].into(), 20)?);
            images.fine.push(label(record[1].into(), 100)?);
        } else {
            images.fine.push(label(record[0].into(), 10)?);
        }
        images.pixels.extend_from_slice(&record[labels..]);
    }
    Ok(())
}

fn parse_pickle(bytes: &[u8], hundred: bool, images: &mut Images) -> Result<(), String> {
    let pickle = Pickle::parse(bytes).map_err(|error| error.reason)?;
    let (width, pixels) = pickle.byte_matrix("data").ok_or("it has no `data` that is a matrix of bytes")?;
    if width != PIXELS {
        return Err(format!("the rows of `data` have {width} bytes, not {PIXELS}"));
    }
    let count = pixels.len() / PIXELS;
    let labels = |key: &str, classes| -> Result<Vec<usize>, String> {
        let labels =
            pickle.integers(key).ok_or_else(|| format!("it has no `{key}` that is a list of integers"))?;
        if labels.len() != count {
            return Err(format!("`{key}` has {} entries for {count} images", labels.len()));
        }
        labels.into_iter().map(|value| label(value, classes)).collect()
    };
    if count == 0 {
        return Err("it holds no images".to_owned());
    }
    if hundred {
        images.fine.extend(labels("fine_labels", 100)?);
        images.coarse.extend(labels("coarse_labels", 20)?);
    } else {
        images.fine.extend(labels("labels", 10)?);
    }
    images.pixels.extend_from_slice(pixels);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dataset, OpenOptions, Selection};
    use proptest::prelude::*;

    /// A record whose planes are flat: red, green, blue.
    fn record(labels: &[u8], colour: [u8; 3]) -> Vec<u8> {
        let mut bytes = labels.to_vec();
        colour.iter().for_each(|&value| bytes.extend([value; 1024]));
        bytes
    }

    #[test]
    fn binary_batches_become_classes() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("cifar-10-batches-bin");
        fs::create_dir(&below).unwrap();
        for batch in 1..=5u8 {
            let bytes = [record(&[1], [batch, 2, 3]), record(&[7], [4, 5, batch]), record(&[9], [0; 3])];
            fs::write(below.join(format!("data_batch_{batch}.bin")), bytes.concat()).unwrap();
        }
        let all = Dataset::open(dir.path(), &OpenOptions::default()).unwrap();
        let two = all.select(&Selection::names(["automobile", "horse"])).unwrap();
        assert_eq!((all.len(), two.len(), two.size()), (15, 10, (32, 32)));
        assert_eq!(two.image(0).unwrap()[..6], [1, 2, 3, 1, 2, 3]);
        assert_eq!(two.image(9).unwrap()[3069..], [4, 5, 5]);
        assert_ne!(all.content_hash().unwrap(), two.content_hash().unwrap());
        let again = Dataset::open(&below, &OpenOptions::default()).unwrap();
        assert_eq!(again.content_hash().unwrap(), all.content_hash().unwrap());
        fs::write(below.join("data_batch_3.bin"), record(&[10], [0; 3])).unwrap();
        let message = Dataset::open(dir.path(), &OpenOptions::default()).unwrap_err().to_string();
        assert!(message.contains("data_batch_3.bin: label 10 is outside of 0 to 9"), "{message}");
    }

    #[test]
    fn fine_and_coarse_labels_are_columns() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = [record(&[8, 42], [1; 3]), record(&[16, 80], [2; 3])].concat();
        fs::write(dir.path().join("train.bin"), bytes).unwrap();
        let dataset = Dataset::open(dir.path(), &OpenOptions::default()).unwrap();
        assert_eq!(dataset.field(0, "contributor"), Some("leopard"));
        assert_eq!(dataset.field(1, "superclass"), Some("small_mammals"));
    }

    #[test]
    fn pickles_of_numpy_give_the_same_images() {
        let mut images = Images::default();
        let state = b"(K\x01(K\x01M\x00\x0ctcnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\x00\x0c\x00\x00";
        let mut bytes =
            b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR".to_vec();
        bytes.extend(state);
        bytes.extend(record(&[], [7, 8, 9]));
        bytes.extend(b"tbU\x06labels](K\x07eu.");
        parse_pickle(&bytes, false, &mut images).unwrap();
        assert_eq!((images.fine, images.pixels), (vec![7], record(&[], [7, 8, 9])));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), hundred: bool) {
            let _ = parse_binary(&bytes, hundred, &mut Images::default());
            let _ = parse_pickle(&bytes, hundred, &mut Images::default());
        }
    }
}
