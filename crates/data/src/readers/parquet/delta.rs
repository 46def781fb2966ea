//! Values written as differences: Parquet's DELTA_BINARY_PACKED, DELTA_LENGTH_BYTE_ARRAY and DELTA_BYTE_ARRAY, and
//! BYTE_STREAM_SPLIT. Each becomes plain values. <https://parquet.apache.org/docs/file-format/data-pages/encodings/>

use super::levels::bits;
use super::metadata::Kind;
use super::varint::{varint, zigzag};

/// Bytes that repeated beginnings may add for each byte that is written, so that no page takes memory without end.
const MAX_GROWTH: usize = 1024;

/// Plain numbers of `kind` from packed differences.
pub(super) fn numbers(bytes: &[u8], kind: Kind, count: usize) -> Result<Vec<u8>, String> {
    let (numbers, _) = packed(bytes, count)?;
    match kind {
        // The arithmetic of 32-bit numbers is that of 64-bit ones, cut.
        Kind::Int32 => Ok(numbers.into_iter().flat_map(|number| (number as i32).to_le_bytes()).collect()),
        Kind::Int64 => Ok(numbers.into_iter().flat_map(i64::to_le_bytes).collect()),
        _ => Err("its values are differences, but no whole numbers".to_owned()),
    }
}

/// Plain byte arrays from their packed lengths and what they hold, one after the other.
pub(super) fn byte_arrays(bytes: &[u8], count: usize) -> Result<Vec<u8>, String> {
    let (lengths, mut at) = packed(bytes, count)?;
    let mut plain = Vec::with_capacity(4 * count + bytes.len() - at);
    for length in lengths {
        let content = piece(bytes, at, length)?;
        at += content.len();
        plain.extend((content.len() as u32).to_le_bytes());
        plain.extend_from_slice(content);
    }
    Ok(plain)
}

/// Plain byte arrays from how many bytes each shares with the beginning of the one before, and their ends.
pub(super) fn shared_byte_arrays(bytes: &[u8], count: usize) -> Result<Vec<u8>, String> {
    let (shared, ends) = packed(bytes, count)?;
    let (lengths, at) = packed(&bytes[ends..], count)?;
    let mut at = ends + at;
    let mut plain: Vec<u8> = Vec::new();
    let mut before = 0..0;
    for (shared, length) in shared.into_iter().zip(lengths) {
        let end = piece(bytes, at, length)?;
        at += end.len();
        let shared = usize::try_from(shared)
            .ok()
            .filter(|&shared| shared <= before.len())
            .ok_or("a value shares more than the one before has")?;
        let size = shared + end.len();
        if plain.len() + size > MAX_GROWTH.saturating_mul(bytes.len()) {
            return Err(format!(
                "a page of {} bytes becomes more than {MAX_GROWTH} times as long",
                bytes.len()
            ));
        }
        plain.extend((size as u32).to_le_bytes());
        let start = plain.len();
        plain.extend_from_within(before.start..before.start + shared);
        plain.extend_from_slice(end);
        before = start..plain.len();
    }
    Ok(plain)
}

/// Plain numbers from all their first bytes, all their second bytes and so on.
pub(super) fn split_streams(bytes: &[u8], kind: Kind, count: usize) -> Result<Vec<u8>, String> {
    let width = match kind {
        Kind::Int32 | Kind::Float => 4,
        Kind::Int64 | Kind::Double => 8,
        _ => return Err("its values are in streams of bytes, but no numbers".to_owned()),
    };
    if count.checked_mul(width) != Some(bytes.len()) {
        return Err("streams of bytes have other lengths than announced".to_owned());
    }
    Ok((0..count).flat_map(|place| (0..width).map(move |byte| bytes[byte * count + place])).collect())
}

fn piece(bytes: &[u8], at: usize, length: i64) -> Result<&[u8], String> {
    let end = usize::try_from(length).ok().and_then(|length| at.checked_add(length));
    Ok(end.and_then(|end| bytes.get(at..end)).ok_or("values end too early")?)
}

/// `count` whole numbers from packed differences, and where they end.
fn packed(bytes: &[u8], count: usize) -> Result<(Vec<i64>, usize), String> {
    let mut at = 0;
    let block = varint(bytes, &mut at)?;
    let parts = varint(bytes, &mut at)?;
    let announced = varint(bytes, &mut at)?;
    let first = zigzag(bytes, &mut at)?;
    if announced != count as u64 {
        return Err(format!("{announced} packed numbers are announced for {count} values"));
    }
    let per_part = block.checked_div(parts).filter(|per_part| per_part.checked_mul(parts) == Some(block));
    let per_part = per_part
        .filter(|&per_part| per_part > 0 && per_part.is_multiple_of(8) && per_part <= 1 << 20)
        .ok_or_else(|| format!("blocks of {block} packed numbers in {parts} parts are not possible"))?
        as usize;
    let mut numbers = Vec::new();
    if count > 0 {
        numbers.push(first);
    }
    let mut last = first;
    while numbers.len() < count {
        let least = zigzag(bytes, &mut at)?;
        let widths = piece(bytes, at, parts as i64)?;
        at += widths.len();
        for &width in widths {
            let wanted = per_part.min(count - numbers.len());
            if wanted == 0 {
                break;
            }
            if width > 64 {
                return Err(format!("differences of {width} bits are not possible"));
            }
            let content = piece(bytes, at, (per_part / 8 * usize::from(width)) as i64)?;
            at += content.len();
            for place in 0..wanted as u64 {
                let difference = bits(content, place * u64::from(width), width.into());
                last = last.wrapping_add(least).wrapping_add(difference as i64);
                numbers.push(last);
            }
        }
    }
    Ok((numbers, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of the specification's second example, 7, 5, 3, 1, 2, 3, 4, 5, with one part of eight numbers a block.
    fn example() -> Vec<u8> {
        // Least difference -2; differences above it 0 0 0 3 3 3 3 in two bits.
        vec![8, 1, 8, 14, 3, 2, 0b1100_0000, 0b0011_1111]
    }

    #[test]
    fn differences_add_up() {
        let (numbers, end) = packed(&example(), 8).unwrap();
        assert_eq!((numbers, end), (vec![7, 5, 3, 1, 2, 3, 4, 5], 8));
        assert_eq!(super::numbers(&example(), Kind::Int32, 8).unwrap()[4..8], [5, 0, 0, 0]);
    }

    #[test]
    fn arrays_are_cut_and_continued() {
        // Lengths 2, 1; "ab", "c".
        let lengths = [8, 1, 2, 4, 1, 0];
        let bytes = [&lengths[..], b"abc"].concat();
        assert_eq!(byte_arrays(&bytes, 2).unwrap(), b"\x02\0\0\0ab\x01\0\0\0c");
        // Shared 0, 1.
        let shared = [8, 1, 2, 0, 2, 0];
        let bytes = [&shared[..], &lengths, b"abc"].concat();
        assert_eq!(shared_byte_arrays(&bytes, 2).unwrap(), b"\x02\0\0\0ab\x02\0\0\0ac");
        let too_much = [&[8, 1, 2, 0, 6, 0][..], &lengths, b"abc"].concat();
        assert!(shared_byte_arrays(&too_much, 2).unwrap_err().contains("shares more"));
    }

    #[test]
    fn streams_are_joined() {
        assert_eq!(
            split_streams(&[1, 5, 2, 6, 3, 7, 4, 8], Kind::Float, 2).unwrap(),
            [1, 2, 3, 4, 5, 6, 7, 8]
        );
        assert!(split_streams(&[0; 7], Kind::Float, 2).is_err());
    }

    #[test]
    fn refuses_what_cannot_be() {
        assert!(packed(&example(), 9).unwrap_err().contains("8 packed numbers are announced for 9"));
        assert!(packed(&[8, 0, 8, 14], 8).unwrap_err().contains("are not possible"));
        assert!(packed(&[8, 1, 8, 14, 3, 65], 8).unwrap_err().contains("65 bits"));
        assert!(packed(&example()[..7], 8).unwrap_err().contains("too early"));
    }
}
