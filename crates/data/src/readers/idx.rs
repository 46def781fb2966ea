//! IDX files (MNIST and its kin), plain or gzip: <http://yann.lecun.com/exdb/mnist/>.

use crate::DataError;
use flate2::read::GzDecoder;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// Most bytes that a file may unpack to.
const MAX_BYTES: u64 = 1 << 32;

/// An array of bytes.
#[derive(Debug)]
pub(crate) struct Idx {
    /// Length of every axis, the outermost first.
    pub shape: Vec<usize>,
    /// Content, row-major.
    pub bytes: Vec<u8>,
}

/// Reads an IDX file of unsigned bytes; gzip is known by its first bytes, whatever the name.
pub(crate) fn read(path: &Path) -> Result<Idx, DataError> {
    let file = File::open(path).map_err(DataError::read(path))?;
    parse(BufReader::new(file)).map_err(|message| DataError::Malformed { path: path.to_owned(), message })
}

/// Parses the content of such a file.
fn parse(mut reader: impl Read) -> Result<Idx, String> {
    let mut start = Vec::new();
    reader.by_ref().take(2).read_to_end(&mut start).map_err(|error| error.to_string())?;
    let zipped = start == [0x1f, 0x8b];
    let whole = std::io::Cursor::new(start).chain(reader);
    if zipped { array(GzDecoder::new(whole)) } else { array(whole) }
}

fn array(mut reader: impl Read) -> Result<Idx, String> {
    let mut word = || {
        let mut bytes = [0; 4];
        reader.read_exact(&mut bytes).map_err(|error| format!("the header cannot be read: {error}"))?;
        Ok::<_, String>(bytes)
    };
    let [0, 0, kind, axes] = word()? else {
        return Err("it is no IDX file: the first two bytes are not 0".to_owned());
    };
    if kind != 8 {
        return Err(format!("its numbers are of type 0x{kind:02x}; only unsigned bytes (0x08) are read"));
    }
    if !(1..=4).contains(&axes) {
        return Err(format!("it has {axes} axes; 1 to 4 are possible"));
    }
    let shape =
        (0..axes).map(|_| Ok(u32::from_be_bytes(word()?) as usize)).collect::<Result<Vec<_>, String>>()?;
    let size = shape.iter().try_fold(1u64, |size, &side| size.checked_mul(side as u64));
    let size = size
        .filter(|&size| size <= MAX_BYTES)
        .ok_or_else(|| format!("its header announces an array of {shape:?}, more than {MAX_BYTES} bytes"))?;
    // Not allocated by the header's word: a short file must not cost the memory of a long one.
    let mut bytes = Vec::new();
    reader.take(size + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 != size {
        let found = if bytes.len() as u64 > size { "more".to_owned() } else { bytes.len().to_string() };
        return Err(format!("its header announces {size} bytes ({shape:?}), but there are {found}"));
    }
    Ok(Idx { shape, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn header(sides: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, sides.len() as u8];
        sides.iter().for_each(|side| bytes.extend(side.to_be_bytes()));
        bytes
    }

    fn message(bytes: &[u8]) -> String {
        parse(bytes).unwrap_err()
    }

    #[test]
    fn reads_plain_and_gzip_alike() {
        let plain = [header(&[2, 1, 3]), (1..=6).collect()].concat();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&plain).unwrap();
        for bytes in [plain, encoder.finish().unwrap()] {
            let idx = parse(&bytes[..]).unwrap();
            assert_eq!((idx.shape, idx.bytes), (vec![2, 1, 3], vec![1, 2, 3, 4, 5, 6]));
        }
    }

    #[test]
    fn refuses_what_does_not_add_up() {
        assert!(message(&header(&[u32::MAX; 4])).contains("announces an array of"));
        assert!(
            message(&header(&[1 << 30]))
                .contains("announces 1073741824 bytes ([1073741824]), but there are 0")
        );
        assert!(message(&[header(&[1]), vec![1, 2]].concat()).contains("but there are more"));
        assert!(message(b"\0\0\x0d\x01").contains("type 0x0d"));
        assert!(message(b"\0\0\x08\x09").contains("9 axes"));
        assert!(message(b"PK\x03\x04").contains("no IDX file"));
        assert!(message(b"\0\0").contains("header"));
        assert!(!message(b"\x1f\x8b\x08\0garbage").is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            start in prop_oneof![Just(vec![]), Just(vec![0, 0, 8, 2]), Just(vec![0x1f, 0x8b, 8, 0])],
            rest in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            if let Ok(idx) = parse(&[start, rest].concat()[..]) {
                prop_assert_eq!(idx.shape.iter().product::<usize>(), idx.bytes.len());
            }
        }
    }
}
