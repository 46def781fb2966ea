//! The entries of a zip archive that stores them as they are, as PyTorch's do.

use std::collections::BTreeMap;
use std::ops::Range;

const END: [u8; 4] = *b"PK\x05\x06";
const END_64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR_64: [u8; 4] = *b"PK\x06\x07";
const ENTRY: [u8; 4] = *b"PK\x01\x02";
const LOCAL: [u8; 4] = *b"PK\x03\x04";
/// Of a zip comment, and hence how far the end record may lie before the end.
const LONGEST_COMMENT: usize = 65_535;

/// Where each entry's content lies in `bytes`; `None` for one that is compressed, as programs in PyTorch's archives are and
/// numbers never.
pub(crate) fn entries(bytes: &[u8]) -> Result<BTreeMap<String, Option<Range<usize>>>, String> {
    let first = bytes.len().saturating_sub(22 + LONGEST_COMMENT);
    let end = (first..bytes.len().saturating_sub(21))
        .rev()
        .find(|&at| bytes[at..].starts_with(&END))
        .ok_or("it is a zip archive without an end: it was cut short")?;
    let (mut count, mut at) = (number(bytes, end + 10, 2)?, number(bytes, end + 16, 4)?);
    if let Some(locator) = end.checked_sub(20).filter(|&at| bytes[at..].starts_with(&LOCATOR_64)) {
        let end_64 = place(number(bytes, locator + 8, 8)?)?;
        if bytes.get(end_64..end_64 + 4) != Some(&END_64) {
            return Err("its zip64 end record is missing".to_owned());
        }
        (count, at) = (number(bytes, end_64 + 32, 8)?, number(bytes, end_64 + 48, 8)?);
    }
    let mut at = place(at)?;
    let mut entries = BTreeMap::new();
    for _ in 0..count {
        if bytes.get(at..at.saturating_add(4)) != Some(&ENTRY) {
            return Err("its table of contents is damaged".to_owned());
        }
        let field = |offset, size| number(bytes, at + offset, size);
        let [name, extra, comment] = [28, 30, 32].map(|offset| field(offset, 2));
        let (name_length, extra_length, comment_length) =
            (name? as usize, extra? as usize, comment? as usize);
        let name = slice(bytes, at + 46, name_length)?;
        let name = String::from_utf8_lossy(name).into_owned();
        let stored = field(10, 2)? == 0;
        let mut size = field(24, 4)?;
        let mut local = field(42, 4)?;
        let extra = slice(bytes, at + 46 + name_length, extra_length)?;
        // In this order, the fields that did not fit into 4 bytes: size, packed size, place.
        let mut wide = zip64_fields(extra);
        if size == u64::from(u32::MAX) {
            size = wide.next().ok_or("a zip64 size is missing")?;
        }
        if field(20, 4)? == u64::from(u32::MAX) {
            wide.next();
        }
        if local == u64::from(u32::MAX) {
            local = wide.next().ok_or("a zip64 place is missing")?;
        }
        let local = place(local)?;
        if bytes.get(local..local.saturating_add(4)) != Some(&LOCAL) {
            return Err(format!("its entry `{name}` is not where the table of contents says"));
        }
        let skipped = number(bytes, local + 26, 2)? + number(bytes, local + 28, 2)?;
        let start = local + 30 + place(skipped)?;
        if stored {
            slice(bytes, start, place(size)?)?;
            entries.insert(name, Some(start..start + place(size)?));
        } else {
            entries.insert(name, None);
        }
        at += 46 + name_length + extra_length + comment_length;
    }
    Ok(entries)
}

/// The 8-byte numbers of the zip64 part of an extra field.
fn zip64_fields(mut extra: &[u8]) -> impl Iterator<Item = u64> {
    let mut found: &[u8] = &[];
    while let [a, b, c, d, rest @ ..] = extra {
        let length = usize::from(u16::from_le_bytes([*c, *d])).min(rest.len());
        if u16::from_le_bytes([*a, *b]) == 1 {
            found = &rest[..length];
        }
        extra = &rest[length..];
    }
    found.as_chunks::<8>().0.iter().map(|&bytes| u64::from_le_bytes(bytes))
}

fn place(number: u64) -> Result<usize, String> {
    // Half of what a usize holds, so that the small sums above do not overflow.
    usize::try_from(number)
        .ok()
        .filter(|&n| n <= isize::MAX as usize)
        .ok_or_else(|| "a place lies beyond its end".to_owned())
}

fn slice(bytes: &[u8], start: usize, length: usize) -> Result<&[u8], String> {
    start
        .checked_add(length)
        .and_then(|end| bytes.get(start..end))
        .ok_or_else(|| "an entry reaches beyond its end".to_owned())
}

/// A little-endian number of `size` bytes, at most 8.
fn number(bytes: &[u8], at: usize, size: usize) -> Result<u64, String> {
    Ok(slice(bytes, at, size)?.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}
