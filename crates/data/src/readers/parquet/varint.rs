//! Whole numbers in groups of seven bits, the lowest first, as Thrift and Parquet's packings write them (LEB128).

/// Reads a number at `at`, which then is its end.
pub(super) fn varint(bytes: &[u8], at: &mut usize) -> Result<u64, String> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at).ok_or("a number ends too early")?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number is too long".to_owned())
}

/// As [`varint`], of a signed number whose lowest bit is its sign.
pub(super) fn zigzag(bytes: &[u8], at: &mut usize) -> Result<i64, String> {
    let value = varint(bytes, at)?;
    Ok((value >> 1) as i64 ^ -((value & 1) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_their_ends() {
        let bytes = [0x05, 0xac, 0x02, 0x03];
        let mut at = 0;
        assert_eq!(varint(&bytes, &mut at), Ok(5));
        assert_eq!((varint(&bytes, &mut at), at), (Ok(300), 3));
        assert_eq!((zigzag(&bytes, &mut at), at), (Ok(-2), 4));
        assert!(varint(&bytes, &mut at).is_err() && varint(&[0x80], &mut 0).is_err());
        assert!(varint(&[0x80; 12], &mut 0).is_err());
    }
}
