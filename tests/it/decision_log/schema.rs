//! Checks values against `docs/decision-log.schema.json`, with the keywords that it uses.

use std::fs;

use serde_json::Value;

use crate::support::repository;

pub(super) struct Schema(Value);

impl Schema {
    pub(super) fn read() -> Self {
        let text = fs::read_to_string(repository().join("docs/decision-log.schema.json")).unwrap();
        Self(serde_json::from_str(&text).unwrap())
    }

    /// Returns what is wrong with a line of the log.
    pub(super) fn check(&self, line: &Value) -> Result<(), String> {
        self.check_part(&self.0, line, "")
    }

    fn check_part(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        for (keyword, wanted) in schema.as_object().unwrap() {
            let wrong = || Err(format!("{at}: {value} is not {keyword} {wanted}"));
            let is_right = match keyword.as_str() {
                "$schema" | "$id" | "$defs" | "title" | "description" => true,
                "$ref" => {
                    let path = wanted.as_str().unwrap().strip_prefix('#').unwrap();
                    self.check_part(self.0.pointer(path).unwrap(), value, at)?;
                    true
                }
                "oneOf" => {
                    // The type says which one is meant, so that its own errors are shown.
                    let named = format!("#/$defs/{}", value["type"].as_str().unwrap_or_default());
                    let one = wanted.as_array().unwrap().iter();
                    let mut one = one.filter(|one| one["$ref"] == *named);
                    match one.next() {
                        Some(one) => self.check_part(one, value, at)?,
                        None => return wrong(),
                    }
                    true
                }
                "anyOf" => {
                    let mut any = wanted.as_array().unwrap().iter();
                    any.any(|one| self.check_part(one, value, at).is_ok())
                }
                "const" => value == wanted,
                "enum" => wanted.as_array().unwrap().contains(value),
                "type" => match wanted {
                    Value::Array(any) => any.iter().any(|one| is_of_type(value, one)),
                    one => is_of_type(value, one),
                },
                "minimum" => value
                    .as_f64()
                    .is_none_or(|number| number >= wanted.as_f64().unwrap()),
                "pattern" => value
                    .as_str()
                    .is_none_or(|text| matches(wanted.as_str().unwrap(), text)),
                "required" => {
                    let mut members = wanted.as_array().unwrap().iter();
                    members.all(|name| value.get(name.as_str().unwrap()).is_some())
                }
                "items" => {
                    for item in value.as_array().into_iter().flatten() {
                        self.check_part(wanted, item, &format!("{at}[]"))?;
                    }
                    true
                }
                "properties" => {
                    for (name, of_name) in wanted.as_object().unwrap() {
                        if let Some(member) = value.get(name) {
                            self.check_part(of_name, member, &format!("{at}.{name}"))?;
                        }
                    }
                    true
                }
                "additionalProperties" => {
                    for (name, member) in value.as_object().into_iter().flatten() {
                        if schema["properties"].get(name).is_some() {
                            continue;
                        }
                        if *wanted == Value::Bool(false) {
                            return Err(format!("{at}: `{name}` is no member"));
                        }
                        self.check_part(wanted, member, &format!("{at}.{name}"))?;
                    }
                    true
                }
                other => panic!("the checker does not know `{other}`"),
            };
            if !is_right {
                return wrong();
            }
        }
        Ok(())
    }
}

fn is_of_type(value: &Value, wanted: &Value) -> bool {
    match wanted.as_str().unwrap() {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        other => panic!("the checker does not know the type `{other}`"),
    }
}

/// Matches the patterns of the schema: literals, classes, `{n}`, `+`, `?`, and one level of groups with `|`.
fn matches(pattern: &str, text: &str) -> bool {
    let pattern = pattern
        .strip_prefix('^')
        .unwrap()
        .strip_suffix('$')
        .unwrap();
    fn rests<'t>(pattern: &str, text: &'t str) -> Vec<&'t str> {
        let Some(first) = pattern.chars().next() else {
            return vec![text];
        };
        let length = match first {
            '[' => pattern.find(']').unwrap() + 1,
            '(' => pattern.find(')').unwrap() + 1,
            other => other.len_utf8(),
        };
        let (atom, behind) = pattern.split_at(length);
        let one = |text: &'t str| -> Vec<&'t str> {
            if let Some(group) = atom.strip_prefix('(') {
                let group = group.strip_suffix(')').unwrap();
                return group.split('|').flat_map(|one| rests(one, text)).collect();
            }
            let Some(char) = text.chars().next() else {
                return Vec::new();
            };
            let fits = match atom.strip_prefix('[') {
                None => atom.starts_with(char),
                Some(class) => {
                    let class: Vec<char> = class.trim_end_matches(']').chars().collect();
                    let mut fits = false;
                    let mut at = 0;
                    while at < class.len() {
                        if class.get(at + 1) == Some(&'-') && at + 2 < class.len() {
                            fits |= (class[at]..=class[at + 2]).contains(&char);
                            at += 3;
                        } else {
                            fits |= class[at] == char;
                            at += 1;
                        }
                    }
                    fits
                }
            };
            let rest = &text[char.len_utf8()..];
            if fits { vec![rest] } else { Vec::new() }
        };
        let (least, most, behind) = match behind.chars().next() {
            Some('+') => (1, usize::MAX, &behind[1..]),
            Some('?') => (0, 1, &behind[1..]),
            Some('{') => {
                let end = behind.find('}').unwrap();
                let n = behind[1..end].parse().unwrap();
                (n, n, &behind[end + 1..])
            }
            _ => (1, 1, behind),
        };
        let mut found = Vec::new();
        let mut now = vec![text];
        for n in 0.. {
            if n >= least {
                found.extend(now.iter().flat_map(|text| rests(behind, text)));
            }
            if n == most {
                break;
            }
            now = now.into_iter().flat_map(one).collect();
            now.dedup();
            if now.is_empty() {
                break;
            }
        }
        found
    }
    rests(pattern, text).contains(&"")
}

#[test]
fn the_checker_of_the_schema_checks() {
    let schema = Schema::read();
    let end = |change: &dyn Fn(&mut Value)| {
        let mut line = serde_json::json!({
            "version": 1, "type": "end", "instance": "0123456789abcdef",
            "time": "2026-11-29T11:45:12.5Z", "lastSequence": 3,
        });
        change(&mut line);
        schema.check(&line)
    };
    assert_eq!(end(&|_| {}), Ok(()));
    let wrong: [&dyn Fn(&mut Value); 6] = [
        &|line| line["version"] = 2.into(),
        &|line| line["type"] = "other".into(),
        &|line| line["instance"] = "0123456789abcdeg".into(),
        &|line| line["time"] = "2026-11-29 11:45:12Z".into(),
        &|line| line["lastSequence"] = "3".into(),
        &|line| line["more"] = 1.into(),
    ];
    for (index, change) in wrong.iter().enumerate() {
        assert!(end(change).is_err(), "change {index}");
    }
    assert!(matches("^([0-9a-f]{32})?$", "") && !matches("^([0-9a-f]{32})?$", "ab"));
}
