//! The pages of a Parquet column.

use super::levels::read_hybrid;
use super::metadata::Kind;
use super::{delta, thrift};
use crate::encoded::read_at;
use flate2::read::GzDecoder;
use ruzstd::decoding::StreamingDecoder;
use std::fs::File;
use std::io::Read;
use std::ops::Range;

/// Largest page, packed or not.
const MAX_PAGE: u64 = 1 << 30;
/// Largest page, unpacked, of fewer bytes than [`MAX_GROWTH`] allows.
const SMALL_PAGE: u64 = 1 << 26;
/// Times that a page may grow when it is unpacked, beyond [`SMALL_PAGE`].
const MAX_GROWTH: u64 = 1024;
/// Bytes read at first to find the end of a page's header.
const HEADER_WINDOW: u64 = 1 << 12;
/// Longest header of a page; statistics can hold whole values.
const MAX_HEADER: u64 = 1 << 24;

/// How a column's pages are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    None,
    Snappy,
    Gzip,
    Zstd,
    /// Blocks of LZ4 alone; the older LZ4 with frames of Hadoop's is another.
    Lz4,
}

impl Codec {
    pub fn of(number: i64) -> Result<Self, String> {
        match number {
            0 => Ok(Self::None),
            1 => Ok(Self::Snappy),
            2 => Ok(Self::Gzip),
            6 => Ok(Self::Zstd),
            7 => Ok(Self::Lz4),
            other => {
                let names = ["", "", "", "LZO", "BROTLI", "LZ4 of Hadoop"];
                let name =
                    usize::try_from(other).ok().and_then(|other| names.get(other)).unwrap_or(&"unknown");
                Err(format!(
                    "it is packed by {name}; no packing, SNAPPY, GZIP, ZSTD and LZ4_RAW are read: write it again with one of them"
                ))
            }
        }
    }

    fn unpack(self, bytes: Vec<u8>, size: u64) -> Result<Vec<u8>, String> {
        if self != Self::None && size > SMALL_PAGE.max(MAX_GROWTH * bytes.len() as u64) {
            return Err(format!("a page of {} bytes announces {size}", bytes.len()));
        }
        let read = |reader: &mut dyn Read| {
            let mut unpacked = Vec::new();
            reader.take(size + 1).read_to_end(&mut unpacked).map_err(|error| error.to_string())?;
            Ok::<_, String>(unpacked)
        };
        let unpacked = match self {
            Self::None => bytes,
            // Of no values, there can be no bytes at all.
            _ if bytes.is_empty() => bytes,
            Self::Snappy => {
                let announced = snap::raw::decompress_len(&bytes).map_err(|error| error.to_string())? as u64;
                // No three bytes become more than 64.
                if announced != size || announced > 64 * bytes.len() as u64 {
                    return Err(format!("a page of {} bytes announces {announced}", bytes.len()));
                }
                snap::raw::Decoder::new().decompress_vec(&bytes).map_err(|error| error.to_string())?
            }
            Self::Gzip => read(&mut GzDecoder::new(&bytes[..]))?,
            Self::Zstd => {
                let frame = StreamingDecoder::new(&bytes[..]).map_err(|error| error.to_string())?;
                read(&mut { frame })?
            }
            Self::Lz4 => {
                lz4_flex::block::decompress(&bytes, size as usize).map_err(|error| error.to_string())?
            }
        };
        if unpacked.len() as u64 != size {
            return Err(format!("a page has {} bytes where {size} are announced", unpacked.len()));
        }
        Ok(unpacked)
    }
}

/// Where a column's chunk lies and how it is written.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    /// First byte and length in the file.
    pub offset: u64,
    pub length: u64,
    pub codec: Codec,
    pub kind: Kind,
    /// Level of a value that is there: the number of optional steps to it.
    pub max_definition: u32,
    /// Rows of the chunk.
    pub rows: usize,
}

/// The content of a page that was read.
pub(super) enum Page {
    /// The values that a dictionary numbers.
    Dictionary(Body),
    /// Values of rows.
    Data(Data),
}

/// Plain values.
pub(super) struct Body {
    /// Number of values.
    pub count: usize,
    pub bytes: Vec<u8>,
    /// Where the bytes stand in the file, if they stand there as they are.
    pub offset: Option<u64>,
}

/// Values of some rows.
pub(super) struct Data {
    /// For each row, whether it has a value.
    pub present: Vec<bool>,
    pub values: Values,
}

/// How values are written.
pub(super) enum Values {
    Plain(Body),
    /// Numbers of the dictionary's values.
    Places(Vec<u32>),
    /// Truth values, as 0 and 1.
    Truths(Vec<u32>),
}

/// The pages of a chunk, one after the other.
pub(super) struct Pages<'a> {
    file: &'a File,
    chunk: Chunk,
    at: u64,
    rows_left: usize,
}

impl<'a> Pages<'a> {
    pub fn new(file: &'a File, chunk: Chunk) -> Self {
        let (at, rows_left) = (chunk.offset, chunk.rows);
        Self { file, chunk, at, rows_left }
    }

    /// The next page, until all rows were read.
    pub fn next(&mut self) -> Result<Option<Page>, String> {
        while self.rows_left > 0 {
            let (header, header_length) = self.header()?;
            let size = |number| {
                let size = header.int(number).and_then(|size| u64::try_from(size).ok());
                size.filter(|&size| size <= MAX_PAGE)
                    .ok_or_else(|| format!("the size of a page is missing or beyond {MAX_PAGE}"))
            };
            let (unpacked, packed) = (size(2)?, size(3)?);
            let start = self.at + header_length;
            let end = self.chunk.offset + self.chunk.length;
            if start.checked_add(packed).is_none_or(|page_end| page_end > end) {
                return Err(format!("a page of {packed} bytes reaches past the end of its column"));
            }
            self.at = start + packed;
            let mut bytes = vec![0; packed as usize];
            read_at(self.file, start, &mut bytes).map_err(|error| error.to_string())?;
            match header.int(1) {
                Some(0) => {
                    return self
                        .first_version(&header, start, bytes, unpacked)
                        .map(|data| Some(Page::Data(data)));
                }
                Some(3) => {
                    return self
                        .second_version(&header, start, bytes, unpacked)
                        .map(|data| Some(Page::Data(data)));
                }
                Some(2) => {
                    let header = header.field(7).ok_or("a dictionary has no header")?;
                    expect_plain(header.int(2))?;
                    let count = count_of(header.int(1), usize::MAX)?;
                    let offset = (self.chunk.codec == Codec::None).then_some(start);
                    let bytes = self.chunk.codec.unpack(bytes, unpacked)?;
                    return Ok(Some(Page::Dictionary(Body { count, bytes, offset })));
                }
                // Pages of indices are of no use here.
                Some(1) => {}
                other => return Err(format!("a page is of the unknown type {other:?}")),
            }
        }
        Ok(None)
    }

    /// The header of the page at the current place, and its length.
    fn header(&self) -> Result<(thrift::Value, u64), String> {
        let left = (self.chunk.offset + self.chunk.length).saturating_sub(self.at);
        let mut window = HEADER_WINDOW;
        loop {
            let mut bytes = vec![0; window.min(left) as usize];
            read_at(self.file, self.at, &mut bytes).map_err(|error| error.to_string())?;
            match thrift::read_struct(&bytes) {
                Ok((header, length)) => return Ok((header, length as u64)),
                Err(_) if window < left && window < MAX_HEADER => window *= 16,
                Err(error) => return Err(error),
            }
        }
    }

    /// Levels and values packed together.
    fn first_version(
        &mut self,
        header: &thrift::Value,
        start: u64,
        bytes: Vec<u8>,
        unpacked: u64,
    ) -> Result<Data, String> {
        let header = header.field(5).ok_or("a page has no header of its values")?;
        let count = count_of(header.int(1), self.rows_left)?;
        let offset = (self.chunk.codec == Codec::None).then_some(start);
        let bytes = self.chunk.codec.unpack(bytes, unpacked)?;
        let mut values = 0;
        let present = if self.chunk.max_definition == 0 {
            vec![true; count]
        } else {
            if header.int(3) != Some(3) {
                return Err("its levels are in an encoding of old that is not read".to_owned());
            }
            let length = bytes.first_chunk::<4>().map(|length| u32::from_le_bytes(*length) as usize);
            let length = length.ok_or("a page ends before its levels")?;
            values = 4 + length;
            let levels = bytes.get(4..values).ok_or("a page ends before its levels do")?;
            self.present(levels, count)?
        };
        self.data(header.int(2), present, bytes, values, offset)
    }

    /// Levels in the open, before packed values.
    fn second_version(
        &mut self,
        header: &thrift::Value,
        start: u64,
        bytes: Vec<u8>,
        unpacked: u64,
    ) -> Result<Data, String> {
        let header = header.field(8).ok_or("a page has no header of its values")?;
        let count = count_of(header.int(1), self.rows_left)?;
        let length = |number| header.int(number).and_then(|length| usize::try_from(length).ok());
        let (definition, repetition) = (length(5).unwrap_or(0), length(6).unwrap_or(0));
        let levels_end =
            definition.checked_add(repetition).filter(|&end| end <= bytes.len() && end as u64 <= unpacked);
        let levels_end = levels_end.ok_or("a page ends before its levels do")?;
        let present = if self.chunk.max_definition == 0 {
            vec![true; count]
        } else {
            self.present(&bytes[repetition..levels_end], count)?
        };
        let packed = header.field(7) != Some(&thrift::Value::Bool(false));
        let codec = if packed { self.chunk.codec } else { Codec::None };
        let offset = (codec == Codec::None).then_some(start + levels_end as u64);
        let values = codec.unpack(bytes[levels_end..].to_vec(), unpacked - levels_end as u64)?;
        self.data(header.int(4), present, values, 0, offset)
    }

    fn present(&self, levels: &[u8], count: usize) -> Result<Vec<bool>, String> {
        let top = self.chunk.max_definition;
        let levels = read_hybrid(levels, u32::BITS - top.leading_zeros(), count)?;
        Ok(levels.into_iter().map(|level| level == top).collect())
    }

    /// The values from byte `start` of an unpacked page.
    fn data(
        &mut self,
        encoding: Option<i64>,
        present: Vec<bool>,
        mut bytes: Vec<u8>,
        start: usize,
        offset: Option<u64>,
    ) -> Result<Data, String> {
        self.rows_left -= present.len();
        let count = present.iter().filter(|&&there| there).count();
        bytes.drain(..start);
        let values = match encoding {
            Some(2 | 8) if count == 0 => Values::Places(Vec::new()),
            Some(2 | 8) => {
                let (&width, places) = bytes.split_first().ok_or("a page has no places")?;
                Values::Places(read_hybrid(places, width.into(), count)?)
            }
            Some(3) => {
                let length = bytes.first_chunk::<4>().map(|length| u32::from_le_bytes(*length) as usize);
                let runs =
                    length.and_then(|length| bytes[4..].get(..length)).ok_or("values end too early")?;
                Values::Truths(read_hybrid(runs, 1, count)?)
            }
            Some(5..=7 | 9) => {
                let kind = self.chunk.kind;
                let bytes = match encoding {
                    Some(5) => delta::numbers(&bytes, kind, count)?,
                    Some(6) => delta::byte_arrays(&bytes, count)?,
                    Some(7) => delta::shared_byte_arrays(&bytes, count)?,
                    _ => delta::split_streams(&bytes, kind, count)?,
                };
                Values::Plain(Body { count, bytes, offset: None })
            }
            plain => {
                expect_plain(plain)?;
                Values::Plain(Body { count, bytes, offset: offset.map(|offset| offset + start as u64) })
            }
        };
        Ok(Data { present, values })
    }
}

fn count_of(count: Option<i64>, limit: usize) -> Result<usize, String> {
    count
        .and_then(|count| usize::try_from(count).ok())
        .filter(|&count| count <= limit && count > 0 || limit == usize::MAX && count == 0)
        .ok_or_else(|| format!("a page has {count:?} values, which cannot be"))
}

fn expect_plain(encoding: Option<i64>) -> Result<(), String> {
    match encoding {
        Some(0) | Some(2) => Ok(()),
        Some(other) => {
            let names = ["", "", "", "RLE", "BIT_PACKED"];
            let name = usize::try_from(other).ok().and_then(|other| names.get(other)).unwrap_or(&"unknown");
            Err(format!(
                "its values are in the encoding {name}; PLAIN, dictionaries, the DELTA_ ones and BYTE_STREAM_SPLIT are read: write it again with one of them"
            ))
        }
        None => Err("a page does not say how its values are written".to_owned()),
    }
}

/// Places of plain byte arrays: each is a length of four bytes and its content.
pub(super) fn byte_arrays(body: &Body) -> Result<Vec<Range<usize>>, String> {
    let mut at = 0usize;
    let mut arrays = Vec::new();
    for _ in 0..body.count {
        let rest = body.bytes.get(at..).unwrap_or(&[]);
        let length = rest.first_chunk::<4>().map(|length| u32::from_le_bytes(*length) as usize);
        let length = length.filter(|&length| length <= rest.len() - 4).ok_or("values end too early")?;
        arrays.push(at + 4..at + 4 + length);
        at += 4 + length;
    }
    Ok(arrays)
}
