//! Apache Parquet, as much of it as a table of flat columns needs.
//!
//! One row group; for each column one data page (version 1) of optional values: definition levels in the run-length form with
//! one bit, then the values that are there in the PLAIN encoding, uncompressed. The footer is `FileMetaData` in Thrift's
//! compact protocol (<https://github.com/apache/parquet-format>). Written here because the `parquet` crate changes features of
//! crates that burn stands on, for what are 150 lines.

use super::{Cell, Table};

const MAGIC: &[u8] = b"PAR1";

/// Physical types by their numbers in the format.
#[derive(Clone, Copy, PartialEq)]
enum Type {
    Boolean = 0,
    Int64 = 2,
    Double = 5,
    ByteArray = 6,
}

/// A column in the file.
struct Chunk {
    name: String,
    kind: Type,
    offset: usize,
    size: usize,
}

/// The file's bytes; `None` if a page would be too large for the format's 32-bit sizes.
pub(super) fn bytes(table: &Table) -> Option<Vec<u8>> {
    let mut file = MAGIC.to_vec();
    let mut chunks = Vec::new();
    for (place, name) in table.names().iter().enumerate() {
        let cells: Vec<Option<&Cell>> = table.rows().iter().map(|row| row[place].as_ref()).collect();
        let kind = type_of(&cells);
        let offset = file.len();
        if !cells.is_empty() {
            let data = page(&cells, kind)?;
            file.extend(page_header(i32::try_from(data.len()).ok()?, i32::try_from(cells.len()).ok()?));
            file.extend(data);
        }
        chunks.push(Chunk { name: name.clone(), kind, offset, size: file.len() - offset });
    }
    let footer = footer(table.len(), &chunks);
    file.extend(&footer);
    file.extend(u32::try_from(footer.len()).ok()?.to_le_bytes());
    file.extend(MAGIC);
    Some(file)
}

/// The type that holds all of a column's values.
fn type_of(cells: &[Option<&Cell>]) -> Type {
    let all = |holds: fn(&Cell) -> bool| cells.iter().flatten().all(|cell| holds(cell));
    if cells.iter().flatten().next().is_none() {
        Type::ByteArray
    } else if all(|cell| matches!(cell, Cell::Boolean(_))) {
        Type::Boolean
    } else if all(|cell| matches!(cell, Cell::Integer(_))) {
        Type::Int64
    } else if all(|cell| matches!(cell, Cell::Integer(_) | Cell::Number(_))) {
        Type::Double
    } else {
        Type::ByteArray
    }
}

/// Definition levels and values.
fn page(cells: &[Option<&Cell>], kind: Type) -> Option<Vec<u8>> {
    let mut levels = Vec::new();
    for run in cells.chunk_by(|one, two| one.is_some() == two.is_some()) {
        varint(&mut levels, (run.len() as u64) << 1);
        levels.push(u8::from(run[0].is_some()));
    }
    let mut data = u32::try_from(levels.len()).ok()?.to_le_bytes().to_vec();
    data.extend(levels);
    let mut bits = Vec::new();
    for cell in cells.iter().flatten() {
        match (kind, cell) {
            (Type::Boolean, cell) => bits.push(matches!(cell, Cell::Boolean(true))),
            (Type::Int64, Cell::Integer(number)) => data.extend(number.to_le_bytes()),
            (Type::Double, Cell::Number(number)) => data.extend(number.to_le_bytes()),
            (Type::Double, Cell::Integer(number)) => data.extend((*number as f64).to_le_bytes()),
            (_, cell) => {
                let text = cell.to_text();
                data.extend(u32::try_from(text.len()).ok()?.to_le_bytes());
                data.extend(text.as_bytes());
            }
        }
    }
    for eight in bits.chunks(8) {
        data.push(eight.iter().enumerate().map(|(place, &bit)| u8::from(bit) << place).sum());
    }
    Some(data)
}

fn page_header(size: i32, values: i32) -> Vec<u8> {
    const DATA_PAGE: i32 = 0;
    const PLAIN: i32 = 0;
    const RLE: i32 = 3;
    let mut header = Struct::default();
    header.i32(1, DATA_PAGE);
    header.i32(2, size);
    header.i32(3, size);
    let mut data = Struct::default();
    data.i32(1, values);
    data.i32(2, PLAIN);
    data.i32(3, RLE);
    data.i32(4, RLE);
    header.inner(5, data);
    header.end()
}

fn footer(rows: usize, chunks: &[Chunk]) -> Vec<u8> {
    const OPTIONAL: i32 = 1;
    const UTF8: i32 = 0;
    let mut root = Struct::default();
    root.text(4, "table");
    root.i32(5, chunks.len() as i32);
    let mut schema = vec![root];
    for chunk in chunks {
        let mut element = Struct::default();
        element.i32(1, chunk.kind as i32);
        element.i32(3, OPTIONAL);
        element.text(4, &chunk.name);
        if chunk.kind == Type::ByteArray {
            element.i32(6, UTF8);
            let mut logical = Struct::default();
            logical.inner(1, Struct::default());
            element.inner(10, logical);
        }
        schema.push(element);
    }

    let columns = chunks.iter().map(|chunk| {
        let mut meta = Struct::default();
        meta.i32(1, chunk.kind as i32);
        // PLAIN and RLE.
        meta.list_of_i32(2, &[0, 3]);
        meta.list_of_text(3, &chunk.name);
        meta.i32(4, 0);
        meta.i64(5, rows as i64);
        meta.i64(6, chunk.size as i64);
        meta.i64(7, chunk.size as i64);
        meta.i64(9, chunk.offset as i64);
        let mut column = Struct::default();
        column.i64(2, chunk.offset as i64);
        column.inner(3, meta);
        column
    });
    let mut group = Struct::default();
    group.list_of_structs(1, columns.collect());
    group.i64(2, chunks.iter().map(|chunk| chunk.size as i64).sum());
    group.i64(3, rows as i64);

    let mut meta = Struct::default();
    meta.i32(1, 1);
    meta.list_of_structs(2, schema);
    meta.i64(3, rows as i64);
    meta.list_of_structs(4, if rows > 0 { vec![group] } else { Vec::new() });
    meta.text(6, concat!("tribute ", env!("CARGO_PKG_VERSION")));
    meta.end()
}

/// A Thrift struct in the compact protocol; fields must be given in growing order.
#[derive(Default)]
struct Struct {
    bytes: Vec<u8>,
    last: u8,
}

const I32: u8 = 5;
const I64: u8 = 6;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

impl Struct {
    fn field(&mut self, id: u8, kind: u8) {
        // All of the format's ids are within 15 of the one before.
        self.bytes.push((id - self.last) << 4 | kind);
        self.last = id;
    }

    fn i32(&mut self, id: u8, value: i32) {
        self.field(id, I32);
        zigzag(&mut self.bytes, value.into());
    }

    fn i64(&mut self, id: u8, value: i64) {
        self.field(id, I64);
        zigzag(&mut self.bytes, value);
    }

    fn text(&mut self, id: u8, text: &str) {
        self.field(id, BINARY);
        binary(&mut self.bytes, text);
    }

    fn inner(&mut self, id: u8, inner: Struct) {
        self.field(id, STRUCT);
        self.bytes.extend(inner.end());
    }

    fn list(&mut self, id: u8, kind: u8, count: usize) {
        self.field(id, LIST);
        if count < 15 {
            self.bytes.push((count as u8) << 4 | kind);
        } else {
            self.bytes.push(0xf0 | kind);
            varint(&mut self.bytes, count as u64);
        }
    }

    fn list_of_i32(&mut self, id: u8, values: &[i32]) {
        self.list(id, I32, values.len());
        values.iter().for_each(|&value| zigzag(&mut self.bytes, value.into()));
    }

    /// A list of one text.
    fn list_of_text(&mut self, id: u8, text: &str) {
        self.list(id, BINARY, 1);
        binary(&mut self.bytes, text);
    }

    fn list_of_structs(&mut self, id: u8, items: Vec<Struct>) {
        self.list(id, STRUCT, items.len());
        items.into_iter().for_each(|item| self.bytes.extend(item.end()));
    }

    fn end(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }
}

fn binary(bytes: &mut Vec<u8>, text: &str) {
    varint(bytes, text.len() as u64);
    bytes.extend(text.as_bytes());
}

fn zigzag(bytes: &mut Vec<u8>, value: i64) {
    varint(bytes, (value << 1 ^ value >> 63) as u64);
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_compact_protocol() {
        let coded = |value| {
            let mut bytes = Vec::new();
            zigzag(&mut bytes, value);
            bytes
        };
        // From the protocol's description: 0, -1, 1, -2 are 0, 1, 2, 3; 150 is 0xAC 0x02 after doubling.
        assert_eq!([0, -1, 1, -2].map(coded), [[0], [1], [2], [3]]);
        assert_eq!(coded(150), [0xac, 0x02]);
        assert_eq!(coded(i64::MIN).len(), 10);
    }

    /// The bytes that Apache Arrow reads as this table: `tests/fixtures/parquet/check_parquet.py` reads the same file.
    #[test]
    fn the_file_is_the_one_that_arrow_reads() {
        let written = bytes(&super::super::tests::sample()).unwrap();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/parquet/sample.parquet");
        if std::env::var_os("TRIBUTE_UPDATE_FIXTURES").is_some() {
            std::fs::write(path, &written).unwrap();
        }
        assert!(written == std::fs::read(path).unwrap(), "the bytes differ from {path}");
        // No rows: no row group, all columns are still there.
        let empty = bytes(&Table::new(vec!["a".into()])).unwrap();
        assert!(empty.starts_with(MAGIC) && empty.ends_with(MAGIC));
    }
}
