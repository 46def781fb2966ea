//! Checks a JSON value against a schema, as far as `report.schema.json` uses schemas. A keyword that is not known here
//! fails the check: nothing in a schema is passed over. (A full validator would give the framework below the binaries
//! other cargo features in tests than in use, and so build it twice.)

use serde_json::{Map, Value};

/// What of `value` the schema does not allow, each with its place.
pub fn problems(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    Checker { root: schema }.check(schema, value, "$", &mut found);
    found
}

struct Checker<'a> {
    root: &'a Value,
}

impl Checker<'_> {
    fn check(&self, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
        let rules = match schema {
            Value::Bool(true) => return,
            Value::Object(rules) => rules,
            other => return found.push(format!("{at}: {other} is no schema")),
        };
        for (keyword, rule) in rules {
            let fits = match keyword.as_str() {
                "description" | "title" | "$schema" | "$defs" | "format" => true,
                // Checked with `properties`.
                "additionalProperties" if rules.contains_key("properties") || rule.is_boolean() => true,
                "$ref" => {
                    self.check(self.definition(rule), value, at, found);
                    true
                }
                "type" => has_type(rule, value),
                "const" => rule == value,
                "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
                "minItems" => value.as_array().is_none_or(|items| items.len() >= size(rule)),
                "maxItems" => value.as_array().is_none_or(|items| items.len() <= size(rule)),
                "required" => {
                    let needed = rule.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
                    value
                        .as_object()
                        .is_none_or(|object| needed.into_iter().all(|name| object.contains_key(name)))
                }
                "anyOf" => self.fitting(rule, value) >= 1,
                "oneOf" => self.fitting(rule, value) == 1,
                "items" => {
                    for (place, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(rule, item, &format!("{at}[{place}]"), found);
                    }
                    true
                }
                "properties" => {
                    self.check_properties(rules, value, at, found);
                    true
                }
                "additionalProperties" => {
                    for (name, item) in value.as_object().into_iter().flatten() {
                        self.check(rule, item, &format!("{at}.{name}"), found);
                    }
                    true
                }
                unknown => {
                    found.push(format!("{at}: the keyword `{unknown}` is not known to this check"));
                    true
                }
            };
            if !fits {
                let text = value.to_string();
                let shown: String = text.chars().take(80).collect();
                found.push(format!("{at}: {shown} does not fit `{keyword}` {rule}"));
            }
        }
    }

    fn check_properties(&self, rules: &Map<String, Value>, value: &Value, at: &str, found: &mut Vec<String>) {
        let known = rules["properties"].as_object().unwrap();
        for (name, item) in value.as_object().into_iter().flatten() {
            match (known.get(name), rules.get("additionalProperties")) {
                (Some(rule), _) => self.check(rule, item, &format!("{at}.{name}"), found),
                (None, Some(Value::Bool(false))) => found.push(format!("{at}: `{name}` is unknown")),
                (None, Some(rule)) => self.check(rule, item, &format!("{at}.{name}"), found),
                (None, None) => {}
            }
        }
    }

    /// How many of several schemas the value fits.
    fn fitting(&self, schemas: &Value, value: &Value) -> usize {
        let fits = |schema: &&Value| {
            let mut found = Vec::new();
            self.check(schema, value, "$", &mut found);
            found.is_empty()
        };
        schemas.as_array().unwrap().iter().filter(fits).count()
    }

    fn definition(&self, reference: &Value) -> &Value {
        let name = reference.as_str().and_then(|text| text.strip_prefix("#/$defs/")).unwrap();
        &self.root["$defs"][name]
    }
}

fn size(rule: &Value) -> usize {
    usize::try_from(rule.as_u64().unwrap()).unwrap()
}

fn has_type(rule: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        other => panic!("{other} is no JSON type"),
    };
    match rule {
        Value::Array(names) => names.iter().any(is),
        name => is(name),
    }
}
