//! Reading the keys of diffusers' `config.json` files one by one, so that nothing in them is passed over.

use serde_json::{Map, Value};

use crate::DiffusionError;

/// The keys of a file that have not been read yet.
pub(crate) struct Keys {
    left: Map<String, Value>,
    /// The class that the file describes.
    class: &'static str,
}

impl Keys {
    /// All keys of a file that describes a model of diffusers' `class`.
    ///
    /// # Errors
    /// [`DiffusionError::ConfigKey`] if the file names another class.
    pub(crate) fn new(mut map: Map<String, Value>, class: &'static str) -> Result<Self, DiffusionError> {
        if let Some(found) = map.remove("_class_name").filter(|found| found != class) {
            return refuse("_class_name", format!("is {found}; only \"{class}\" is supported"));
        }
        Ok(Self { left: map, class })
    }

    /// Takes options of which one setting is supported: key, and accepted strings.
    pub(crate) fn fixed(&mut self, options: &[(&str, &[&str])]) -> Result<(), DiffusionError> {
        for (key, accepted) in options {
            match self.left.remove(*key) {
                Some(value) if !accepted.iter().any(|name| value == **name) => {
                    return refuse(key, format!("{value} is not supported; use \"{}\"", accepted[0]));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes options that must be absent or null.
    pub(crate) fn absent(&mut self, keys: &[&str]) -> Result<(), DiffusionError> {
        for key in keys {
            if let Some(value) = self.left.remove(*key).filter(|value| !value.is_null()) {
                return refuse(key, format!("{value} is not supported; use null"));
            }
        }
        Ok(())
    }

    /// Takes a key of any form.
    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        self.left.remove(key)
    }

    pub(crate) fn required(&mut self, key: &str) -> Result<Value, DiffusionError> {
        match self.left.remove(key) {
            Some(value) => Ok(value),
            None => refuse(key, format!("is missing; {} cannot be built without it", self.described())),
        }
    }

    /// The side of square images; `default` where the key is left out, an error without one.
    pub(crate) fn sample_size(&mut self, default: Option<usize>) -> Result<usize, DiffusionError> {
        if let Some(default) = default.filter(|_| !self.left.contains_key("sample_size")) {
            return Ok(default);
        }
        match self.required("sample_size")? {
            Value::Array(sides) if sides.len() == 2 && sides[0] == sides[1] => {
                count("sample_size", &sides[0])
            }
            value @ Value::Number(_) => count("sample_size", &value),
            value => {
                refuse("sample_size", format!("{value} is not supported; give the side of a square image"))
            }
        }
    }

    pub(crate) fn count(&mut self, key: &str, default: usize) -> Result<usize, DiffusionError> {
        self.left.remove(key).map_or(Ok(default), |value| count(key, &value))
    }

    pub(crate) fn optional_count(
        &mut self,
        key: &str,
        default: Option<usize>,
    ) -> Result<Option<usize>, DiffusionError> {
        match self.left.remove(key) {
            None => Ok(default),
            Some(Value::Null) => Ok(None),
            Some(value) => count(key, &value).map(Some),
        }
    }

    pub(crate) fn number(&mut self, key: &str, default: f64) -> Result<f64, DiffusionError> {
        match self.left.remove(key) {
            None => Ok(default),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(number),
                None => refuse(key, format!("{value} is not a number")),
            },
        }
    }

    pub(crate) fn flag(&mut self, key: &str, default: bool) -> Result<bool, DiffusionError> {
        match self.left.remove(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(value) => refuse(key, format!("{value} is neither true nor false")),
        }
    }

    pub(crate) fn list<T>(
        &mut self,
        key: &str,
        read: impl Fn(&str, &Value) -> Result<T, DiffusionError>,
    ) -> Result<Vec<T>, DiffusionError> {
        match self.required(key)? {
            Value::Array(entries) => {
                entries.iter().enumerate().map(|(i, entry)| read(&format!("{key}[{i}]"), entry)).collect()
            }
            value => refuse(key, format!("{value} is not a list")),
        }
    }

    fn described(&self) -> String {
        let article = if self.class.starts_with('A') { "an" } else { "a" };
        format!("{article} {}", self.class)
    }

    /// Refuses what is left, but for diffusers' own notes.
    pub(crate) fn finish(self) -> Result<(), DiffusionError> {
        match self.left.keys().find(|key| !key.starts_with('_')) {
            Some(key) => {
                refuse(key, format!("is not an option of {}; remove it or mend its spelling", self.class))
            }
            None => Ok(()),
        }
    }
}

/// A whole number that is not negative; `1.0` is accepted for `1`.
pub(crate) fn count(key: &str, value: &Value) -> Result<usize, DiffusionError> {
    let whole = value.as_u64().or_else(|| {
        value
            .as_f64()
            .filter(|n| n.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(n))
            .map(|n| n as u64)
    });
    match whole.filter(|&n| n <= u64::from(u32::MAX)) {
        Some(n) => Ok(n as usize),
        None => refuse(key, format!("{value} is not a whole number of at least 0 and less than 2^32")),
    }
}

/// One of several names.
pub(crate) fn choice<T: Copy>(key: &str, value: &Value, choices: &[(&str, T)]) -> Result<T, DiffusionError> {
    match choices.iter().find(|(name, _)| value == *name) {
        Some((_, chosen)) => Ok(*chosen),
        None => {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            refuse(key, format!("{value} is not supported; use {}", names.join(" or ")))
        }
    }
}

/// An error about one key.
pub(crate) fn refuse<T>(key: &str, reason: String) -> Result<T, DiffusionError> {
    Err(DiffusionError::ConfigKey { key: key.to_owned(), reason })
}

/// Checks the lists with an entry a level: at least one level and at most 16, and as many entries as there are widths.
pub(crate) fn check_levels(
    levels: usize,
    down_blocks: usize,
    up_blocks: usize,
) -> Result<(), DiffusionError> {
    if levels == 0 || levels > 16 {
        return refuse("block_out_channels", format!("has {levels} levels; 1 to 16 are possible"));
    }
    for (key, count) in [("down_block_types", down_blocks), ("up_block_types", up_blocks)] {
        if count != levels {
            return refuse(
                key,
                format!("has {count} entries, but block_out_channels has {levels}: give one a level"),
            );
        }
    }
    Ok(())
}

/// Refuses a number of residual blocks that is 0 or beyond all use: every layer is listed before weights are compared with it.
pub(crate) fn check_layers(layers_per_block: usize) -> Result<(), DiffusionError> {
    if (1..=1000).contains(&layers_per_block) {
        return Ok(());
    }
    refuse("layers_per_block", format!("is {layers_per_block}; it must be 1 to 1000"))
}

/// Refuses the first of these keys that is 0.
pub(crate) fn check_positive(counts: &[(&str, usize)]) -> Result<(), DiffusionError> {
    match counts.iter().find(|(_, value)| *value == 0) {
        Some((key, _)) => refuse(key, "is 0; it must be at least 1".to_owned()),
        None => Ok(()),
    }
}
