//! One line of a database as JSON values.

use serde_json::{Map, Value};

/// What a line holds.
pub(super) struct Line {
    /// The whole objects in it: one, or more where writers did not wait for each other.
    pub objects: Vec<Map<String, Value>>,
    /// Why the rest of it cannot be read, if something is left.
    pub damage: Option<String>,
}

impl Line {
    /// Reads a line. Python writes `NaN`, `Infinity` and `-Infinity`, which are not JSON: they become `null`.
    pub fn parse(bytes: &[u8]) -> Line {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Line { objects: Vec::new(), damage: Some("it is not UTF-8 text".into()) };
        };
        let text = without_python_numbers(text.trim());
        let mut objects = Vec::new();
        for value in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
            match value {
                Ok(Value::Object(object)) => objects.push(object),
                Ok(_) => {
                    return Line { objects, damage: Some("it holds something else than an object".into()) };
                }
                Err(error) if error.is_eof() => {
                    let damage = format!("it is torn: it ends at column {} inside of an object", text.len());
                    return Line { objects, damage: Some(damage) };
                }
                Err(error) => {
                    let reason = error.to_string();
                    let reason = reason.split(" at line ").next().unwrap_or_default().to_owned();
                    let damage = format!("it is torn: {reason} at column {}", error.column());
                    return Line { objects, damage: Some(damage) };
                }
            }
        }
        Line { objects, damage: None }
    }
}

/// The text with `NaN`, `Infinity` and `-Infinity` outside of strings replaced by `null`.
fn without_python_numbers(text: &str) -> std::borrow::Cow<'_, str> {
    if !["NaN", "Infinity"].iter().any(|word| text.contains(word)) {
        return text.into();
    }
    let mut replaced = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let word = ["NaN", "-Infinity", "Infinity"].into_iter().find(|word| rest.starts_with(word));
        if let (false, Some(word)) = (in_string, word) {
            replaced.push_str("null");
            rest = &rest[word.len()..];
            continue;
        }
        if character == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = in_string && character == '\\' && !escaped;
        replaced.push(character);
        rest = &rest[character.len_utf8()..];
    }
    replaced.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_python_become_null_outside_of_strings() {
        let line = Line::parse(br#"{"a": NaN, "b": [-Infinity, Infinity], "c": "NaN \" Infinity", "d": 1}"#);
        assert!(line.damage.is_none());
        let object = serde_json::to_string(&line.objects[0]).unwrap();
        assert_eq!(object, r#"{"a":null,"b":[null,null],"c":"NaN \" Infinity","d":1}"#);
    }

    #[test]
    fn torn_and_joined_lines() {
        for (text, objects, damage) in [
            (r#"{"a": 1}{"a": 2}"#, 2, None),
            (r#"{"a": 1}{"a": "#, 1, Some("it ends at column")),
            (r#"{"a": {"a": 2}"#, 0, Some("ends at column")),
            (r#"{"a": 1, "b{"a": 2}"#, 0, Some("torn")),
            (r#"1.5, "b": 2}"#, 0, Some("something else than an object")),
            (r#": 2}"#, 0, Some("torn: expected value at column 1")),
            ("", 0, None),
        ] {
            let line = Line::parse(text.as_bytes());
            assert_eq!(line.objects.len(), objects, "{text}");
            match (damage, &line.damage) {
                (None, None) => {}
                (Some(part), Some(found)) => assert!(found.contains(part), "{text}: {found}"),
                (expected, found) => panic!("{text}: {expected:?}, {found:?}"),
            }
        }
        assert!(Line::parse(b"{\"a\": \"\xff\"}").damage.unwrap().contains("UTF-8"));
    }
}
