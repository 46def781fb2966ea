//! Grey and colour.

use serde::{Deserialize, Serialize};

/// Channels of the images that networks see. Pictures stay RGB: those of grey networks have three equal channels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "usize", into = "usize")]
pub enum Channels {
    /// One: the luma, as Pillow's `convert("L")` has it.
    Grey,
    /// Three: red, green and blue.
    #[default]
    Rgb,
}

impl Channels {
    /// 1 or 3.
    pub fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
        }
    }

    /// Whether it is [`Self::Rgb`].
    pub fn is_rgb(&self) -> bool {
        *self == Self::Rgb
    }
}

impl From<Channels> for usize {
    fn from(channels: Channels) -> Self {
        channels.count()
    }
}

impl TryFrom<usize> for Channels {
    type Error = String;

    fn try_from(count: usize) -> Result<Self, String> {
        match count {
            1 => Ok(Self::Grey),
            3 => Ok(Self::Rgb),
            other => Err(format!("images have 1 channel (grey) or 3 (red, green, blue), not {other}")),
        }
    }
}
