//! Expected against found.

use serde_json::{Value, json};

use crate::judge::Outcome;

/// Fields that say where an expectation comes from, not what the evidence says.
const REMARKS: [&str; 3] = ["note", "recorded_basis", "reference_failures"];

/// What differs, as `field: expected X, found Y`. Fields that are not expected are not compared.
pub fn differences(expected: &Value, outcome: &Outcome) -> Vec<String> {
    let mut out = Vec::new();
    for (field, found) in [
        ("verdict", outcome.verdict),
        ("reason", outcome.reason),
        ("crypto", outcome.crypto),
    ] {
        compare(field, &expected[field], &json!(found), &mut out);
    }
    if let Some(fields) = expected["decoded"].as_object() {
        for (name, value) in fields
            .iter()
            .filter(|(name, _)| !REMARKS.contains(&name.as_str()))
        {
            compare(
                &format!("decoded.{name}"),
                value,
                &outcome.decoded[name],
                &mut out,
            );
        }
    }
    if !out.is_empty()
        && let Some(detail) = &outcome.detail
    {
        out.push(format!("detail: {detail}"));
    }
    out
}

/// Objects may have more fields than expected; lists must be as long.
fn compare(path: &str, expected: &Value, found: &Value, out: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(fields), Value::Object(_)) => {
            for (name, value) in fields {
                compare(&format!("{path}.{name}"), value, &found[name], out);
            }
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            for (index, (expected, found)) in expected.iter().zip(found).enumerate() {
                compare(&format!("{path}[{index}]"), expected, found, out);
            }
        }
        _ if expected == found => {}
        _ => out.push(format!("{path}: expected {expected}, found {found}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(expected: Value, found: Value) -> Vec<String> {
        let mut out = Vec::new();
        compare("x", &expected, &found, &mut out);
        out
    }

    #[test]
    fn more_fields_than_expected_are_no_difference() {
        assert!(
            of(
                json!({"a": {"b": 1}}),
                json!({"a": {"b": 1, "c": 2}, "d": 3})
            )
            .is_empty()
        );
    }

    #[test]
    fn a_field_that_differs_or_is_absent_is_named_with_its_path() {
        assert_eq!(
            of(json!({"a": {"b": 1}}), json!({"a": {"b": 2}})),
            ["x.a.b: expected 1, found 2"]
        );
        assert_eq!(
            of(json!({"a": [1]}), json!({})),
            ["x.a: expected [1], found null"]
        );
        assert_eq!(
            of(json!([{"a": 1}]), json!([{"a": 2}])),
            ["x[0].a: expected 1, found 2"]
        );
        assert_eq!(
            of(json!([1]), json!([1, 2])),
            ["x: expected [1], found [1,2]"]
        );
        assert_eq!(of(json!(1), json!("1")), ["x: expected 1, found \"1\""]);
    }
}
