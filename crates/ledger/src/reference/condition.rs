//! Which rows belong to an experiment.

use serde_json::Value as Json;

use super::ReferenceRow;

/// A field and the values it may have.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The field.
    pub field: String,
    /// The values, as text: `0.5`, `gd`, `True`. Numbers are compared as numbers.
    pub any_of: Vec<String>,
}

impl Condition {
    /// One value.
    pub fn equals(field: impl Into<String>, value: impl ToString) -> Condition {
        Condition { field: field.into(), any_of: vec![value.to_string()] }
    }

    /// Any of several values.
    pub fn one_of(field: impl Into<String>, values: impl IntoIterator<Item = impl ToString>) -> Condition {
        Condition { field: field.into(), any_of: values.into_iter().map(|value| value.to_string()).collect() }
    }

    /// Whether the row has one of the values. A row without the field has the value `none`.
    pub fn holds(&self, row: &ReferenceRow) -> bool {
        let found = row.fields.get(&self.field).unwrap_or(&Json::Null);
        self.any_of.iter().any(|wanted| same(found, wanted))
    }
}

/// Whether a JSON value is what a text says: numbers as numbers (to one part in 10^9), `null` is `none`.
fn same(found: &Json, wanted: &str) -> bool {
    match found {
        Json::Null => wanted.eq_ignore_ascii_case("none"),
        Json::Bool(found) => wanted.eq_ignore_ascii_case(if *found { "true" } else { "false" }),
        Json::String(found) => found == wanted,
        Json::Number(found) => match (found.as_f64(), wanted.parse::<f64>()) {
            (Some(found), Ok(wanted)) => (found - wanted).abs() <= 1e-9 * wanted.abs(),
            _ => false,
        },
        Json::Array(_) | Json::Object(_) => {
            serde_json::from_str::<Json>(wanted).is_ok_and(|wanted| wanted == *found)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_by_their_kind() {
        let fields = serde_json::json!({
            "alpha": 0.5, "steps": 1000, "name": "gd", "pruned": true, "class": null, "list": [1, 2]
        });
        let row = ReferenceRow { line: 1, images: None, fields: fields.as_object().unwrap().clone() };
        for (field, value, holds) in [
            ("alpha", "0.50", true),
            ("alpha", "0.25", false),
            ("steps", "1000.0", true),
            ("steps", "x", false),
            ("name", "gd", true),
            ("name", "g", false),
            ("pruned", "True", true),
            ("pruned", "false", false),
            ("class", "None", true),
            ("missing", "none", true),
            ("missing", "0", false),
            ("list", "[1,2]", true),
        ] {
            assert_eq!(Condition::equals(field, value).holds(&row), holds, "{field} {value}");
        }
        assert!(Condition::one_of("name", ["ga", "gd"]).holds(&row));
    }
}
