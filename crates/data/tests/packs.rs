//! The shipped packs, and packs with something wrong.

use data::{ContributorKey, DataError, Dataset, OpenOptions, Selection};
use image::{Rgb, RgbImage};
use removal::Coalition;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets").join(name)
}

fn key(text: &str) -> ContributorKey {
    text.parse().unwrap()
}

#[test]
fn shipped_packs_have_their_images_and_contributors() {
    for (name, images, contributors, most, fewest) in [
        ("openclipart32", 2188, 48, 149, 10),
        ("openmoji32", 1932, 58, 110, 10),
        ("openmoji-people32", 1650, 29, 250, 5),
    ] {
        let dataset = Dataset::open_pack(shipped(name), &ContributorKey::default()).unwrap();
        assert_eq!(dataset.len(), images, "{name}");
        assert_eq!(dataset.size(), (32, 32));
        assert_eq!(dataset.contributors().len(), contributors, "{name}");
        let counts: Vec<usize> = dataset.contributors().iter().map(|c| c.images.len()).collect();
        assert_eq!(counts.iter().sum::<usize>(), images);
        assert_eq!((*counts.iter().max().unwrap(), *counts.iter().min().unwrap()), (most, fewest), "{name}");
        assert!(dataset.contributors().is_sorted_by(|a, b| a.name < b.name));
        dataset.preload().unwrap();
        let description = dataset.description().unwrap();
        assert_eq!((description.tile, description.columns), (32, 44));
        assert!(description.credit.contains(&format!("its {contributors} ")), "{}", description.credit);
        // Whoever is in the table is thanked in the notice, with the right number of images.
        let notice = fs::read_to_string(shipped(name).join("NOTICE")).unwrap();
        for contributor in dataset.contributors() {
            let line = format!("  {} ({})\n", contributor.name, contributor.images.len());
            assert!(notice.contains(&line), "{name}: {line}");
        }
    }
}

#[test]
fn tiles_are_cut_where_the_table_says() {
    let dataset = Dataset::open_pack(shipped("openmoji32"), &ContributorKey::default()).unwrap();
    let sheet = image::open(shipped("openmoji32").join("openmoji32.png")).unwrap().to_rgb8();
    for image in [0, 43, 44, 1000, 1931] {
        assert_eq!(dataset.field(image, "index").unwrap(), image.to_string());
        let (left, top) = (image as u32 % 44 * 32, image as u32 / 44 * 32);
        let tile = image::imageops::crop_imm(&sheet, left, top, 32, 32).to_image();
        assert_eq!(dataset.image(image).unwrap()[..], tile.as_raw()[..]);
    }
    assert!(matches!(dataset.image(1932), Err(DataError::ImageOutOfRange { index: 1932, len: 1932 })));
}

#[test]
fn any_columns_can_be_the_contributor() {
    let people = shipped("openmoji-people32");
    let tones = Dataset::open_pack(&people, &key("contributor,skin_tone")).unwrap();
    assert_eq!(tones.contributors().len(), 29 * 5);
    let liz = tones.contributor("Lisa Thiel / 3").unwrap();
    assert_eq!(tones.contributors()[liz].images.len(), 47);
    for &image in &tones.contributors()[liz].images {
        assert_eq!(tones.field(image, "skin_tone"), Some("3"));
        assert_eq!(tones.field(image, "contributor"), Some("Lisa Thiel"));
        assert_eq!(tones.owner(image), Some(liz));
    }
    assert_eq!(Dataset::open_pack(&people, &key("skin_tone")).unwrap().contributors().len(), 5);
    let message = Dataset::open_pack(&people, &key("artist")).unwrap_err().to_string();
    assert!(
        message.ends_with(
            "no column `artist`: it has index, contributor, class, subclass, skin_tone, id, title"
        )
    );
}

#[test]
fn selections_keep_images_and_say_what_is_wrong() {
    let all = Dataset::open_pack(shipped("openclipart32"), &ContributorKey::default()).unwrap();
    let largest = all.select(&Selection::largest(12)).unwrap();
    assert_eq!(largest.contributors().len(), 12);
    let least = largest.contributors().iter().map(|c| c.images.len()).min().unwrap();
    let larger = all.contributors().iter().filter(|c| c.images.len() > least).count();
    assert!(larger < 12, "a left-out contributor has more images than a chosen one");
    assert!(largest.contributors().is_sorted_by(|a, b| a.name < b.name));

    let two = all.select(&Selection::names(["Nicu Buculei", "Danny Allen"])).unwrap();
    assert_eq!(
        two.contributors().iter().map(|c| c.name.as_str()).collect::<Vec<_>>(),
        ["Danny Allen", "Nicu Buculei"]
    );
    assert_eq!(two.len(), 145 + 149);
    for (new, &old) in two.contributors()[0]
        .images
        .iter()
        .zip(&all.contributors()[all.contributor("Danny Allen").unwrap()].images)
    {
        assert_eq!(two.image(*new).unwrap(), all.image(old).unwrap());
    }
    let many = all.select(&Selection::min_images(100)).unwrap();
    assert!(many.contributors().iter().all(|c| c.images.len() >= 100));
    assert_eq!(
        many.contributors().len(),
        all.contributors().iter().filter(|c| c.images.len() >= 100).count()
    );

    let message = |selection: Selection| all.select(&selection).unwrap_err().to_string();
    assert!(
        message(Selection::names(["Nobody"]))
            .starts_with("there is no contributor \"Nobody\" by the key contributor")
    );
    assert!(
        message(Selection::largest(49))
            .starts_with("the 49 largest contributors were asked for, but there are 48")
    );
    assert!(message(Selection::largest(1)).contains("has one contributor only (\"Nicu Buculei\""));
    assert!(message(Selection::min_images(1000)).contains("no image is left"));
    assert!(message(Selection::default().with_filter("klass", ["food"])).contains("no column `klass`"));
    assert!(
        message(Selection::default().with_filter("class", ["fod"]))
            .starts_with("no image has \"fod\" in column `class`")
    );
    let small = Selection { min_images: Some(12), ..Selection::names(["AbiClipart", "Danny Allen"]) };
    assert_eq!(
        message(small),
        "contributor \"AbiClipart\" has 11 images, fewer than min_images = 12: lower min_images or leave the contributor out"
    );
    let elsewhere = Selection::names(["Danny Allen", "mo"]).with_filter("class", ["food"]);
    let message = message(elsewhere);
    assert!(message.contains("has no images left after the filters"), "{message}");
}

#[test]
fn filters_and_largest_combine() {
    let all = Dataset::open_pack(shipped("openmoji-people32"), &ContributorKey::default()).unwrap();
    let dark = all
        .select(&Selection { largest: Some(5), ..Selection::default().with_filter("skin_tone", ["4", "5"]) })
        .unwrap();
    assert_eq!(dark.contributors().len(), 5);
    assert!((0..dark.len()).all(|image| ["4", "5"].contains(&dark.field(image, "skin_tone").unwrap())));
    let selected: usize = dark.contributors().iter().map(|c| c.images.len()).sum();
    assert_eq!(selected, dark.len());
    let again = dark.select(&Selection::default().with_filter("skin_tone", ["5"])).unwrap();
    assert_eq!(again.len() * 2, dark.len());
}

#[test]
fn the_hash_tells_contents_apart_and_nothing_else() {
    let path = shipped("openclipart32");
    let all = Dataset::open_pack(&path, &ContributorKey::default()).unwrap();
    let hash = |dataset: &Dataset| dataset.content_hash().unwrap();
    assert_eq!(hash(&all), GOLDEN_HASH);
    let by_csv = Dataset::open_pack(path.join("openclipart32.csv"), &ContributorKey::default()).unwrap();
    assert_eq!(hash(&by_csv), hash(&all));
    let moved = TempDir::new().unwrap();
    for name in ["openclipart32.csv", "openclipart32.png"] {
        fs::copy(path.join(name), moved.path().join(name)).unwrap();
    }
    let without_description =
        Dataset::open_pack(moved.path().join("openclipart32.png"), &ContributorKey::default()).unwrap();
    assert!(without_description.description().is_none());
    assert_eq!(hash(&without_description), hash(&all));

    let largest = all.select(&Selection::largest(12)).unwrap();
    let same = Selection::names(largest.contributors().iter().map(|c| c.name.clone()));
    assert_eq!(hash(&all.select(&same).unwrap()), hash(&largest));
    let different = [
        hash(&all),
        hash(&largest),
        hash(&all.resized(16).unwrap()),
        hash(&Dataset::open_pack(&path, &key("class")).unwrap()),
    ];
    for (i, a) in different.iter().enumerate() {
        assert!(different[i + 1..].iter().all(|b| a != b));
    }
    let table = moved.path().join("openclipart32.csv");
    let edited = fs::read_to_string(&table).unwrap().replacen("roadsigns", "road_signs", 1);
    fs::write(&table, edited).unwrap();
    assert_ne!(hash(&Dataset::open_pack(&table, &ContributorKey::default()).unwrap()), hash(&all));
}

const GOLDEN_HASH: &str = "36d8aad9ae3194c1c3369387c09c0c32ec6e7ab1070f9f30fc029db55b04faf4";

#[test]
fn resizing_shares_the_table_and_means_blocks() {
    let all = Dataset::open_pack(shipped("openmoji32"), &ContributorKey::default()).unwrap();
    let half = all.resized(16).unwrap();
    assert_eq!((half.size(), half.len()), ((16, 16), all.len()));
    let (large, small) = (all.image(77).unwrap(), half.image(77).unwrap());
    for (y, x, c) in [(0, 0, 0), (7, 9, 1), (15, 15, 2)] {
        let at = |y: usize, x: usize| f64::from(large[(y * 32 + x) * 3 + c]);
        let mean =
            (at(2 * y, 2 * x) + at(2 * y, 2 * x + 1) + at(2 * y + 1, 2 * x) + at(2 * y + 1, 2 * x + 1)) / 4.0;
        assert!((f64::from(small[(y * 16 + x) * 3 + c]) - mean).abs() <= 0.5);
    }
    assert!(all.resized(0).unwrap_err().to_string().starts_with("resolution 0 is not possible"));
}

#[test]
fn coalitions_of_the_shipped_pack_are_views() {
    let dataset = Dataset::open_pack(shipped("openclipart32"), &ContributorKey::default()).unwrap();
    let coalition = Coalition::from_members(48, [3, 17]).unwrap();
    let view = dataset.view(&coalition).unwrap();
    let expected: usize = [3, 17].iter().map(|&who| dataset.contributors()[who].images.len()).sum();
    assert_eq!(view.len(), expected);
    assert!(view.indices().iter().all(|&image| [3, 17].contains(&dataset.owner(image).unwrap())));
}

/// A small pack: `rows` below the header `index,contributor`, and a sheet of 3 x 2 tiles of 4 pixels.
fn small_pack(table: &str) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let sheet = RgbImage::from_fn(12, 8, |x, y| Rgb([(x / 4 + 3 * (y / 4)) as u8, x as u8, y as u8]));
    sheet.save(dir.path().join("p.png")).unwrap();
    fs::write(dir.path().join("p.csv"), table).unwrap();
    let description = "name = \"p\"\nsheet = \"p.png\"\ntable = \"p.csv\"\ntile = 4\ncolumns = 3\nlicence = \"CC0-1.0\"\ncredit = \"us\"\norigin = \"here\"\n";
    fs::write(dir.path().join("pack.toml"), description).unwrap();
    let path = dir.path().join("p.csv");
    (dir, path)
}

fn open_message(path: &Path) -> String {
    Dataset::open_pack(path, &ContributorKey::default()).unwrap_err().to_string()
}

#[test]
fn rows_may_come_in_any_order_and_leave_tiles_out() {
    let (_dir, path) = small_pack("index,contributor\n5,Bob\n0,Ann\n3,Bob\n");
    let dataset = Dataset::open_pack(&path, &ContributorKey::default()).unwrap();
    let tiles: Vec<u8> = (0..3).map(|image| dataset.image(image).unwrap()[0]).collect();
    assert_eq!(tiles, [5, 0, 3]);
    assert_eq!(dataset.contributors()[1].images, [0, 2]);
    let (_dir, path) = small_pack("contributor\nBob\nAnn\n");
    let dataset = Dataset::open_pack(&path, &ContributorKey::default()).unwrap();
    assert_eq!(dataset.image(1).unwrap()[0], 1);
}

#[test]
fn faulty_tables_name_file_line_and_remedy() {
    for (table, expected) in [
        ("index,contributor\n0,Ann\n6,Bob\n", "p.csv line 3: there is no tile 6 in "),
        ("index,contributor\n0,Ann\nx,Bob\n", "p.csv line 3: index \"x\" is not the number of a tile"),
        ("index,contributor\n0,Ann\n1,Bob\n0,Bob\n", "p.csv line 4: tile 0 is already in line 2: remove one"),
        ("index,contributor\n0,Ann\n1,\n", "p.csv line 3: column `contributor` is empty"),
        ("index,contributor\n0,Ann\n1\n", "p.csv line 3: the row has 1 fields"),
        (
            "index,contributor\n0,Ann\n1,Ann\n",
            "p.csv has one contributor only (\"Ann\", by the key contributor)",
        ),
        ("index,contributor\n", "p.csv holds no images"),
        ("index,artist\n0,Ann\n1,Bob\n", "p.csv has no column `contributor`: it has index, artist"),
    ] {
        let (_dir, path) = small_pack(table);
        let message = open_message(&path);
        assert!(message.contains(expected), "{message}");
    }
    let (_dir, path) = small_pack("index,a,b\n0,x / y,z\n1,x,y / z\n");
    let message = Dataset::open_pack(&path, &key("a,b")).unwrap_err().to_string();
    assert!(message.contains("two different contributors are both called \"x / y / z\""), "{message}");
}

#[test]
fn faulty_sheets_and_descriptions_are_refused() {
    let table = "index,contributor\n0,Ann\n1,Bob\n";
    let (dir, path) = small_pack(table);
    let sheet = fs::read(dir.path().join("p.png")).unwrap();
    fs::write(dir.path().join("p.png"), &sheet[..sheet.len() / 2]).unwrap();
    assert!(open_message(&path).contains("p.png does not decode"));
    fs::remove_file(dir.path().join("p.png")).unwrap();
    assert!(open_message(&path).starts_with("cannot read"));

    let (dir, path) = small_pack(table);
    let description = fs::read_to_string(dir.path().join("pack.toml")).unwrap();
    for (from, to, expected) in [
        ("columns = 3", "columns = 5", "which is no grid of 5 square tiles a row"),
        ("tile = 4", "tile = 5", "12 x 8 pixels"),
        ("tile = 4", "tile = 0", "must be at least 1"),
        ("tile = 4", "tiel = 4", "unknown field `tiel`"),
        ("table = \"p.csv\"", "table = \"../p.csv\"", "is not the name of a file beside it"),
    ] {
        fs::write(dir.path().join("pack.toml"), description.replace(from, to)).unwrap();
        let message = open_message(if to.contains("..") { dir.path() } else { &path });
        assert!(message.contains(expected), "{message}");
    }
    fs::remove_file(dir.path().join("pack.toml")).unwrap();
    assert!(open_message(&path).contains("which is no grid of 44 square tiles"));
    assert!(open_message(dir.path()).contains("is not a data set"));
    for options in [
        OpenOptions { tile: Some(4), ..OpenOptions::default() },
        OpenOptions { columns: Some(3), ..OpenOptions::default() },
    ] {
        assert_eq!(Dataset::open(&path, &options).unwrap().size(), (4, 4));
    }
    let missing = Dataset::open(dir.path().join("nothing"), &OpenOptions::default()).unwrap_err();
    assert!(missing.to_string().contains("is not a data set"));
}

#[test]
fn written_packs_open_back_identically() {
    let dir = TempDir::new().unwrap();
    let notice = data::PackNotice {
        name: "mine".to_owned(),
        licence: "CC0-1.0".to_owned(),
        credit: "By \"all of us\"".to_owned(),
        origin: "a test\nof two lines".to_owned(),
    };
    let all = Dataset::open_pack(shipped("openmoji-people32"), &key("contributor,skin_tone")).unwrap();
    let some =
        all.select(&Selection { largest: Some(5), ..Selection::default() }).unwrap().resized(16).unwrap();
    let path = dir.path().join("packs/mine");
    some.write_pack(&path, &notice).unwrap();
    let pack = Dataset::open_pack(&path, &key("contributor,skin_tone")).unwrap();
    assert_eq!(pack.contributors(), some.contributors());
    assert_eq!((pack.size(), pack.len()), ((16, 16), some.len()));
    for image in 0..some.len() {
        assert_eq!(pack.image(image).unwrap(), some.image(image).unwrap());
        assert_eq!(pack.field(image, "index").unwrap(), image.to_string());
        assert_eq!(pack.field(image, "source_index"), some.field(image, "index"));
        for column in some.columns().iter().filter(|column| *column != "index") {
            assert_eq!(pack.field(image, column), some.field(image, column), "{column}");
        }
    }
    let description = pack.description().unwrap();
    assert_eq!((&description.credit, &description.origin), (&notice.credit, &notice.origin));
    assert_eq!(fs::read_dir(dir.path().join("packs")).unwrap().count(), 1, "nothing is left beside it");

    let refused = |dataset: &Dataset, path: &Path| dataset.write_pack(path, &notice).unwrap_err().to_string();
    assert!(refused(&some, &path).contains("exists already"));
    let oblong = Dataset::from_images((2, 1), [("Ann", vec![0; 6]), ("Bob", vec![1; 6])]).unwrap();
    assert!(refused(&oblong, &dir.path().join("a")).contains("tiles are square"));
    let spaced = Dataset::from_images((1, 1), [("Ann ", vec![0; 3]), ("Bob", vec![1; 3])]).unwrap();
    assert!(refused(&spaced, &dir.path().join("b")).contains("does not keep the contributor \"Ann \""));
    assert!(!dir.path().join("b").exists() && !dir.path().join(".b.partial").exists());
}
