//! The footer of a Parquet file: its columns and where their values lie.

use super::is_new;
use super::pages::{Chunk, Codec};
use super::thrift::{self, Value};
use crate::encoded::read_at;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

/// Longest footer that is read.
const MAX_FOOTER: u64 = 1 << 26;
/// Least bytes of a file for each of its rows: a PNG alone has more than 60.
const MIN_BYTES_A_ROW: u64 = 16;
/// Most columns of a table.
const MAX_COLUMNS: usize = 256;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int32,
    Int64,
    Float,
    Double,
    Text,
    Bytes,
}

/// A column of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    /// Number among the columns.
    number: usize,
    path: Vec<String>,
    pub kind: Kind,
    max_definition: u32,
}

impl Leaf {
    /// The name of a column that is not part of another.
    pub fn name(&self) -> &str {
        // A path has a part at least.
        &self.path[0]
    }
}

/// The footer.
#[derive(Debug)]
pub(super) struct Metadata {
    leaves: Vec<Leaf>,
    groups: Vec<Group>,
    classes: BTreeMap<String, Vec<String>>,
}

#[derive(Debug)]
struct Group {
    rows: usize,
    /// For each column, offset, length and packing; or why it cannot be read.
    columns: Vec<Result<(u64, u64, i64), String>>,
}

impl Metadata {
    /// Reads the footer of a file.
    pub fn read(file: &File) -> Result<Self, String> {
        let io = |error: std::io::Error| error.to_string();
        let length = file.metadata().map_err(io)?.len();
        let mut end = [0; 8];
        if length < 12 {
            return Err("it is too short for a Parquet file".to_owned());
        }
        read_at(file, length - 8, &mut end).map_err(io)?;
        let [a, b, c, d, magic @ ..] = end;
        if magic != *b"PAR1" {
            let why = if magic == *b"PARE" {
                "it is encrypted"
            } else {
                "it does not end as a Parquet file: it is none, or cut short"
            };
            return Err(why.to_owned());
        }
        let footer = u64::from(u32::from_le_bytes([a, b, c, d]));
        if footer > MAX_FOOTER || footer > length - 12 {
            return Err(format!("its footer announces {footer} bytes in a file of {length}"));
        }
        let mut bytes = vec![0; footer as usize];
        read_at(file, length - 8 - footer, &mut bytes).map_err(io)?;
        let (value, _) = thrift::read_struct(&bytes)?;
        Self::parse(&value, &bytes, length)
    }

    fn parse(value: &Value, bytes: &[u8], length: u64) -> Result<Self, String> {
        let leaves = leaves(value.list(2).ok_or("its footer has no schema")?, bytes)?;
        let mut groups = Vec::new();
        let mut rows_left = length / MIN_BYTES_A_ROW;
        for group in value.list(4).unwrap_or(&[]) {
            let rows = group
                .int(3)
                .and_then(|rows| u64::try_from(rows).ok())
                .ok_or("a group of rows has no number of them")?;
            rows_left = rows_left
                .checked_sub(rows)
                .ok_or_else(|| format!("it announces more rows than {length} bytes can hold"))?;
            let columns = group.list(1).ok_or("a group of rows has no columns")?;
            let columns = columns.iter().map(|column| place(column, length)).collect();
            groups.push(Group { rows: rows as usize, columns });
        }
        let mut classes = BTreeMap::new();
        for pair in value.list(5).unwrap_or(&[]) {
            if pair.text(1, bytes) == Some("huggingface") {
                classes = class_names(pair.text(2, bytes).unwrap_or(""));
            }
        }
        Ok(Self { leaves, groups, classes })
    }

    /// The column of images: `image`, `img` or else the first one, of structs with `bytes` or, without any, of bytes.
    pub fn image_column(&self) -> Result<&Leaf, String> {
        let structs = |leaf: &&Leaf| {
            leaf.path.len() == 2 && leaf.path[1] == "bytes" && matches!(leaf.kind, Kind::Bytes | Kind::Text)
        };
        let plain = |leaf: &&Leaf| leaf.path.len() == 1 && leaf.kind == Kind::Bytes;
        let mut found: Vec<&Leaf> = self.leaves.iter().filter(structs).collect();
        if found.is_empty() {
            found = self.leaves.iter().filter(plain).collect();
        }
        let named = ["image", "img"].iter().find_map(|name| found.iter().find(|leaf| leaf.path[0] == **name));
        named.or(found.first()).copied().ok_or_else(|| {
            let paths: Vec<String> = self.leaves.iter().map(|leaf| leaf.path.join(".")).collect();
            format!(
                "it has no column of images (structs with `bytes`, or bytes): its columns are {}",
                paths.join(", ")
            )
        })
    }

    /// The column of paths beside a column of images.
    pub fn path_column(&self, image: &Leaf) -> Option<&Leaf> {
        self.leaves.iter().find(|leaf| {
            leaf.path.len() == 2
                && image.path.len() == 2
                && leaf.path[0] == image.path[0]
                && leaf.path[1] == "path"
                && leaf.kind == Kind::Text
        })
    }

    /// The columns that a table can have.
    pub fn plain_columns(&self) -> Vec<&Leaf> {
        let plain = |leaf: &&Leaf| leaf.path.len() == 1 && leaf.kind != Kind::Bytes;
        self.leaves.iter().filter(plain).take(MAX_COLUMNS).collect()
    }

    /// Where the values of a column lie, for each group of rows.
    pub fn chunks(&self, leaf: &Leaf) -> Result<Vec<Chunk>, String> {
        let chunk = |group: &Group| {
            let (offset, length, codec) =
                group.columns.get(leaf.number).ok_or("a group of rows lacks a column")?.clone()?;
            Ok(Chunk {
                offset,
                length,
                codec: Codec::of(codec)?,
                kind: leaf.kind,
                max_definition: leaf.max_definition,
                rows: group.rows,
            })
        };
        self.groups.iter().filter(|group| group.rows > 0).map(chunk).collect()
    }

    /// The names of a column's classes.
    pub fn classes(&self, column: &str) -> Option<&[String]> {
        self.classes.get(column).map(Vec::as_slice)
    }
}

/// The columns of a schema that is written depth first, without those that hold lists.
fn leaves(schema: &[Value], bytes: &[u8]) -> Result<Vec<Leaf>, String> {
    /// A struct whose members are being read.
    struct Open {
        name: String,
        left: i64,
        optional: bool,
        repeated: bool,
    }
    let mut leaves = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut number = 0;
    let mut seen = BTreeSet::new();
    let (root, members) = schema.split_first().ok_or("its schema is empty")?;
    open.push(Open { name: String::new(), left: root.int(5).unwrap_or(0), optional: false, repeated: false });
    for element in members {
        while open.last().is_some_and(|parent| parent.left <= 0) {
            open.pop();
        }
        let parent = open.last_mut().ok_or("its schema has too many columns")?;
        parent.left -= 1;
        let name = element.text(4, bytes).ok_or("a column has no name")?.to_owned();
        let (optional, repeated) = (element.int(3) == Some(1), element.int(3) == Some(2));
        if let Some(children) = element.int(5).filter(|&children| children > 0) {
            if open.len() > 16 {
                return Err("its schema is nested too deeply".to_owned());
            }
            open.push(Open { name, left: children, optional, repeated });
            continue;
        }
        let flat = !repeated && open.iter().all(|parent| !parent.repeated);
        // Text: UTF8 among the old names of types, STRING, ENUM or JSON among the new.
        let is_text = matches!(element.int(6), Some(0 | 4 | 19)) || element.field(10).is_some();
        let kind = match element.int(1) {
            Some(0) => Some(Kind::Bool),
            Some(1) => Some(Kind::Int32),
            Some(2) => Some(Kind::Int64),
            Some(4) => Some(Kind::Float),
            Some(5) => Some(Kind::Double),
            Some(6) if is_text => Some(Kind::Text),
            Some(6) => Some(Kind::Bytes),
            _ => None,
        };
        let mut path: Vec<String> = open[1..].iter().map(|parent| parent.name.clone()).collect();
        path.push(name);
        if let (true, Some(kind)) = (flat, kind) {
            if !is_new(&mut seen, &path.join(".")) {
                return Err(format!("two columns are called {}", path.join(".")));
            }
            let optional =
                u32::from(optional) + open.iter().map(|parent| u32::from(parent.optional)).sum::<u32>();
            leaves.push(Leaf { number, path, kind, max_definition: optional });
        }
        number += 1;
    }
    Ok(leaves)
}

/// Offset, length and packing of a column's values.
fn place(column: &Value, file_length: u64) -> Result<(u64, u64, i64), String> {
    if column.field(1).is_some() {
        return Err("its values are in another file, which is not followed".to_owned());
    }
    let data = column.field(3).ok_or("a column does not say where it is")?;
    let number = |field| data.int(field).and_then(|number| u64::try_from(number).ok());
    let pages = number(9).ok_or("a column does not say where its pages are")?;
    let offset =
        number(11).filter(|&dictionary| dictionary > 0).map_or(pages, |dictionary| dictionary.min(pages));
    let length = number(7).ok_or("a column does not say how long it is")?;
    if offset.checked_add(length).is_none_or(|end| end > file_length) {
        return Err(format!("a column of {length} bytes is announced at byte {offset} of {file_length}"));
    }
    Ok((offset, length, data.int(4).unwrap_or(0)))
}

/// The names of classes that Hugging Face's `datasets` writes beside the schema.
fn class_names(json: &str) -> BTreeMap<String, Vec<String>> {
    let features: Option<serde_json::Value> = serde_json::from_str(json)
        .ok()
        .and_then(|value: serde_json::Value| value.get("info")?.get("features").cloned());
    let mut classes = BTreeMap::new();
    for (column, feature) in features.as_ref().and_then(|features| features.as_object()).into_iter().flatten()
    {
        let names: Option<Vec<String>> = feature["names"]
            .as_array()
            .map(|names| names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect());
        if let (Some("ClassLabel"), Some(names)) = (feature["_type"].as_str(), names) {
            classes.insert(column.clone(), names);
        }
    }
    classes
}
