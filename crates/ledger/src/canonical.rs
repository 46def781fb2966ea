//! Canonical JSON: one text for one value.

use serde::Serialize;
use serde_json::Value;

use crate::LedgerError;

/// The canonical JSON text of a value: objects with their keys in byte order, no white space, numbers in serde_json's
/// shortest form that reads back exactly (`1` and `1.0` stay two values, as an integer and a float).
///
/// The text does not depend on the order in which fields or map entries were given, so its hash names the value.
/// serde writes a NaN or infinite float as `null`; refuse those before they come here.
///
/// # Errors
/// [`LedgerError::NotJson`] if the value has no JSON form (for instance a map with keys that are not strings).
pub fn canonical_json(value: &impl Serialize) -> Result<String, LedgerError> {
    let value =
        serde_json::to_value(value).map_err(|source| LedgerError::NotJson { what: "a value", source })?;
    let mut text = String::new();
    write(&value, &mut text);
    Ok(text)
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            // Sorted here, not by serde_json's map: another crate may switch on its `preserve_order`.
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            text.push('{');
            for (place, (key, value)) in entries.into_iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                write(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write(item, text);
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            text.push_str(&value.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sorted_compact_and_escaped() {
        let value = serde_json::json!({"b": [1, 1.0, {"z": null, "a": "q\"\n"}], "a": true, "é": 0.1});
        let text = canonical_json(&value).unwrap();
        assert_eq!(text, r#"{"a":true,"b":[1,1.0,{"a":"q\"\n","z":null}],"é":0.1}"#);
    }

    /// A JSON object as text whose keys stand in the given order.
    fn object_text(entries: &[(String, f64)]) -> String {
        let fields: Vec<_> =
            entries.iter().map(|(key, value)| format!("{}:{value:?}", Value::from(key.as_str()))).collect();
        format!("{{{}}}", fields.join(", "))
    }

    proptest! {
        #[test]
        fn key_order_does_not_matter(
            map in prop::collection::btree_map(".{0,8}", prop::num::f64::NORMAL, 1..12),
            seed in any::<u64>(),
        ) {
            let sorted: Vec<_> = map.into_iter().collect();
            let mut shuffled = sorted.clone();
            let mut state = seed | 1;
            for last in (1..shuffled.len()).rev() {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                shuffled.swap(last, (state >> 33) as usize % (last + 1));
            }
            let one: Value = serde_json::from_str(&object_text(&sorted)).unwrap();
            let two: Value = serde_json::from_str(&object_text(&shuffled)).unwrap();
            let text = canonical_json(&one).unwrap();
            prop_assert_eq!(&text, &canonical_json(&two).unwrap());
            // It reads back to the same numbers, bit for bit.
            let back: Value = serde_json::from_str(&text).unwrap();
            for (key, value) in &sorted {
                prop_assert_eq!(back[key].as_f64().unwrap().to_bits(), value.to_bits());
            }
        }
    }
}
