//! Thrift's compact protocol, as far as Parquet's headers need it.
//! <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>

use std::ops::Range;

use super::varint::{varint, zigzag};

/// Deepest nesting that is read; Parquet's own is 5.
const MAX_DEPTH: usize = 24;
/// Most values of one header.
const MAX_VALUES: usize = 4_000_000;

/// A value; texts are places in the bytes read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Int(i64),
    Double,
    Text(Range<usize>),
    List(Vec<Value>),
    Struct(Vec<(i16, Value)>),
}

impl Value {
    /// A field of a struct by its number.
    pub fn field(&self, number: i16) -> Option<&Value> {
        let Self::Struct(fields) = self else { return None };
        fields.iter().find(|(found, _)| *found == number).map(|(_, value)| value)
    }

    /// An integer field.
    pub fn int(&self, number: i16) -> Option<i64> {
        if let Some(Self::Int(value)) = self.field(number) { Some(*value) } else { None }
    }

    /// A list field.
    pub fn list(&self, number: i16) -> Option<&[Value]> {
        if let Some(Self::List(items)) = self.field(number) { Some(items) } else { None }
    }

    /// A text field of the bytes that this value was read from.
    pub fn text<'a>(&self, number: i16, bytes: &'a [u8]) -> Option<&'a str> {
        if let Some(value) = self.field(number) { value.as_text(bytes) } else { None }
    }

    /// The text of a value.
    pub fn as_text<'a>(&self, bytes: &'a [u8]) -> Option<&'a str> {
        if let Self::Text(range) = self { std::str::from_utf8(bytes.get(range.clone())?).ok() } else { None }
    }
}

/// Reads one struct from the beginning of `bytes`; gives it and its length.
pub(super) fn read_struct(bytes: &[u8]) -> Result<(Value, usize), String> {
    let mut reader = Reader { bytes, at: 0, values: 0 };
    let value = reader.structure(0)?;
    Ok((value, reader.at))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    values: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, String> {
        let byte = *self.bytes.get(self.at).ok_or("a header ends too early")?;
        self.at += 1;
        Ok(byte)
    }

    fn structure(&mut self, depth: usize) -> Result<Value, String> {
        let mut fields = Vec::new();
        let mut number = 0i16;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(Value::Struct(fields));
            }
            number = match head >> 4 {
                0 => zigzag(self.bytes, &mut self.at)? as i16,
                step => number.wrapping_add(i16::from(step)),
            };
            let value = match head & 0x0f {
                1 => Value::Bool(true),
                2 => Value::Bool(false),
                kind => self.value(kind, depth + 1)?,
            };
            fields.push((number, value));
        }
    }

    fn value(&mut self, kind: u8, depth: usize) -> Result<Value, String> {
        self.values += 1;
        if depth > MAX_DEPTH || self.values > MAX_VALUES {
            return Err("a header is too large".to_owned());
        }
        Ok(match kind {
            1 | 2 => Value::Bool(self.byte()? == 1),
            3 => Value::Int(i64::from(self.byte()? as i8)),
            4..=6 => Value::Int(zigzag(self.bytes, &mut self.at)?),
            7 => {
                self.skip(8)?;
                Value::Double
            }
            8 => {
                let length = varint(self.bytes, &mut self.at)?;
                let start = self.at;
                self.skip(length)?;
                Value::Text(start..self.at)
            }
            9 | 10 => {
                let head = self.byte()?;
                let length =
                    if head >> 4 == 15 { varint(self.bytes, &mut self.at)? } else { u64::from(head >> 4) };
                // Every item takes a byte at least.
                if length > (self.bytes.len() - self.at) as u64 {
                    return Err("a list of a header is longer than the header".to_owned());
                }
                Value::List(
                    (0..length).map(|_| self.value(head & 0x0f, depth + 1)).collect::<Result<_, _>>()?,
                )
            }
            12 => self.structure(depth)?,
            other => return Err(format!("a header has a value of the unknown type {other}")),
        })
    }

    fn skip(&mut self, count: u64) -> Result<(), String> {
        let end = usize::try_from(count).ok().and_then(|count| self.at.checked_add(count));
        self.at = end.filter(|&end| end <= self.bytes.len()).ok_or("a header ends too early")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields_lists_and_texts() {
        // 1: i32 -3, 2: text "ab", 4: list of i32 [1, 2], 5: true, stop.
        let bytes = [0x15, 5, 0x18, 2, b'a', b'b', 0x29, 0x25, 2, 4, 0x11, 0, 99];
        let (value, length) = read_struct(&bytes).unwrap();
        assert_eq!(length, 12);
        assert_eq!((value.int(1), value.text(2, &bytes)), (Some(-3), Some("ab")));
        assert_eq!(value.list(4), Some(&[Value::Int(1), Value::Int(2)][..]));
        assert_eq!(value.field(5), Some(&Value::Bool(true)));
    }

    #[test]
    fn refuses_what_leads_nowhere() {
        assert!(read_struct(&[]).is_err());
        // A list of 2^60 numbers, a text of 2^60 bytes, structs within structs.
        let mut huge = vec![0x19, 0xf5];
        huge.extend([0x80; 8]);
        huge.push(0x10);
        assert!(read_struct(&huge).unwrap_err().contains("longer than the header"));
        huge[..2].copy_from_slice(&[0x18, 0x80]);
        assert!(read_struct(&huge).unwrap_err().contains("too early"));
        assert!(read_struct(&[0x1c; 1000]).unwrap_err().contains("too large"));
    }
}
