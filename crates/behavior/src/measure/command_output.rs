//! What a user's command printed, as numbers.

use std::collections::BTreeMap;

use serde_json::Value;

/// The numbers that a command printed.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandOutput {
    /// The behaviour.
    pub value: f64,
    /// Further numbers, by name.
    pub numbers: BTreeMap<String, Vec<f64>>,
}

/// Most bytes of the output that a message repeats.
const SHOWN: usize = 200;
/// Most bytes that a result may have.
const MAX: usize = 1 << 20;

/// Reads one number, or one JSON object; errors continue a sentence that begins with the command.
pub(super) fn parse(bytes: &[u8]) -> Result<CommandOutput, String> {
    if bytes.len() > MAX {
        return Err(format!("printed more than {MAX} bytes: print the number alone"));
    }
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    if text.is_empty() {
        return Err("printed nothing: print one number".to_owned());
    }
    let plain = || Ok(CommandOutput { value: finite(text, text)?, numbers: BTreeMap::new() });
    if text.parse::<f64>().is_ok() {
        return plain();
    }
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(map)) => {
            let mut numbers = BTreeMap::new();
            for (name, value) in map {
                let list = numbers_of(&value).ok_or_else(|| {
                    format!("printed `{name}`: {value}, which is no number and no list of numbers")
                })?;
                numbers.insert(name, list);
            }
            match numbers.remove("value").as_deref() {
                Some(&[value]) => Ok(CommandOutput { value, numbers }),
                _ => Err("printed an object without one number under `value`".to_owned()),
            }
        }
        _ => {
            Err(format!("printed {:?}: print one number, or one JSON object, and nothing else", shown(text)))
        }
    }
}

fn finite(text: &str, whole: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(format!("printed {:?}, which is not a finite number", shown(whole))),
    }
}

fn numbers_of(value: &Value) -> Option<Vec<f64>> {
    match value {
        Value::Number(number) => Some(vec![number.as_f64().filter(|number| number.is_finite())?]),
        Value::Array(items) => {
            items.iter().map(|item| item.as_f64().filter(|number| number.is_finite())).collect()
        }
        _ => None,
    }
}

/// The beginning of a text, cut at a whole character.
fn shown(text: &str) -> &str {
    let end = (0..=SHOWN.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    &text[..end]
}
