//! Parquet files with encoded images, as Hugging Face's data sets are published: a column of structs `{bytes, path}` (or of
//! bytes), and columns of labels and texts beside it. <https://parquet.apache.org/docs/file-format/>
//!
//! Read are flat columns, plain, by dictionary or by differences, packed by nothing, Snappy, gzip, Zstandard or LZ4. No header
//! makes the reader ask for more memory than the file's size accounts for.
//!
//! This is no binding of a reader of columns, since none says where in the file a value lies: images stay there, as those of
//! folders do, and are read when they are used.

mod delta;
mod levels;
mod metadata;
mod pages;
mod thrift;
mod varint;

use crate::DataError;
use crate::encoded::{Archive, Encoded, Piece};
use crate::source::Source;
use crate::table::{Row, Table};
use metadata::{Kind, Leaf, Metadata};
use pages::{Body, Chunk, Page, Pages, Values, byte_arrays};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Columns that are the contributor where there is no column of this name.
const LABELS: [&str; 3] = ["label", "labels", "fine_label"];

/// Opens the images of Parquet files. Columns: all flat ones that hold text, numbers or truth values, class labels by name;
/// and `contributor`, which is `label` where there is none.
pub(super) fn open(
    path: &Path,
    files: &[PathBuf],
    resolution: Option<u32>,
) -> Result<(Table, Source), DataError> {
    let mut all = Images::default();
    let mut columns: Option<Vec<String>> = None;
    let mut rows = Vec::new();
    for file in files {
        let malformed = |message: String| DataError::Malformed { path: file.clone(), message };
        let opened = File::open(file).map_err(DataError::read(file))?;
        let metadata = Metadata::read(&opened).map_err(malformed)?;
        let wanted: Vec<&Leaf> = metadata.plain_columns();
        let names: Vec<String> = wanted.iter().map(|leaf| leaf.name().to_owned()).collect();
        match &columns {
            None => columns = Some(names),
            Some(first) if *first != names => {
                return Err(malformed(format!(
                    "its columns are {names:?}, but those of the first file are {first:?}"
                )));
            }
            Some(_) => {}
        }
        let before = rows.len();
        all.read(file, &opened, &metadata).map_err(malformed)?;
        rows.extend(
            (0..all.pieces.len() - before)
                .map(|_| Row { line: 0, fields: Vec::with_capacity(wanted.len() + 1) }),
        );
        for leaf in wanted {
            let texts = texts_of(&opened, &metadata, leaf)
                .map_err(|error| malformed(format!("column `{}`: {error}", leaf.name())))?;
            for (row, text) in rows[before..].iter_mut().zip(texts) {
                row.fields.push(text);
            }
        }
    }
    let mut columns = columns.unwrap_or_default();
    if rows.is_empty() {
        let remedy = "its files have no rows".to_owned();
        return Err(DataError::NoImages { path: path.to_owned(), remedy });
    }
    let named = columns.iter().any(|column| column == "contributor");
    let label = LABELS.iter().find_map(|label| columns.iter().position(|column| column == label));
    if let (false, Some(label)) = (named, label) {
        columns.push("contributor".to_owned());
        for row in &mut rows {
            row.fields.push(row.fields[label].clone());
        }
    }
    let Images { archives, pieces, names } = all;
    let source = Source::encoded(Encoded::Pieces { archives, pieces, names }, resolution)?;
    Ok((Table::new(path.to_owned(), columns, rows), source))
}

/// The images of the files read so far.
#[derive(Default)]
struct Images {
    archives: Vec<Archive>,
    pieces: Vec<Piece>,
    names: Vec<String>,
}

/// Where the values of a page are found later.
struct Place {
    archive: u32,
    /// Where the page's values begin.
    offset: u64,
}

impl Images {
    fn read(&mut self, path: &Path, file: &File, metadata: &Metadata) -> Result<(), String> {
        let leaf = metadata.image_column()?;
        let before = self.pieces.len();
        let archive = self.archives.len() as u32;
        self.archives.push(Archive { path: path.to_owned(), unpacked: None });
        let mut unpacked = Unpacked::default();
        for chunk in metadata.chunks(leaf)? {
            let mut dictionary = Vec::new();
            let rows = chunk.rows;
            let mut read = 0;
            let mut pages = Pages::new(file, chunk);
            while let Some(page) = pages.next()? {
                match page {
                    Page::Dictionary(body) => dictionary = pieces_of(&body, archive, &mut unpacked)?,
                    Page::Data(data) => {
                        read += data.present.len();
                        if let Some(missing) = data.present.iter().position(|there| !there) {
                            let row = self.pieces.len() - before + missing;
                            return Err(format!("row {row} has no image: leave such rows out"));
                        }
                        match data.values {
                            Values::Plain(body) => {
                                self.pieces.extend(pieces_of(&body, archive, &mut unpacked)?)
                            }
                            Values::Places(places) => {
                                for place in places {
                                    let piece = dictionary.get(place as usize);
                                    self.pieces.push(*piece.ok_or("a value is not in its dictionary")?);
                                }
                            }
                            Values::Truths(_) => return Err("its images are truth values".to_owned()),
                        }
                    }
                }
            }
            if read != rows {
                return Err(format!("{read} of {rows} images are there"));
            }
        }
        if let Some(content) = unpacked.file {
            self.archives.push(Archive { path: path.to_owned(), unpacked: Some(content) });
        }
        let count = self.pieces.len() - before;
        let paths = match metadata.path_column(leaf) {
            Some(column) => texts_of(file, metadata, column)?,
            None => Vec::new(),
        };
        self.names.extend((0..count).map(|row| match paths.get(row) {
            Some(name) if !name.is_empty() => name.clone(),
            _ => format!("row {row}"),
        }));
        Ok(())
    }
}

/// Unpacked pages, in a file without a name that goes with the program.
#[derive(Default)]
struct Unpacked {
    file: Option<File>,
    length: u64,
}

impl Unpacked {
    fn add(&mut self, bytes: &[u8]) -> Result<u64, String> {
        let offset = self.length;
        let mut write = || {
            let file = match &mut self.file {
                Some(file) => file,
                empty => empty.insert(tempfile::tempfile()?),
            };
            file.write_all(bytes)
        };
        write().map_err(|error| {
            let folder = std::env::temp_dir();
            format!(
                "its unpacked images cannot be written to {}: {error}; make room there or set TMPDIR to another folder",
                folder.display()
            )
        })?;
        self.length += bytes.len() as u64;
        Ok(offset)
    }
}

/// The places of plain byte arrays: in the file itself, or among its unpacked pages.
fn pieces_of(body: &Body, archive: u32, unpacked: &mut Unpacked) -> Result<Vec<Piece>, String> {
    let arrays = byte_arrays(body)?;
    let place = match body.offset {
        Some(offset) => Place { archive, offset },
        None => Place { archive: archive + 1, offset: unpacked.add(&body.bytes)? },
    };
    let piece = |array: std::ops::Range<usize>| Piece {
        archive: place.archive,
        offset: place.offset + array.start as u64,
        length: array.len() as u64,
    };
    Ok(arrays.into_iter().map(piece).collect())
}

/// The values of a column as text; nothing for rows without one.
fn texts_of(file: &File, metadata: &Metadata, leaf: &Leaf) -> Result<Vec<String>, String> {
    let mut texts = Vec::new();
    for chunk in metadata.chunks(leaf)? {
        texts_of_chunk(file, chunk, leaf, &mut texts)?;
    }
    if let Some(classes) = metadata.classes(leaf.name()) {
        for text in texts.iter_mut().filter(|text| !text.is_empty()) {
            // -1 is what data sets write that keep their labels to themselves.
            if let Some(class) = text.parse().ok().and_then(|class: usize| classes.get(class)) {
                text.clone_from(class);
            }
        }
    }
    Ok(texts)
}

fn texts_of_chunk(file: &File, chunk: Chunk, leaf: &Leaf, texts: &mut Vec<String>) -> Result<(), String> {
    let end = texts.len() + chunk.rows;
    let mut dictionary = Vec::new();
    let mut pages = Pages::new(file, chunk);
    while let Some(page) = pages.next()? {
        match page {
            Page::Dictionary(body) => dictionary = plain_texts(&body, leaf.kind)?,
            Page::Data(data) => {
                let mut values: Box<dyn Iterator<Item = Result<String, String>>> = match data.values {
                    Values::Plain(body) => Box::new(plain_texts(&body, leaf.kind)?.into_iter().map(Ok)),
                    Values::Places(places) => Box::new(places.into_iter().map(|place| {
                        dictionary
                            .get(place as usize)
                            .cloned()
                            .ok_or_else(|| "a value is not in its dictionary".to_owned())
                    })),
                    Values::Truths(truths) if leaf.kind == Kind::Bool => {
                        Box::new(truths.into_iter().map(|truth| Ok((truth == 1).to_string())))
                    }
                    Values::Truths(_) => return Err("its values are written as truth values".to_owned()),
                };
                for there in data.present {
                    texts.push(if there {
                        values.next().ok_or("values end too early")??
                    } else {
                        String::new()
                    });
                }
            }
        }
    }
    if texts.len() == end { Ok(()) } else { Err("it has fewer values than rows".to_owned()) }
}

fn plain_texts(body: &Body, kind: Kind) -> Result<Vec<String>, String> {
    fn numbers<const SIZE: usize>(
        body: &Body,
        text: impl Fn([u8; SIZE]) -> String,
    ) -> Result<Vec<String>, String> {
        let bytes = body
            .count
            .checked_mul(SIZE)
            .and_then(|length| body.bytes.get(..length))
            .ok_or("values end too early")?;
        let (numbers, _) = bytes.as_chunks::<SIZE>();
        Ok(numbers.iter().map(|number| text(*number)).collect())
    }
    match kind {
        Kind::Bool => (0..body.count)
            .map(|place| {
                let byte = body.bytes.get(place / 8).ok_or("values end too early")?;
                Ok((byte >> (place % 8) & 1 == 1).to_string())
            })
            .collect(),
        Kind::Int32 => numbers(body, |number| i32::from_le_bytes(number).to_string()),
        Kind::Int64 => numbers(body, |number| i64::from_le_bytes(number).to_string()),
        Kind::Float => numbers(body, |number| f32::from_le_bytes(number).to_string()),
        Kind::Double => numbers(body, |number| f64::from_le_bytes(number).to_string()),
        Kind::Text | Kind::Bytes => byte_arrays(body)?
            .into_iter()
            .map(|range| {
                let text = std::str::from_utf8(&body.bytes[range]).map_err(|_| "a value is not UTF-8")?;
                Ok(text.trim().to_owned())
            })
            .collect(),
    }
}

/// A name that is not taken yet is added; tells whether it was new.
fn is_new(seen: &mut BTreeSet<String>, name: &str) -> bool {
    seen.insert(name.to_owned())
}
