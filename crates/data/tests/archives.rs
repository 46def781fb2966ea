//! Data sets as Python tools write them: Parquet by pyarrow, WebDataset's tar files.

use data::{DataFormat, Dataset, OpenOptions};
use std::fs;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/archives").join(name)
}

fn open(path: &Path, key: &str) -> Dataset {
    Dataset::open(path, &OpenOptions { key: key.parse().unwrap(), ..OpenOptions::default() }).unwrap()
}

fn message(path: &Path) -> String {
    Dataset::open(path, &OpenOptions::default()).unwrap_err().to_string()
}

#[test]
fn hugging_faces_training_files_are_read_in_every_packing() {
    let dataset = open(&fixture("huggingface"), "contributor");
    // Three files; the test split and the column of lists are left out.
    assert_eq!((dataset.len(), dataset.size()), (40, (8, 8)));
    assert_eq!(dataset.columns(), ["label", "artist", "width", "score", "public", "contributor"]);
    let names: Vec<&str> = dataset.contributors().iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["cat", "dog", "owl"]);
    for image in 0..40 {
        let pixels = dataset.image(image).unwrap();
        assert_eq!(pixels[..3], [image as u8, 255 - image as u8, 7], "image {image}");
        let field = |column| dataset.field(image, column).unwrap();
        assert_eq!(field("label"), ["cat", "dog", "owl"][image % 3]);
        assert_eq!(field("artist"), if image % 5 == 4 { "" } else { ["Ann", "Bob"][image % 2] });
        assert_eq!(field("score").parse::<f64>().unwrap(), image as f64 / 4.0);
        assert_eq!((field("width"), field("public")), ("8", if image % 2 == 0 { "true" } else { "false" }));
    }
}

#[test]
fn every_packing_and_encoding_gives_the_same_images() {
    let mut files: Vec<PathBuf> =
        fs::read_dir(fixture("packings")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 11);
    for file in files {
        let dataset = open(&file, "contributor");
        assert_eq!((dataset.len(), dataset.size()), (10, (8, 8)), "{}", file.display());
        for image in 0..10 {
            let place = format!("image {image} of {}", file.display());
            let pixels = dataset.image(image).unwrap();
            assert_eq!(pixels[..3], [image as u8, 255 - image as u8, 7], "{place}");
            let field = |column| dataset.field(image, column).unwrap();
            assert_eq!(field("label"), ["cat", "dog", "owl"][image % 3], "{place}");
            assert_eq!(
                field("artist"),
                if image % 5 == 4 { "" } else { ["Ann", "Bob"][image % 2] },
                "{place}"
            );
            assert_eq!(field("score").parse::<f64>().unwrap(), image as f64 / 4.0, "{place}");
            assert_eq!(field("width"), "8", "{place}");
        }
    }
}

#[test]
fn any_column_can_be_the_contributor() {
    let dataset = open(&fixture("huggingface"), "label,public");
    assert_eq!(dataset.contributors().len(), 6);
    let options = OpenOptions { key: "artist".parse().unwrap(), ..OpenOptions::default() };
    let empty = Dataset::open(fixture("huggingface"), &options).unwrap_err().to_string();
    assert!(empty.contains("column `artist` is empty"), "{empty}");
    let options = OpenOptions { key: "painter".parse().unwrap(), ..OpenOptions::default() };
    let unknown = Dataset::open(fixture("huggingface"), &options).unwrap_err().to_string();
    assert!(unknown.contains("no column `painter`: it has label, artist, width"), "{unknown}");
}

#[test]
fn repeated_images_are_found_in_the_dictionary() {
    let dataset = open(&fixture("bytes.parquet"), "contributor");
    assert_eq!(dataset.contributors()[1].images, [1, 4, 7]);
    for image in 0..9 {
        assert_eq!(dataset.image(image).unwrap()[0], (image % 3) as u8);
    }
}

#[test]
fn what_is_not_read_is_named_with_the_remedy() {
    let brotli = message(&fixture("brotli.parquet"));
    assert!(
        brotli.contains("brotli.parquet") && brotli.contains("packed by BROTLI") && brotli.contains("ZSTD"),
        "{brotli}"
    );
    assert!(message(&fixture("missing.parquet")).contains("row 1 has no image"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let whole = fs::read(fixture("bytes.parquet")).unwrap();
    fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    assert!(message(&path).contains("cut short"));
    fs::write(&path, "a,b\n").unwrap();
    assert!(message(&path).contains("too short for a Parquet file"));
}

#[test]
fn shards_of_pythons_tarfile_are_read() {
    let dataset = open(&fixture("webdataset"), "artist");
    assert_eq!(dataset.len(), 10);
    assert_eq!(
        dataset.columns(),
        ["artist", "cls", "key", "likes", "prefix"].iter().map(|c| c.to_string()).fold(
            vec!["contributor".to_owned()],
            |mut all, c| {
                all.push(c);
                all
            }
        )
    );
    for image in 0..10 {
        assert_eq!(dataset.image(image).unwrap()[0], image as u8);
        assert_eq!(dataset.field(image, "contributor"), Some(["0", "1"][image % 2]));
    }
    assert!(dataset.field(3, "key").unwrap().ends_with("deep/000003"));
    let names: Vec<&str> = dataset.contributors().iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["Ann", "Bob", "Eve"]);
}

#[test]
fn formats_are_refused_where_they_are_not() {
    for (format, name) in [
        (DataFormat::Parquet, "parquet"),
        (DataFormat::Webdataset, "webdataset"),
        (DataFormat::Identities, "identities"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let options = OpenOptions { format: Some(format), ..OpenOptions::default() };
        let message = Dataset::open(dir.path(), &options).unwrap_err().to_string();
        assert!(message.contains(&format!("holds no data set in the format {name}")), "{message}");
    }
}
