//! The hybrid of runs and packed bits that Parquet writes levels and dictionary places in.
//! <https://parquet.apache.org/docs/file-format/data-pages/encodings/>

use super::varint::varint;

/// Reads `count` numbers of `width` bits.
pub(super) fn read_hybrid(bytes: &[u8], width: u32, count: usize) -> Result<Vec<u32>, String> {
    if width > 32 {
        return Err(format!("numbers of {width} bits are not possible"));
    }
    let mut numbers = Vec::new();
    let mut at = 0;
    while numbers.len() < count {
        let head = varint(bytes, &mut at)?;
        let left = count - numbers.len();
        if head & 1 == 0 {
            let size = width.div_ceil(8) as usize;
            let value = bytes.get(at..at + size).ok_or("a run ends too early")?;
            at += size;
            let value = value.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
            let run = usize::try_from(head >> 1).unwrap_or(usize::MAX).min(left);
            if run == 0 {
                return Err("a run of nothing".to_owned());
            }
            numbers.resize(numbers.len() + run, value as u32);
        } else {
            let groups = usize::try_from(head >> 1).unwrap_or(usize::MAX);
            let wanted = groups.saturating_mul(8).min(left);
            if wanted == 0 {
                return Err("a run of nothing".to_owned());
            }
            let size = (wanted as u64 * u64::from(width)).div_ceil(8) as usize;
            let packed = bytes.get(at..at + size).ok_or("packed numbers end too early")?;
            let number = |place| bits(packed, place as u64 * u64::from(width), width) as u32;
            numbers.extend((0..wanted).map(number));
            at = at.saturating_add(groups.saturating_mul(width as usize));
        }
    }
    Ok(numbers)
}

/// `width` bits, at most 64, from bit `start` on, the lowest first.
pub(super) fn bits(bytes: &[u8], start: u64, width: u32) -> u64 {
    let first = (start / 8) as usize;
    let word = bytes[first..].iter().take(9).rev().fold(0u128, |word, &byte| word << 8 | u128::from(byte));
    ((word >> (start % 8)) & ((1u128 << width) - 1)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_packed_bits() {
        assert_eq!(read_hybrid(&[10 << 1, 3], 2, 10).unwrap(), [3; 10]);
        // The specification's example: 0 to 7 in three bits.
        let packed = [0b0000_0011, 0b1000_1000, 0b1100_0110, 0b1111_1010];
        assert_eq!(read_hybrid(&packed, 3, 8).unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(read_hybrid(&packed, 3, 5).unwrap(), [0, 1, 2, 3, 4]);
        assert_eq!(read_hybrid(&[2 << 1, 0xff, 0x01, 1 << 1, 2, 0], 9, 3).unwrap(), [511, 511, 2]);
        assert_eq!(read_hybrid(&[4 << 1], 0, 4).unwrap(), [0; 4]);
        for broken in [&[][..], &[3], &[0, 0], &[1], &[0xff; 12]] {
            assert!(read_hybrid(broken, 3, 8).is_err());
        }
    }
}
