//! The stack machine. Every value stands in one list, and values refer to each other by number, so that neither cycles nor deep
//! nesting can exhaust the stack.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use crate::PickleError;
use crate::storage::StorageKind;

/// Most values that a pickle may build. CIFAR-100's largest has about 200,000.
const MAX_VALUES: usize = 4_000_000;

type Id = u32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Reconstruct,
    NdArray,
    Dtype,
    Encode,
    OrderedDict,
    Storage(StorageKind),
    RebuildTensor,
    RebuildParameter,
}

#[derive(Debug)]
enum Value {
    None,
    Int(i64),
    /// A number that is no integer of 64 bits: carried, never used.
    Float,
    /// Bytes or text of the file.
    Bytes(Range<usize>),
    Encoded(Vec<u8>),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Name),
    Dtype(Id),
    Array {
        shape: Vec<usize>,
        item: usize,
        data: Option<Id>,
    },
    /// Numbers outside of the pickle, by their key.
    Storage {
        kind: StorageKind,
        key: Id,
    },
    Tensor {
        storage: Id,
        offset: usize,
        shape: Vec<usize>,
        strides: Vec<usize>,
    },
}

/// A tensor as a view of a storage outside of the pickle.
#[derive(Debug)]
pub(crate) struct TensorView {
    pub kind: StorageKind,
    /// The storage.
    pub key: String,
    /// In numbers.
    pub offset: usize,
    pub shape: Vec<usize>,
    /// In numbers.
    pub strides: Vec<usize>,
}

impl TensorView {
    /// How many numbers it has; `None` if no computer could hold them.
    pub fn count(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |count, &side| count.checked_mul(side))
    }
}

/// The values of a pickle.
#[derive(Debug)]
pub struct Pickle<'a> {
    bytes: &'a [u8],
    values: Vec<Value>,
    root: Id,
    length: usize,
}

impl<'a> Pickle<'a> {
    /// Reads a pickle.
    ///
    /// # Errors
    /// A pickle that is cut short or does what is not allowed; the message says at which byte.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PickleError> {
        Ok(Machine::run(bytes)?)
    }

    /// Bytes up to its end; others may follow it.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    fn get(&self, id: Id) -> &Value {
        // Numbers are those of values pushed before.
        &self.values[id as usize]
    }

    fn text(&self, id: Id) -> Option<&[u8]> {
        match self.get(id) {
            Value::Bytes(range) => Some(&self.bytes[range.clone()]),
            Value::Encoded(bytes) => Some(bytes),
            _ => None,
        }
    }

    fn owned_text(&self, id: Id) -> Option<String> {
        self.text(id).map(|text| String::from_utf8_lossy(text).into_owned())
    }

    /// The texts of the outermost list.
    pub(crate) fn texts(&self) -> Option<Vec<String>> {
        let Value::List(items) = self.get(self.root) else { return None };
        items.iter().map(|&item| self.owned_text(item)).collect()
    }

    /// The number type of each storage.
    pub(crate) fn storages(&self) -> BTreeMap<String, StorageKind> {
        let storage = |value: &Value| match value {
            Value::Storage { kind, key } => Some((self.owned_text(*key)?, *kind)),
            _ => None,
        };
        self.values.iter().filter_map(storage).collect()
    }

    /// The tensors of the outermost dictionary, or of that under its key `state_dict`; `None` if neither has any.
    pub(crate) fn tensors(&self) -> Option<Vec<(String, TensorView)>> {
        let of = |dict: Id| {
            let Value::Dict(entries) = self.get(dict) else { return None };
            let tensors = entries.iter().filter_map(|&(name, value)| {
                let Value::Tensor { storage, offset, shape, strides } = self.get(value) else { return None };
                let Value::Storage { kind, key } = self.get(*storage) else { return None };
                let view = TensorView {
                    kind: *kind,
                    key: self.owned_text(*key)?,
                    offset: *offset,
                    shape: shape.clone(),
                    strides: strides.clone(),
                };
                Some((self.owned_text(name)?, view))
            });
            Some(tensors.collect::<Vec<_>>()).filter(|tensors| !tensors.is_empty())
        };
        of(self.root).or_else(|| of(self.entry("state_dict")?))
    }

    /// The value under a key of the outermost dictionary.
    fn entry(&self, key: &str) -> Option<Id> {
        let Value::Dict(entries) = self.get(self.root) else { return None };
        entries
            .iter()
            .rev()
            .find(|(name, _)| self.text(*name) == Some(key.as_bytes()))
            .map(|&(_, value)| value)
    }

    /// A matrix of bytes under a key of the outermost dictionary: its rows' length and its content.
    pub fn byte_matrix(&self, key: &str) -> Option<(usize, &[u8])> {
        let Value::Array { shape, item: 1, data: Some(data) } = self.get(self.entry(key)?) else {
            return None;
        };
        match shape[..] {
            [_, width] => Some((width, self.text(*data)?)),
            _ => None,
        }
    }

    /// A list of integers under a key of the outermost dictionary.
    pub fn integers(&self, key: &str) -> Option<Vec<i64>> {
        let Value::List(items) = self.get(self.entry(key)?) else { return None };
        items
            .iter()
            .map(|&item| if let Value::Int(value) = self.get(item) { Some(*value) } else { None })
            .collect()
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl<'a> Machine<'a> {
    fn run(bytes: &'a [u8]) -> Result<Pickle<'a>, String> {
        let mut machine = Self {
            bytes,
            at: 0,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        loop {
            let start = machine.at;
            let code = machine.byte().map_err(|_| "it ends before its STOP instruction".to_owned())?;
            if code == b'.' {
                let root = machine.pop()?;
                return Ok(Pickle { bytes, values: machine.values, root, length: machine.at });
            }
            machine.step(code).map_err(|message| format!("byte {start}: {message}"))?;
        }
    }

    fn take(&mut self, count: u64) -> Result<Range<usize>, String> {
        let end = usize::try_from(count).ok().and_then(|count| self.at.checked_add(count));
        match end {
            Some(end) if end <= self.bytes.len() => {
                let range = self.at..end;
                self.at = end;
                Ok(range)
            }
            _ => Err(format!("{count} bytes are announced, but only {} follow", self.bytes.len() - self.at)),
        }
    }

    fn byte(&mut self) -> Result<u8, String> {
        let range = self.take(1)?;
        Ok(self.bytes[range.start])
    }

    /// A little-endian number of `size` bytes, at most 8.
    fn number(&mut self, size: u64) -> Result<u64, String> {
        let range = self.take(size)?;
        Ok(self.bytes[range].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|&byte| byte == b'\n').ok_or("a line has no end")?;
        self.at += length + 1;
        std::str::from_utf8(&rest[..length]).map_err(|_| "a line is not UTF-8".to_owned())
    }

    fn push(&mut self, value: Value) -> Result<(), String> {
        if self.values.len() >= MAX_VALUES {
            return Err(format!("it builds more than {MAX_VALUES} values"));
        }
        self.stack.push(self.values.len() as Id);
        self.values.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, String> {
        match self.stack.pop() {
            Some(id) if self.marks.last().is_none_or(|&mark| self.stack.len() >= mark) => Ok(id),
            _ => Err("it takes a value from an empty stack".to_owned()),
        }
    }

    fn top(&self) -> Result<Id, String> {
        self.stack.last().copied().ok_or_else(|| "it uses a value of an empty stack".to_owned())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("it has no mark")?;
        if mark > self.stack.len() {
            return Err("a mark lies above the stack".to_owned());
        }
        Ok(self.stack.split_off(mark))
    }

    fn push_bytes(&mut self, length: u64) -> Result<(), String> {
        let range = self.take(length)?;
        self.push(Value::Bytes(range))
    }

    fn tuple(&mut self, count: usize) -> Result<(), String> {
        let mut items = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        self.push(Value::Tuple(items))
    }

    fn remember(&mut self, place: u64) -> Result<(), String> {
        let id = self.top()?;
        self.memo.insert(place, id);
        Ok(())
    }

    fn recall(&mut self, place: u64) -> Result<(), String> {
        let id = *self.memo.get(&place).ok_or_else(|| format!("memory {place} is empty"))?;
        if self.stack.len() >= MAX_VALUES {
            return Err(format!("its stack holds more than {MAX_VALUES} values"));
        }
        self.stack.push(id);
        Ok(())
    }

    fn append(&mut self, mut items: Vec<Id>) -> Result<(), String> {
        let list = self.top()?;
        match &mut self.values[list as usize] {
            Value::List(list) => list.append(&mut items),
            _ => return Err("it appends to what is no list".to_owned()),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Id]) -> Result<(), String> {
        if !items.len().is_multiple_of(2) {
            return Err("a dictionary gets a key without a value".to_owned());
        }
        let dict = self.top()?;
        match &mut self.values[dict as usize] {
            Value::Dict(dict) => dict.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1]))),
            _ => return Err("it sets an entry of what is no dictionary".to_owned()),
        }
        Ok(())
    }

    fn text_of(&self, id: Id) -> Result<&[u8], String> {
        match &self.values[id as usize] {
            Value::Bytes(range) => Ok(&self.bytes[range.clone()]),
            Value::Encoded(bytes) => Ok(bytes),
            _ => Err("text or bytes were expected".to_owned()),
        }
    }

    fn tuple_of(&self, id: Id) -> Result<&[Id], String> {
        match &self.values[id as usize] {
            Value::Tuple(items) => Ok(items),
            _ => Err("a tuple was expected".to_owned()),
        }
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), String> {
        let name = match (module, name) {
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Name::Reconstruct,
            ("numpy", "ndarray") => Name::NdArray,
            ("numpy", "dtype") => Name::Dtype,
            ("_codecs", "encode") => Name::Encode,
            ("collections", "OrderedDict") => Name::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Name::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Name::RebuildParameter,
            _ => match StorageKind::of_class(name).filter(|_| module == "torch") {
                Some(kind) => Name::Storage(kind),
                None => {
                    return Err(format!(
                        "it asks for `{module}.{name}`, which is not run: only arrays, lists, numbers and text are read"
                    ));
                }
            },
        };
        self.push(Value::Global(name))
    }

    fn count_of(&self, id: Id) -> Result<usize, String> {
        match self.values[id as usize] {
            Value::Int(number) => usize::try_from(number).map_err(|_| format!("{number} is negative")),
            _ => Err("a whole number was expected".to_owned()),
        }
    }

    fn counts_of(&self, id: Id) -> Result<Vec<usize>, String> {
        self.tuple_of(id)?.iter().map(|&id| self.count_of(id)).collect()
    }

    /// `('storage', class, key, device, numbers)`, by which a tensor's numbers outside of the pickle are named.
    fn persistent(&mut self) -> Result<(), String> {
        let name = self.pop()?;
        let &[word, class, key, ..] = self.tuple_of(name)? else {
            return Err("it names something outside of it that is no storage".to_owned());
        };
        let Value::Global(Name::Storage(kind)) = self.values[class as usize] else {
            return Err("it names a storage of an unknown type".to_owned());
        };
        if self.text_of(word)? != b"storage" {
            return Err("it names something outside of it that is no storage".to_owned());
        }
        self.text_of(key)?;
        self.push(Value::Storage { kind, key })
    }

    fn reduce(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Value::Global(name) = self.values[function as usize] else {
            return Err("it calls what is no function".to_owned());
        };
        let arguments = self.tuple_of(arguments)?;
        let value = match (name, arguments) {
            (Name::Reconstruct, _) => Value::Array { shape: Vec::new(), item: 1, data: None },
            (Name::Dtype, &[kind, ..]) => Value::Dtype(kind),
            (Name::Encode, &[text, codec]) => {
                if !matches!(self.text_of(codec)?, b"latin1" | b"latin-1") {
                    return Err("_codecs.encode is read for latin1 only".to_owned());
                }
                let text = std::str::from_utf8(self.text_of(text)?).map_err(|_| "the text is not UTF-8")?;
                let bytes = text.chars().map(|c| u8::try_from(u32::from(c)));
                Value::Encoded(bytes.collect::<Result<_, _>>().map_err(|_| "the text is not latin1")?)
            }
            (Name::OrderedDict, []) => Value::Dict(Vec::new()),
            (Name::RebuildTensor, &[storage, offset, shape, strides, ..]) => {
                let (shape, strides) = (self.counts_of(shape)?, self.counts_of(strides)?);
                if shape.len() != strides.len() {
                    return Err("a tensor has not one stride for each axis".to_owned());
                }
                Value::Tensor { storage, offset: self.count_of(offset)?, shape, strides }
            }
            // A parameter is the tensor that it is made of.
            (Name::RebuildParameter, &[tensor, ..]) => {
                self.stack.push(tensor);
                return Ok(());
            }
            _ => return Err(format!("{name:?} is called with {} arguments", arguments.len())),
        };
        self.push(value)
    }

    fn build(&mut self) -> Result<(), String> {
        let state = self.pop()?;
        let object = self.top()?;
        match &self.values[object as usize] {
            // Byte order and alignment, of no meaning to single bytes; the versions of a state dict's modules.
            Value::Dtype(_) | Value::Dict(_) => Ok(()),
            Value::Array { .. } => {
                let &[_, shape, kind, order, data] = self.tuple_of(state)? else {
                    return Err("an array's state is not (version, shape, type, order, data)".to_owned());
                };
                let shape = self.tuple_of(shape)?.iter().map(|&side| match self.values[side as usize] {
                    Value::Int(side) => usize::try_from(side).map_err(|_| "a side of an array is negative"),
                    _ => Err("a side of an array is no number"),
                });
                let shape = shape.collect::<Result<Vec<_>, _>>()?;
                let Value::Dtype(kind) = self.values[kind as usize] else {
                    return Err("an array has no type".to_owned());
                };
                let item = match self.text_of(kind)? {
                    b"u1" | b"|u1" => 1,
                    other => {
                        return Err(format!(
                            "arrays of type {:?} are not read, only bytes (u1)",
                            String::from_utf8_lossy(other)
                        ));
                    }
                };
                if matches!(self.values[order as usize], Value::Int(1)) && shape.len() > 1 {
                    return Err("an array in Fortran order is not read".to_owned());
                }
                let found = self.text_of(data)?.len();
                let expected = shape.iter().try_fold(item, |size: usize, &side| size.checked_mul(side));
                if expected != Some(found) {
                    return Err(format!("an array of shape {shape:?} has {found} bytes"));
                }
                self.values[object as usize] = Value::Array { shape, item, data: Some(data) };
                Ok(())
            }
            _ => Err("it sets the state of what is no array".to_owned()),
        }
    }

    fn step(&mut self, code: u8) -> Result<(), String> {
        match code {
            0x80 => match self.byte()? {
                0..=4 => Ok(()),
                version => Err(format!("protocol {version} is not read, only 0 to 4")),
            },
            0x95 => self.number(8).map(drop),
            b'(' => {
                if self.marks.len() >= MAX_VALUES {
                    return Err("too many marks".to_owned());
                }
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(drop),
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Int(1)),
            0x89 => self.push(Value::Int(0)),
            b'I' | b'L' => {
                let line = self.line()?;
                let number =
                    line.trim_end_matches('L').parse().map_err(|_| format!("{line:?} is no number"))?;
                self.push(Value::Int(number))
            }
            b'K' => self.number(1).and_then(|n| self.push(Value::Int(n as i64))),
            b'M' => self.number(2).and_then(|n| self.push(Value::Int(n as i64))),
            b'J' => self.number(4).and_then(|n| self.push(Value::Int(i64::from(n as u32 as i32)))),
            0x8a => {
                let size = u64::from(self.byte()?);
                if size > 8 {
                    self.take(size)?;
                    return self.push(Value::Float);
                }
                let unsigned = self.number(size)?;
                let shift = 64 - 8 * size as u32;
                let signed = if size == 0 { 0 } else { ((unsigned << shift) as i64) >> shift };
                self.push(Value::Int(signed))
            }
            b'G' => self.number(8).and_then(|_| self.push(Value::Float)),
            b'U' | b'C' | 0x8c => self.number(1).and_then(|length| self.push_bytes(length)),
            b'T' | b'B' | b'X' => self.number(4).and_then(|length| self.push_bytes(length)),
            0x8d | 0x8e => self.number(8).and_then(|length| self.push_bytes(length)),
            b']' => self.push(Value::List(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            b')' => self.push(Value::Tuple(Vec::new())),
            b'a' => self.pop().and_then(|item| self.append(vec![item])),
            b'e' => self.pop_to_mark().and_then(|items| self.append(items)),
            b'l' => self.pop_to_mark().and_then(|items| self.push(Value::List(items))),
            b't' => self.pop_to_mark().and_then(|items| self.push(Value::Tuple(items))),
            0x85..=0x87 => self.tuple(usize::from(code - 0x84)),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(&[key, value])
            }
            b'u' => self.pop_to_mark().and_then(|items| self.set_items(&items)),
            b'd' => {
                let items = self.pop_to_mark()?;
                self.push(Value::Dict(Vec::new()))?;
                self.set_items(&items)
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let read = |id| Ok::<_, String>(String::from_utf8_lossy(self.text_of(id)?).into_owned());
                let (module, name) = (read(module)?, read(name)?);
                self.global(&module, &name)
            }
            b'R' => self.reduce(),
            b'Q' => self.persistent(),
            b'b' => self.build(),
            b'p' | b'g' => {
                let line = self.line()?;
                let place = line.parse().map_err(|_| format!("{line:?} is no place in memory"))?;
                if code == b'p' { self.remember(place) } else { self.recall(place) }
            }
            b'q' => self.number(1).and_then(|place| self.remember(place)),
            b'r' => self.number(4).and_then(|place| self.remember(place)),
            0x94 => self.remember(self.memo.len() as u64),
            b'h' => self.number(1).and_then(|place| self.recall(place)),
            b'j' => self.number(4).and_then(|place| self.recall(place)),
            _ => Err(format!(
                "instruction 0x{code:02x} ({:?}) is not carried out: only arrays, lists, numbers and text are read",
                char::from(code)
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_would_run_code_is_refused_by_name() {
        // os.system("true"), as pickle.dumps writes it in protocol 0.
        let message = Pickle::parse(b"cposix\nsystem\n(S'true'\ntR.").unwrap_err().reason;
        assert!(message.starts_with("byte 0: it asks for `posix.system`, which is not run"), "{message}");
        let message = Pickle::parse(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.").unwrap_err().reason;
        assert!(message.contains("`builtins.eval`"), "{message}");
        let message = Pickle::parse(b"(i__main__\nX\n.").unwrap_err().reason;
        assert!(message.contains("instruction 0x69 ('i')"), "{message}");
    }

    #[test]
    fn announced_lengths_are_checked_before_anything_is_made() {
        let message = Pickle::parse(b"\x80\x04\x8e\0\0\0\0\0\0\0\x10.").unwrap_err().reason;
        assert!(message.contains("1152921504606846976 bytes are announced, but only 1 follow"), "{message}");
        assert!(Pickle::parse(b"\x80\x02}").unwrap_err().reason.contains("STOP"));
        assert!(Pickle::parse(b"\x80\x05N.").unwrap_err().reason.contains("protocol 5"));
        assert!(
            Pickle::parse(b"a.").is_err() && Pickle::parse(b"t.").is_err() && Pickle::parse(b"(0.").is_err()
        );
    }

    #[test]
    fn lists_that_hold_themselves_and_deep_nests_are_harmless() {
        Pickle::parse(b"]q\0h\0a.").unwrap();
        let deep = [vec![b']'; 200_000], vec![b'a'; 199_999], vec![b'.']].concat();
        Pickle::parse(&deep).unwrap();
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Pickle::parse(&bytes);
        }

        #[test]
        fn no_instructions_make_it_panic(
            codes in proptest::collection::vec(
                proptest::sample::select(&b"(0N])}aeltsdRQb.qhjr\x85\x86\x87\x94\x93UCK\x01\x00\x02"[..]), 0..120),
        ) {
            if let Ok(pickle) = Pickle::parse(&codes) {
                let _ = (pickle.byte_matrix("data"), pickle.integers("labels"), pickle.tensors());
            }
        }
    }
}
