//! Folders and tables of image files.

use data::{BatchSource, ContributorKey, DataError, Dataset, OpenOptions};
use image::{Rgb, RgbImage};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Writes a file whose pixels are all `value`.
fn write(path: &Path, (width, height): (u32, u32), value: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_pixel(width, height, Rgb([value; 3])).save(path).unwrap();
}

fn folder(files: &[(&str, u32, u8)]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for &(name, side, value) in files {
        write(&dir.path().join(name), (side, side), value);
    }
    dir
}

fn open_folder(dir: &TempDir, resolution: Option<u32>) -> Result<Dataset, DataError> {
    Dataset::open_folder(dir.path(), &ContributorKey::default(), resolution)
}

fn table(dir: &TempDir, text: &str) -> PathBuf {
    let path = dir.path().join("art.csv");
    fs::write(&path, text).unwrap();
    path
}

fn open_table(path: &Path) -> Result<Dataset, DataError> {
    Dataset::open_table(path, &ContributorKey::default(), None)
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn folders_are_read_by_name_whatever_the_order_of_writing(
        counts in proptest::collection::btree_map("[a-zA-Zä ]{1,8}[a-z]", 1usize..6, 2..6),
        backwards: bool,
        side in 1u32..5,
    ) {
        let write_all = |backwards: bool| {
            let dir = TempDir::new().unwrap();
            let mut files: Vec<(PathBuf, u8)> = Vec::new();
            for (who, (name, &count)) in counts.iter().enumerate() {
                for number in 0..count {
                    let file = dir.path().join(name).join(format!("{number}.png"));
                    files.push((file, (16 * who + number) as u8));
                }
            }
            if backwards {
                files.reverse();
            }
            files.iter().for_each(|(path, value)| write(path, (side, side), *value));
            dir
        };
        let dir = write_all(false);
        let dataset = open_folder(&dir, None).unwrap();
        prop_assert_eq!(dataset.size(), (side, side));
        let found: BTreeMap<String, usize> =
            dataset.contributors().iter().map(|c| (c.name.clone(), c.images.len())).collect();
        prop_assert_eq!(&found, &counts);
        for (who, contributor) in dataset.contributors().iter().enumerate() {
            for (number, &image) in contributor.images.iter().enumerate() {
                let pixels = vec![(16 * who + number) as u8; 3 * (side * side) as usize];
                prop_assert_eq!(&dataset.image(image).unwrap()[..], &pixels[..]);
            }
        }
        let again = write_all(backwards);
        let other = open_folder(&again, None).unwrap();
        prop_assert_eq!(other.content_hash().unwrap(), dataset.content_hash().unwrap());
        write(&again.path().join(&dataset.contributors()[0].name).join("0.png"), (side, side), 255);
        let edited = open_folder(&again, None).unwrap();
        prop_assert_ne!(edited.content_hash().unwrap(), dataset.content_hash().unwrap());
    }

    #[test]
    fn no_table_makes_reading_panic(text in "(file,contributor\n)?([a-c./,\"\n]|a\\.png){0,40}") {
        let dir = folder(&[("a.png", 2, 1)]);
        let _ = open_table(&table(&dir, &text));
    }
}

#[test]
fn folders_may_nest_and_hold_notes() {
    let dir = folder(&[
        ("Bob/x.png", 2, 1),
        ("Ann/deep/er/y.PNG", 2, 2),
        ("Ann/a.png", 2, 3),
        ("Bob/z.jpeg", 2, 4),
    ]);
    fs::write(dir.path().join("Ann/licence.txt"), "CC0").unwrap();
    fs::write(dir.path().join("README.md"), "ours").unwrap();
    fs::create_dir(dir.path().join(".thumbnails")).unwrap();
    fs::write(dir.path().join("Bob/.DS_Store"), "").unwrap();
    let dataset = open_folder(&dir, None).unwrap();
    let files: Vec<&str> = (0..dataset.len()).map(|image| dataset.field(image, "file").unwrap()).collect();
    assert_eq!(files, ["Ann/a.png", "Ann/deep/er/y.PNG", "Bob/x.png", "Bob/z.jpeg"]);
    assert_eq!(dataset.contributors()[0].images, [0, 1]);
    assert_eq!(dataset.path(), dir.path());
    let opened = Dataset::open(dir.path(), &OpenOptions::default()).unwrap();
    assert_eq!(opened.content_hash().unwrap(), dataset.content_hash().unwrap());
    let message = Dataset::open_folder(dir.path(), &"style".parse().unwrap(), None).unwrap_err().to_string();
    assert!(message.ends_with("has no column `style`: it has contributor, file"), "{message}");
}

#[test]
fn files_are_read_when_first_used() {
    let dir = folder(&[("Ann/a.png", 2, 1), ("Bob/b.png", 2, 2)]);
    let broken = dir.path().join("Bob/b.png");
    let whole = fs::read(&broken).unwrap();
    fs::write(&broken, &whole[..whole.len() - 30]).unwrap();
    // With a resolution nothing is read at first; without one, the headers are, and the header is whole.
    for resolution in [Some(2), None] {
        let dataset = open_folder(&dir, resolution).unwrap();
        assert_eq!(dataset.image(0).unwrap()[..], [1; 12]);
        let message = dataset.preload().unwrap_err().to_string();
        assert!(
            message.contains("b.png does not decode") && message.ends_with("replace or remove the file"),
            "{message}"
        );
    }
    let dataset = open_folder(&dir, None).unwrap();
    fs::write(&broken, &whole).unwrap();
    assert_eq!(dataset.image(1).unwrap()[..], [2; 12]);
    // What was read once is kept.
    fs::remove_file(&broken).unwrap();
    assert_eq!(dataset.image(1).unwrap()[..], [2; 12]);
    assert!(dataset.content_hash().is_err());
}

#[test]
fn a_file_that_changes_its_size_is_noticed() {
    let dir = folder(&[("Ann/a.png", 2, 1), ("Bob/b.png", 2, 2)]);
    let dataset = open_folder(&dir, None).unwrap();
    write(&dir.path().join("Bob/b.png"), (5, 3), 2);
    let message = dataset.image(1).unwrap_err().to_string();
    assert!(message.contains("it is 5 x 3 pixels now, but was 2 x 2 when"), "{message}");
}

#[test]
fn mixed_sizes_need_a_resolution() {
    let dir = folder(&[("Ann/a.png", 4, 1), ("Ann/b.png", 4, 2), ("Bob/c.jpg", 9, 200)]);
    let message = open_folder(&dir, None).unwrap_err().to_string();
    assert!(
        message.contains("Ann/a.png is 4 x 4 and ")
            && message.contains("Bob/c.jpg is 9 x 9: set a resolution"),
        "{message}"
    );
    let dataset = open_folder(&dir, Some(4)).unwrap();
    dataset.preload().unwrap();
    assert_eq!(dataset.size(), (4, 4));
    assert_eq!(dataset.image(0).unwrap()[..], [1; 48]);
    assert!(dataset.image(2).unwrap().iter().all(|&value| value.abs_diff(200) <= 2));
    assert!(matches!(open_folder(&dir, Some(0)), Err(DataError::Resolution { resolution: 0 })));
}

#[test]
fn faulty_folders_name_the_thing() {
    let message = |dir: &TempDir| open_folder(dir, Some(8)).unwrap_err().to_string();
    let dir = folder(&[("Ann/a.png", 2, 1), ("Bob/b.png", 2, 2)]);
    fs::create_dir(dir.path().join("Eve")).unwrap();
    assert!(message(&dir).starts_with("contributor \"Eve\" has no images in "));
    write(&dir.path().join("Eve/e.png"), (2, 2), 3);
    open_folder(&dir, None).unwrap();
    write(&dir.path().join("stray.png"), (2, 2), 3);
    assert!(message(&dir).contains("stray.png lies beside the contributors' folders"));
    fs::remove_file(dir.path().join("stray.png")).unwrap();
    fs::write(dir.path().join("Eve/e.webp"), "RIFF").unwrap();
    assert!(message(&dir).contains("e.webp is neither PNG nor JPEG"));

    assert!(message(&folder(&[("Ann/a.png", 2, 1)])).contains("one contributor only (\"Ann\""));
    assert!(
        message(&TempDir::new().unwrap())
            .contains("it needs one folder of PNG or JPEG images for each contributor")
    );
    let gone = Dataset::open_folder("no/such/folder", &ContributorKey::default(), None).unwrap_err();
    assert!(gone.to_string().starts_with("cannot read no/such/folder"));
}

#[test]
fn unusual_files_are_converted_or_refused() {
    let dir = folder(&[("Ann/a.png", 8, 1)]);
    fs::create_dir(dir.path().join("Bob")).unwrap();
    fs::copy(fixture("cmyk.jpg"), dir.path().join("Bob/b.jpg")).unwrap();
    let dataset = open_folder(&dir, Some(8)).unwrap();
    assert!(matches!(dataset.image(1), Err(DataError::Cmyk { .. })));
    // A JPEG under the name of a PNG is read by its content.
    fs::copy(fixture("progressive.jpg"), dir.path().join("Bob/b.jpg")).unwrap();
    fs::rename(dir.path().join("Bob/b.jpg"), dir.path().join("Bob/b.png")).unwrap();
    let grey = image::ImageBuffer::<image::Luma<u16>, _>::from_pixel(8, 8, image::Luma([257 * 40]));
    grey.save(dir.path().join("Bob/grey16.png")).unwrap();
    let dataset = open_folder(&dir, Some(8)).unwrap();
    dataset.preload().unwrap();
    assert_eq!(dataset.image(2).unwrap()[..], [40; 192]);
}

#[cfg(unix)]
#[test]
fn links_to_folders_cannot_loop() {
    let dir = folder(&[("Ann/a.png", 2, 1), ("Bob/b.png", 2, 2)]);
    std::os::unix::fs::symlink(dir.path(), dir.path().join("Bob/loop")).unwrap();
    let message = open_folder(&dir, None).unwrap_err().to_string();
    assert!(message.contains("loop") && message.contains("is not followed"), "{message}");
}

#[cfg(unix)]
#[test]
fn links_cannot_lead_a_table_out_of_its_folder() {
    use std::os::unix::fs::symlink;
    let secret = folder(&[("private/a.png", 2, 9)]);
    let dir = folder(&[("a.png", 2, 1), ("b.png", 2, 2)]);
    symlink(secret.path().join("private"), dir.path().join("sub")).unwrap();
    symlink(secret.path().join("private/a.png"), dir.path().join("c.png")).unwrap();
    symlink(dir.path().join("b.png"), dir.path().join("d.png")).unwrap();
    for file in ["sub/a.png", "c.png"] {
        let message = open_table(&table(&dir, &format!("file,contributor\na.png,Ann\n{file},Bob\n")))
            .unwrap_err()
            .to_string();
        assert!(message.contains(&format!("art.csv line 3: {file:?} leads out of")), "{message}");
    }
    let inside = open_table(&table(&dir, "file,contributor\na.png,Ann\nd.png,Bob\n")).unwrap();
    assert_eq!(inside.image(1).unwrap()[0], 2);
}

#[test]
fn memory_is_bounded_and_batches_are_the_same() {
    let files: Vec<(String, u32, u8)> = (0..60).map(|i| (format!("{}/{i}.png", i % 3), 8, i as u8)).collect();
    let dir =
        folder(&files.iter().map(|(name, side, value)| (name.as_str(), *side, *value)).collect::<Vec<_>>());
    let open = |cache_bytes| {
        let options =
            OpenOptions { resolution: Some(8), cache_bytes: Some(cache_bytes), ..OpenOptions::default() };
        Dataset::open(dir.path(), &options).unwrap()
    };
    // Room for all, for ten of sixty, for none.
    let batches =
        [1 << 20, 1920, 0].map(|bytes| open(bytes).all().batches(streams::Streams::new(3), true).unwrap());
    for step in [0, 1, 2, 3, 9, 4, 5, 6] {
        let all = batches.each_ref().map(|batches| batches.batch(step, 32).unwrap());
        assert!(all[0] == all[1] && all[0] == all[2], "step {step}");
    }
    let [whole, part, none] = batches.map(|batches| batches.view().is_in_memory());
    assert!(whole && !part && !none);
    let small = open(1920);
    small.preload().unwrap();
    fs::remove_dir_all(dir.path().join("0")).unwrap();
    let kept = (0..60).filter(|&image| small.image(image).is_ok()).count();
    assert!((40..=50).contains(&kept), "{kept}: forty files and up to ten kept images are there");
}

#[test]
fn hugging_faces_file_names_are_a_table_too() {
    let dir = folder(&[("a.png", 2, 1), ("b.png", 2, 2)]);
    let dataset =
        open_table(&table(&dir, "file_name,artist,contributor\na.png,x,Ann\nb.png,y,Bob\n")).unwrap();
    assert_eq!(dataset.image(1).unwrap()[0], 2);
    let by_artist =
        Dataset::open_table(dir.path().join("art.csv"), &"artist".parse().unwrap(), None).unwrap();
    assert_eq!(by_artist.contributors()[1].name, "y");
}

#[test]
fn tables_name_files_below_them() {
    let dir = folder(&[("a.png", 2, 1), ("sub/b.png", 2, 2), ("c.png", 2, 3)]);
    let path =
        table(&dir, "title,file,contributor,year\none,./sub/b.png,Bob,1999\ntwo,a.png,\"Doe, Ann\",2001\n");
    let dataset = open_table(&path).unwrap();
    assert_eq!(dataset.contributors()[0].name, "Bob");
    assert_eq!(dataset.field(1, "year"), Some("2001"));
    assert_eq!((dataset.image(0).unwrap()[0], dataset.image(1).unwrap()[0]), (2, 1));
    assert_eq!(Dataset::open(&path, &OpenOptions::default()).unwrap().len(), 2);
    let by_year = Dataset::open_table(&path, &"contributor,year".parse().unwrap(), Some(1)).unwrap();
    assert_eq!(by_year.contributors()[1].name, "Doe, Ann / 2001");
    let hash = dataset.content_hash().unwrap();
    write(&dir.path().join("c.png"), (2, 2), 99);
    assert_eq!(
        open_table(&path).unwrap().content_hash().unwrap(),
        hash,
        "files outside of the table do not count"
    );
}

#[test]
fn faulty_tables_name_file_line_and_remedy() {
    let dir = folder(&[("a.png", 2, 1), ("b.png", 2, 2), ("other.png", 3, 3)]);
    fs::create_dir(dir.path().join("inner")).unwrap();
    for (text, expected) in [
        ("file,contributor\na.png,Ann\n\nmissing.png,Bob\n", "art.csv line 4: there is no file "),
        ("file,contributor\na.png,Ann\ninner,Bob\n", "art.csv line 3: there is no file "),
        (
            "file,contributor\na.png,Ann\nb.png,Bob\n./a.png,Bob\n",
            "art.csv line 4: file a.png is already in line 2",
        ),
        (
            "file,contributor\na.png,Ann\n../b.png,Bob\n",
            "art.csv line 3: \"../b.png\" leads out of the table's folder",
        ),
        (
            "file,contributor\na.png,Ann\ninner/../b.png,Bob\n",
            "art.csv line 3: \"inner/../b.png\" leads out of",
        ),
        ("file,contributor\na.png,Ann\n/etc/passwd,Bob\n", "art.csv line 3: \"/etc/passwd\" leads out of"),
        ("file,contributor\na.png,Ann\n,Bob\n", "art.csv line 3: \"\" leads out of"),
        (
            "file,contributor\na.png,Ann\nb.png\n",
            "art.csv line 3: the row has 1 fields, but the table has 2 columns",
        ),
        ("file,contributor\na.png,Ann\nother.png,Bob\n", "other.png is 3 x 3: set a resolution"),
        ("file,contributor\na.png,Ann\nart.csv,Bob\n", "art.csv is neither PNG nor JPEG"),
        ("path,contributor\na.png,Ann\n", "art.csv has no column `file`: it has path, contributor"),
    ] {
        let message = open_table(&table(&dir, text)).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}
