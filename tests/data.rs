//! Data sets through the binaries: `tribute data`, and a study on every format.

mod tiny_study;

use std::fs;
use std::path::{Path, PathBuf};

use data::{ContributorKey, Dataset};
use serde_json::Value;
use tempfile::TempDir;
use tiny_study::{DATASETS, Outcome, TRIBUTE, TinyStudy, read_json, run};

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/data/tests/fixtures").join(name)
}

fn inspect(path: &Path, options: &[&str]) -> Value {
    let mut arguments = vec!["data".to_owned(), "inspect".to_owned(), text(path), "--json".to_owned()];
    arguments.extend(options.iter().map(|&option| option.to_owned()));
    let outcome = run(TRIBUTE, arguments).succeeded();
    serde_json::from_str(&outcome.stdout).expect("JSON")
}

#[test]
fn a_pack_is_inspected_with_its_near_duplicates() {
    let pack = Path::new(DATASETS).join("openclipart32");
    let folder = TempDir::new().expect("room for a folder");
    let out = folder.path().join("look");
    let found = inspect(&pack, &["--out", &text(&out)]);
    assert_eq!((&found["images"], found["contributors"].as_array().map(Vec::len)), (&2188.into(), Some(48)));
    assert_eq!(found["stored_sizes"], serde_json::json!([{ "width": 32, "height": 32, "images": 2188 }]));
    assert_eq!(found["licence"], "LicenseRef-public-domain");
    let pairs = found["near_duplicates"].as_array().expect("a list");
    assert_eq!(found["near_duplicate_pairs"], pairs.len());
    assert_eq!(pairs.len(), 0, "flags that share all but one place are no duplicates");
    let variants = inspect(&Path::new(DATASETS).join("openmoji32"), &[]);
    let pairs = variants["near_duplicates"].as_array().expect("a list");
    assert!((10..=20).contains(&pairs.len()), "{pairs:?}");
    for pair in pairs {
        assert!(pair["distance"].as_u64() <= Some(20), "{pair}");
        assert_ne!(pair["first"]["contributor"], pair["second"]["contributor"]);
    }
    let sheet = image::open(out.join("contact-sheet.png")).expect("a PNG");
    assert_eq!((sheet.width(), sheet.height()), (12 * 34 - 2, 48 * 34 - 2));
    let page = fs::read_to_string(out.join("index.html")).expect("a page");
    assert!(page.contains("2188 images by 48 contributors") && page.contains("Nicu Buculei"));
    assert!(!page.contains("<script") && !page.contains("http"), "it needs no network");
    // The text says the same.
    let said = run(TRIBUTE, ["data".into(), "inspect".into(), text(&pack)]).succeeded().stdout;
    assert!(
        said.contains("2188 images by 48 contributors") && said.contains("licence: LicenseRef-public-domain"),
        "{said}"
    );
    run(TRIBUTE, ["data".into(), "inspect".into(), text(&pack), "--out".into(), text(&out)])
        .refused(2, &["exists already"]);
    run(TRIBUTE, ["data".into(), "inspect".into(), text(&pack), "--contributor".into(), "painter".into()])
        .refused(2, &["no column `painter`", "contributor"]);
}

#[test]
fn copies_under_another_name_and_profiles_are_told() {
    let folder = TempDir::new().expect("room for a folder");
    for (own, file) in [
        ("ann/1.png", "source.png"),
        ("ann/2.png", "other.png"),
        ("bob/3.png", "source.png"),
        ("bob/4.png", "lanczos_50.png"),
    ] {
        let path = folder.path().join(own);
        fs::create_dir_all(path.parent().expect("a folder")).expect("room for a folder");
        fs::copy(fixtures("decoding").join(file), path).expect("room for an image");
    }
    let found = inspect(folder.path(), &[]);
    assert_eq!(
        (&found["size"], &found["near_duplicates"][0]["distance"]),
        (&serde_json::json!([64, 64]), &0.into())
    );
    assert_eq!(found["near_duplicates"][0]["first"]["file"], "ann/1.png");
    assert_eq!(found["near_duplicates"][0]["second"]["file"], "bob/3.png");
    assert_eq!(found["stored_sizes"][0], serde_json::json!({ "width": 64, "height": 48, "images": 2 }));
    assert_eq!(found["licence"], Value::Null);
    assert_eq!(found["notices"][0]["kind"], "colour-profile");
    let said = run(TRIBUTE, ["data".into(), "inspect".into(), text(folder.path())]).succeeded();
    assert!(
        said.stderr.contains("warning: 1 image has a colour profile") && said.stderr.contains("ann/2.png"),
        "{}",
        said.stderr
    );
    assert!(said.stdout.contains("ann/1.png by ann and bob/3.png by bob"), "{}", said.stdout);
}

#[test]
fn a_folder_becomes_a_pack_that_opens_identically() {
    let folder = TempDir::new().expect("room for a folder");
    let pack = folder.path().join("mine");
    let arguments = |options: &[&str]| -> Vec<String> {
        let fixed = [
            "data".to_owned(),
            "pack".to_owned(),
            text(&fixtures("archives/huggingface")),
            "--out".to_owned(),
            text(&pack),
        ];
        fixed.into_iter().chain(options.iter().map(|&option| option.to_owned())).collect()
    };
    run(TRIBUTE, arguments(&[])).refused(2, &["--licence"]);
    run(TRIBUTE, arguments(&["--licence", "CC0-1.0"])).refused(2, &["--credit"]);
    let whole = ["--licence", "CC0-1.0", "--credit", "By Ann and Bob", "--size", "4"];
    run(TRIBUTE, arguments(&whole)).succeeded();
    let key = ContributorKey::default();
    let (read, source) = (
        Dataset::open_pack(&pack, &key).expect("a pack"),
        Dataset::open(fixtures("archives/huggingface"), &Default::default())
            .expect("a data set")
            .resized(4)
            .expect("a size"),
    );
    assert_eq!(read.contributors(), source.contributors());
    for image in 0..source.len() {
        assert_eq!(read.image(image).expect("an image"), source.image(image).expect("an image"));
    }
    assert_eq!(read.description().expect("a description").credit, "By Ann and Bob");
    run(TRIBUTE, arguments(&whole)).refused(2, &["exists already"]);
}

fn idx(sides: &[u32], content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sides.len() as u8];
    sides.iter().for_each(|side| bytes.extend(side.to_be_bytes()));
    bytes.extend(content);
    bytes
}

fn names(found: &Value) -> Vec<&str> {
    found["contributors"].as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect()
}

#[test]
fn published_layouts_are_found_out() {
    let python = inspect(&fixtures("archives/cifar-10-batches-py"), &[]);
    assert_eq!((names(&python).len(), &python["images"]), (10, &10.into()));
    let hundred = fixtures("archives/cifar-100-python");
    assert_eq!(names(&inspect(&hundred, &[])), ["leopard", "squirrel"]);
    assert_eq!(
        names(&inspect(&hundred, &["--contributor", "superclass"])),
        ["large_carnivores", "small_mammals"]
    );

    let packings = fixtures("archives/packings");
    for name in ["none-delta", "snappy", "gzip", "zstd", "zstd-delta", "lz4", "shared-beginnings"] {
        let found = inspect(&packings.join(format!("{name}.parquet")), &["--contributor", "label"]);
        assert_eq!((names(&found), &found["images"]), (vec!["cat", "dog", "owl"], &10.into()), "{name}");
    }
    run(TRIBUTE, ["data".into(), "inspect".into(), text(&fixtures("archives/brotli.parquet"))])
        .refused(1, &["packed by BROTLI", "ZSTD"]);

    let folder = TempDir::new().expect("room for a folder");
    let write = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("room for a folder");
        fs::write(path, content).expect("room for a file");
    };
    for batch in 1..=5u8 {
        let record = |label: u8| [vec![label], vec![batch; 3072]].concat();
        write(&format!("binary/data_batch_{batch}.bin"), &[record(1), record(7)].concat());
    }
    assert_eq!(names(&inspect(&folder.path().join("binary"), &[])), ["automobile", "horse"]);
    write("digits/train-images-idx3-ubyte", &idx(&[3, 2, 2], &[9; 12]));
    write("digits/train-labels-idx1-ubyte", &idx(&[3], &[4, 9, 4]));
    let digits = folder.path().join("digits");
    assert_eq!(names(&inspect(&digits, &[])), ["4", "9"]);
    assert_eq!(names(&inspect(&digits, &["--format", "fashion-mnist"])), ["Ankle boot", "Coat"]);
    let png = fs::read(fixtures("decoding/source.png")).expect("a fixture");
    write("table/a.png", &png);
    write("table/more/b.png", &png);
    write("table/art.csv", b"file,painter,year\na.png,Ann,1999\nmore/b.png,Bob,1999\n");
    let table = folder.path().join("table/art.csv");
    assert_eq!(names(&inspect(&table, &["--contributor", "painter,year"])), ["Ann / 1999", "Bob / 1999"]);
}

/// A study runs on images in each layout, to its report.
#[test]
fn studies_run_on_archives_and_identity_files() {
    let faces = TempDir::new().expect("room for a folder");
    for number in 0..12 {
        let image = image::RgbImage::from_pixel(9, 9, image::Rgb([20 * number; 3]));
        image.save(faces.path().join(format!("{number}.jpg"))).expect("room for an image");
    }
    let lines: String = (0..12).map(|number| format!("{number}.jpg {}\n", number % 4)).collect();
    fs::write(faces.path().join("CelebA-HQ-identity.txt"), lines).expect("room for a file");
    for (path, key, contributors) in [
        (fixtures("archives/huggingface"), "label", 3),
        (fixtures("archives/webdataset"), "artist", 3),
        (faces.path().to_owned(), "contributor", 4),
    ] {
        let study = TinyStudy::of_images(&path);
        study.complete("out", &["--set", &format!("data.contributor={key}")]);
        let report = read_json(&study.path("out/report.json"));
        assert_eq!(report["contributors"].as_array().map(Vec::len), Some(contributors), "{}", path.display());
    }
    let study = TinyStudy::of_images(&fixtures("archives/webdataset"));
    Outcome::of(&mut study.drive("out", &["--set", "data.format=parquet"]))
        .refused(2, &["holds no data set in the format parquet"]);
}
