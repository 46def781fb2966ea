//! WebDataset: tar files whose members of one name are a sample, as in `0001.jpg`, `0001.json`, `0001.cls`.
//! <https://github.com/webdataset/webdataset>
//!
//! Members are read where they lie, never unpacked. The name of a sample is the member's path up to the first dot of its
//! last part, and what follows is the kind of the member.

use crate::DataError;
use crate::encoded::{Archive, Encoded, Piece, check_piece};
use crate::folder::{self, Kind};
use crate::source::Source;
use crate::table::{Row, Table};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use tar::EntryType;

/// Longest text member (`.json`, `.cls`, `.txt`) that is read.
const MAX_TEXT: u64 = 1 << 20;
/// Most columns of a table.
const MAX_COLUMNS: usize = 256;

/// What the members of one name say.
#[derive(Debug, Default)]
struct Sample {
    image: Option<(String, Piece)>,
    fields: BTreeMap<String, String>,
}

/// Opens the images of tar files. Columns: `contributor`, `key` (the sample's name), `prefix` (its folder or, without one,
/// what stands before the first `_` or `-`), `cls`, `txt`, and those entries of `.json` members that are text, numbers or
/// truth values. Contributor is the first of these that every sample has: the entry `contributor`, `cls`, `txt`, `prefix`.
pub(super) fn open(
    path: &Path,
    files: &[PathBuf],
    resolution: Option<u32>,
) -> Result<(Table, Source), DataError> {
    let (mut samples, mut archives) = (Vec::new(), Vec::new());
    for file in files {
        read_archive(file, archives.len() as u32, &mut samples)?;
        archives.push(Archive { path: file.clone(), unpacked: None });
    }
    if samples.is_empty() {
        let remedy = "its members need names such as 0001.jpg, 0001.cls".to_owned();
        return Err(DataError::NoImages { path: path.to_owned(), remedy });
    }
    let (mut pieces, mut names, mut fields) = (Vec::new(), Vec::new(), Vec::new());
    for (name, piece, found) in samples {
        pieces.push(piece);
        names.push(name);
        fields.push(found);
    }
    let table = table_of(path, fields)?;
    Ok((table, Source::encoded(Encoded::Pieces { archives, pieces, names }, resolution)?))
}

type Found = (String, Piece, BTreeMap<String, String>);

fn read_archive(path: &Path, archive: u32, found: &mut Vec<Found>) -> Result<(), DataError> {
    let malformed = |message: String| DataError::Malformed { path: path.to_owned(), message };
    let file = File::open(path).map_err(DataError::read(path))?;
    let length = file.metadata().map_err(DataError::read(path))?.len();
    let mut tar = tar::Archive::new(BufReader::new(file));
    let broken = |error: std::io::Error| malformed(format!("it is no whole tar file: {error}"));
    let mut current: Option<(String, Sample)> = None;
    for entry in tar.entries_with_seek().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|_| malformed("the name of a member is not UTF-8".to_owned()))?;
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {}
            EntryType::Directory | EntryType::XGlobalHeader => continue,
            EntryType::Symlink | EntryType::Link => {
                return Err(malformed(format!(
                    "member {name:?} is a link, which is not followed: store the file itself"
                )));
            }
            other => return Err(malformed(format!("member {name:?} is no plain file ({other:?})"))),
        }
        let name = folder::inside(&name).ok_or_else(|| {
            malformed(format!(
                "member {name:?} leads out of the archive: store paths without `..` or a leading `/`"
            ))
        })?;
        check_piece(path, length, entry.raw_file_position(), entry.size())?;
        let piece = Piece { archive, offset: entry.raw_file_position(), length: entry.size() };
        let (key, kind) = split(&name);
        if key.rsplit('/').next().is_some_and(str::is_empty) {
            // Hidden files, such as those that some systems add to archives.
            continue;
        }
        let (key, kind) = (key.to_owned(), kind.to_ascii_lowercase());
        if current.as_ref().is_none_or(|(name, _)| *name != key) {
            keep(path, current.take(), found)?;
            current = Some((key, Sample::default()));
        }
        let Some((key, sample)) = &mut current else { continue };
        let mut text = || -> Result<String, DataError> {
            if piece.length > MAX_TEXT {
                return Err(malformed(format!(
                    "member {name:?} has {} bytes; texts up to {MAX_TEXT} are read",
                    piece.length
                )));
            }
            let mut text = String::new();
            entry
                .by_ref()
                .take(MAX_TEXT)
                .read_to_string(&mut text)
                .map_err(|error| malformed(format!("member {name:?} cannot be read as text: {error}")))?;
            Ok(text)
        };
        match folder::kind(Path::new(&name)) {
            Kind::Readable if sample.image.is_some() => {
                return Err(malformed(format!("sample {key:?} has two images: one a sample is read")));
            }
            Kind::Readable => sample.image = Some((name, piece)),
            Kind::OtherImage => return Err(DataError::UnsupportedFormat { path: path.join(name) }),
            Kind::Other => match kind.as_str() {
                "cls" | "txt" => {
                    sample.fields.insert(kind, text()?.trim().to_owned());
                }
                "json" => {
                    let entries = json_fields(&text()?)
                        .map_err(|message| malformed(format!("member {name:?}: {message}")))?;
                    sample.fields.extend(entries);
                }
                _ => {}
            },
        }
    }
    keep(path, current, found)
}

/// The name of a sample and the kind of a member.
fn split(name: &str) -> (&str, &str) {
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[base..].find('.') {
        Some(dot) => (&name[..base + dot], &name[base + dot + 1..]),
        None => (name, ""),
    }
}

/// Adds a sample; one without an image is a fault unless it has nothing at all.
fn keep(path: &Path, sample: Option<(String, Sample)>, found: &mut Vec<Found>) -> Result<(), DataError> {
    let Some((key, Sample { image, mut fields })) = sample else { return Ok(()) };
    let Some((name, piece)) = image else {
        if fields.is_empty() {
            return Ok(());
        }
        let message = format!(
            "sample {key:?} has no PNG or JPEG beside its other members: members of one sample must follow each other"
        );
        return Err(DataError::Malformed { path: path.to_owned(), message });
    };
    let prefix = match key.rsplit_once('/') {
        Some((folder, _)) => folder,
        None => key.split(['_', '-']).next().filter(|prefix| *prefix != key).unwrap_or(""),
    };
    if !prefix.is_empty() {
        fields.entry("prefix".to_owned()).or_insert_with(|| prefix.to_owned());
    }
    fields.entry("key".to_owned()).or_insert(key);
    found.push((name, piece, fields));
    Ok(())
}

/// The entries of a JSON object that are text, numbers or truth values.
fn json_fields(text: &str) -> Result<Vec<(String, String)>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let Value::Object(entries) = value else { return Err("it is no JSON object".to_owned()) };
    let plain = |(name, value): (String, Value)| match value {
        Value::String(text) => Some((name, text.trim().to_owned())),
        Value::Number(number) => Some((name, number.to_string())),
        Value::Bool(truth) => Some((name, truth.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    Ok(entries.into_iter().filter_map(plain).collect())
}

/// A table with a column for every field that any sample has.
fn table_of(path: &Path, samples: Vec<BTreeMap<String, String>>) -> Result<Table, DataError> {
    let mut columns: BTreeSet<&str> = BTreeSet::new();
    for sample in &samples {
        columns.extend(sample.keys().map(String::as_str));
        if columns.len() > MAX_COLUMNS {
            let message = format!("its JSON members have more than {MAX_COLUMNS} different entries");
            return Err(DataError::Malformed { path: path.to_owned(), message });
        }
    }
    let everywhere = |column: &&str| {
        samples.iter().all(|sample| sample.get(*column).is_some_and(|value| !value.is_empty()))
    };
    let contributor = ["contributor", "cls", "txt", "prefix"].into_iter().find(everywhere);
    let mut columns: Vec<String> =
        columns.into_iter().filter(|&column| column != "contributor").map(str::to_owned).collect();
    if contributor.is_some() {
        columns.insert(0, "contributor".to_owned());
    }
    let row = |sample: &BTreeMap<String, String>| {
        let value = |column: &String| {
            let column = if column == "contributor" { contributor.unwrap_or(column) } else { column };
            sample.get(column).cloned().unwrap_or_default()
        };
        Row { line: 0, fields: columns.iter().map(value).collect() }
    };
    let rows = samples.iter().map(row).collect();
    Ok(Table::new(path.to_owned(), columns, rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dataset, OpenOptions};
    use std::fs;
    use std::io::Cursor;

    fn png(value: u8) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image::RgbImage::from_pixel(2, 2, image::Rgb([value; 3]))
            .write_to(&mut bytes, image::ImageFormat::Png)
            .unwrap();
        bytes.into_inner()
    }

    /// A header as any writer could make it, with no check of the name.
    fn header(name: &str, kind: EntryType, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_cksum();
        header
    }

    fn shard(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in members {
            tar.append(&header(name, EntryType::Regular, bytes.len() as u64), &bytes[..]).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn write(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        dir
    }

    fn message(bytes: Vec<u8>) -> String {
        let dir = write(&[("a.tar", bytes)]);
        Dataset::open(dir.path(), &OpenOptions::default()).unwrap_err().to_string()
    }

    #[test]
    fn classes_and_json_are_columns_over_all_shards() {
        let first = shard(&[
            ("0001.png", png(1)),
            ("0001.cls", b"3\n".to_vec()),
            ("0001.json", br#"{"artist": "Ann", "year": 1999, "tags": []}"#.to_vec()),
            ("0002.json", br#"{"artist": "Bob", "year": 2001}"#.to_vec()),
            ("0002.cls", b"4".to_vec()),
            ("0002.png", png(2)),
        ]);
        let second = shard(&[
            ("0003.png", png(3)),
            ("0003.cls", b"3".to_vec()),
            ("0003.json", br#"{"artist": "Ann"}"#.to_vec()),
        ]);
        let dir =
            write(&[("train-1.tar", second), ("train-0.tar", first), ("test-0.tar", b"not read".to_vec())]);
        let dataset = Dataset::open(dir.path(), &OpenOptions::default()).unwrap();
        assert_eq!(
            dataset.columns(),
            ["contributor", "artist", "cls", "key", "prefix", "year"]
                .map(str::to_owned)
                .into_iter()
                .filter(|c| c != "prefix")
                .collect::<Vec<_>>()
        );
        assert_eq!(
            (dataset.contributors()[0].name.as_str(), &dataset.contributors()[0].images[..]),
            ("3", &[0, 2][..])
        );
        assert_eq!((dataset.image(1).unwrap()[0], dataset.image(2).unwrap()[0]), (2, 3));
        assert_eq!((dataset.field(2, "year"), dataset.field(1, "key")), (Some(""), Some("0002")));
        let options = OpenOptions { key: "artist".parse().unwrap(), ..OpenOptions::default() };
        let artists = Dataset::open(dir.path(), &options).unwrap();
        assert_eq!(artists.contributors()[1].name, "Bob");
        assert_ne!(artists.content_hash().unwrap(), dataset.content_hash().unwrap());
    }

    #[test]
    fn folders_and_prefixes_name_contributors() {
        for (names, expected) in
            [(["ann/1.png", "bob/1.png"], ["ann", "bob"]), (["cat_1.png", "dog-2.png"], ["cat", "dog"])]
        {
            let dir = write(&[("a.tar", shard(&[(names[0], png(1)), (names[1], png(2))]))]);
            let dataset = Dataset::open(dir.path().join("a.tar"), &OpenOptions::default()).unwrap();
            assert_eq!([0, 1].map(|who| dataset.contributors()[who].name.clone()), expected);
        }
    }

    #[test]
    fn escapes_links_and_lies_are_refused() {
        assert!(
            message(shard(&[("../x.png", png(1))])).contains("member \"../x.png\" leads out of the archive")
        );
        assert!(message(shard(&[("/etc/x.png", png(1))])).contains("leads out of the archive"));
        for kind in [EntryType::Symlink, EntryType::Link] {
            let mut header = header("a_1.png", kind, 0);
            header.set_link_name("/etc/passwd").unwrap();
            header.set_cksum();
            let mut tar = tar::Builder::new(Vec::new());
            tar.append(&header, &[][..]).unwrap();
            assert!(message(tar.into_inner().unwrap()).contains("is a link, which is not followed"));
        }
        let mut huge = header("a_1.png", EntryType::Regular, 1 << 60).as_bytes().to_vec();
        huge.extend([0; 1024]);
        let huge = message(huge);
        assert!(huge.contains("announced") || huge.contains("no whole tar file"), "{huge}");
        assert!(message(shard(&[("a.json", b"{\"x\": 1}".to_vec())])).contains("has no PNG or JPEG"));
        assert!(message(shard(&[("a.png", png(1)), ("a.jpg", png(1))])).contains("has two images"));
        assert!(message(shard(&[("a.webp", vec![1])])).contains("a.webp is neither PNG nor JPEG"));
        assert!(message(shard(&[("a.png", png(1)), ("a.json", b"[1]".to_vec())])).contains("no JSON object"));
    }
}
