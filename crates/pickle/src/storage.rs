use half::{bf16, f16};

/// The number type of a tensor's storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StorageKind {
    F16,
    Bf16,
    F32,
    F64,
    /// Whole numbers and truth values of this many bytes: counters, which no network computes with.
    Whole(usize),
}

impl StorageKind {
    /// The type that a class of the module `torch` holds.
    pub fn of_class(name: &str) -> Option<Self> {
        Some(match name {
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::Bf16,
            "FloatStorage" => Self::F32,
            "DoubleStorage" => Self::F64,
            "LongStorage" => Self::Whole(8),
            "IntStorage" => Self::Whole(4),
            "ShortStorage" => Self::Whole(2),
            "CharStorage" | "ByteStorage" | "BoolStorage" => Self::Whole(1),
            _ => return None,
        })
    }

    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
            Self::Whole(size) => size,
        }
    }

    /// A number in little-endian bytes, `size` of them; `None` for whole numbers.
    pub fn value(self, bytes: &[u8]) -> Option<f32> {
        match self {
            Self::F16 => Some(f16::from_le_bytes(bytes.try_into().ok()?).to_f32()),
            Self::Bf16 => Some(bf16::from_le_bytes(bytes.try_into().ok()?).to_f32()),
            Self::F32 => Some(f32::from_le_bytes(bytes.try_into().ok()?)),
            Self::F64 => Some(f64::from_le_bytes(bytes.try_into().ok()?) as f32),
            Self::Whole(_) => None,
        }
    }
}
