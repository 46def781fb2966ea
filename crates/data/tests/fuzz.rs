//! Damaged files of every format: see `tests/fuzzing`.

#[path = "../../../tests/fuzzing/mod.rs"]
mod fuzzing;

use data::{DataFormat, Dataset, OpenOptions};
use flate2::Compression;
use flate2::write::GzEncoder;
use fuzzing::fuzz;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn fixtures(folder: &str, ends: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let files = files.into_iter().filter(|file| file.is_file() && file.to_string_lossy().ends_with(ends));
    let files: Vec<Vec<u8>> = files.map(|file| fs::read(file).unwrap()).collect();
    assert!(!files.is_empty());
    files
}

/// Opens a data set and reads all that it offers.
fn read_all(path: &Path, options: &OpenOptions) {
    let Ok(dataset) = Dataset::open(path, options) else { return };
    let _ = dataset.content_hash();
    let _ = dataset.preload();
    for image in 0..dataset.len().min(8) {
        let _ = dataset.image(image);
    }
}

/// Damages one file of a data set.
fn fuzz_file(name: &str, seeds: &[Vec<u8>], file: &str, others: &[(&str, Vec<u8>)], options: &OpenOptions) {
    let dir = TempDir::new().unwrap();
    for (other, content) in others {
        let path = dir.path().join(other);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    // What the archive or table must never lead to.
    let path = dir.path().join(file);
    fuzz(name, seeds, |bytes| {
        fs::write(&path, bytes).unwrap();
        read_all(dir.path(), options);
        if file.ends_with(".csv") {
            read_all(&path, options);
        }
    });
}

fn small() -> OpenOptions {
    OpenOptions { resolution: Some(4), ..OpenOptions::default() }
}

fn format(format: DataFormat) -> OpenOptions {
    OpenOptions { format: Some(format), ..small() }
}

fn png() -> Vec<u8> {
    fixtures("decoding", "source.png").remove(0)
}

const PACK: &str = "name = \"p\"\nsheet = \"p.png\"\ntable = \"p.csv\"\ntile = 16\ncolumns = 4\nlicence = \"CC0-1.0\"\ncredit = \"us\"\norigin = \"here\"\n";
const TABLE: &[u8] = b"index,contributor,year\n5,Bob,1999\n0,\"Ann, B\",2001\n3,Bob,\n";

#[test]
fn tables_of_packs() {
    let others = [("p.png", png()), ("pack.toml", PACK.into())];
    fuzz_file("pack-csv", &[TABLE.to_vec()], "p.csv", &others, &OpenOptions::default());
}

#[test]
fn descriptions_of_packs() {
    let others = [("p.png", png()), ("p.csv", TABLE.to_vec())];
    fuzz_file("pack-toml", &[PACK.into()], "pack.toml", &others, &OpenOptions::default());
}

#[test]
fn tables_of_files() {
    let others = [("a.png", png()), ("b/c.png", png())];
    let table = b"file,contributor\na.png,Ann\nb/c.png,Bob\n./../a.png,Eve\n".to_vec();
    let whole = b"file_name,contributor\na.png,Ann\nb/c.png,Bob\n".to_vec();
    fuzz_file("file-csv", &[table, whole], "t.csv", &others, &small());
}

#[test]
fn identity_files() {
    let others = [("0.png", png()), ("1.png", png())];
    let seeds = [b"0.png 12\n1.png 7\n2.png 7\n".to_vec(), b"2\n0.png 12\n1.png 7\n".to_vec()];
    fuzz_file("identities", &seeds, "identity.txt", &others, &format(DataFormat::Identities));
}

#[test]
fn images() {
    let mut seeds = fixtures("decoding", "g");
    seeds.extend(fixtures("", "g"));
    let other = ("Ann/a.png", png());
    let dir = TempDir::new().unwrap();
    for name in ["Ann", "Bob"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    fs::write(dir.path().join(other.0), other.1).unwrap();
    fuzz("images", &seeds, |bytes| {
        fs::write(dir.path().join("Bob/b.png"), bytes).unwrap();
        read_all(dir.path(), &small());
    });
}

fn idx(sides: &[u32]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sides.len() as u8];
    sides.iter().for_each(|side| bytes.extend(side.to_be_bytes()));
    bytes.extend((0..sides.iter().product::<u32>()).map(|at| (at % 10) as u8));
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn idx_files() {
    let seeds = [idx(&[6, 5, 4]), gzip(&idx(&[6, 5, 4]))];
    let others = [("train-labels-idx1-ubyte", idx(&[6]))];
    fuzz_file("idx", &seeds, "train-images-idx3-ubyte", &others, &format(DataFormat::Mnist));
}

fn cifar_record(label: u8) -> Vec<u8> {
    let mut record = vec![label];
    record.extend((0..3072).map(|at| (at % 251) as u8));
    record
}

#[test]
fn cifar_binaries() {
    let batch: Vec<u8> = (0..3).flat_map(cifar_record).collect();
    let names = ["data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
    let others = names.map(|name| (name, batch.clone()));
    fuzz_file(
        "cifar",
        std::slice::from_ref(&batch),
        "data_batch_1.bin",
        &others,
        &format(DataFormat::Cifar10),
    );
}

#[test]
fn pickles() {
    let mut pickle = b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01(K\x01M\x00\x0ctcnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\x00\x0c\x00\x00".to_vec();
    pickle.extend(&cifar_record(0)[1..]);
    pickle.extend(b"tbU\x06labels](K\x07eu.");
    // A program that Python would run.
    let attack = b"cposix\nsystem\n(S'touch stolen'\ntR.".to_vec();
    let others = [2, 3, 4, 5].map(|batch| {
        (["", "", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"][batch], pickle.clone())
    });
    fuzz_file("pickle", &[pickle.clone(), attack], "data_batch_1", &others, &format(DataFormat::Cifar10));
    assert!(!Path::new("stolen").exists());
}

#[test]
fn tar_shards() {
    fuzz_file("tar", &fixtures("archives/webdataset", ".tar"), "a.tar", &[], &format(DataFormat::Webdataset));
}

#[test]
fn parquet_files() {
    let mut seeds = fixtures("archives/huggingface/data", ".parquet");
    seeds.extend(fixtures("archives", ".parquet"));
    seeds.extend(fixtures("archives/packings", ".parquet"));
    fuzz_file("parquet", &seeds, "a.parquet", &[], &format(DataFormat::Parquet));
}
