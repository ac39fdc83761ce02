//! Plain scalars by the core schema of YAML 1.2
//! (<https://yaml.org/spec/1.2.2/#103-core-schema>).

use super::Value;

/// What a plain scalar means.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => Value::Float(f64::NAN, text.to_owned()),
        _ => number(text).unwrap_or_else(|| Value::Text(text.to_owned())),
    }
}

fn number(text: &str) -> Option<Value> {
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix) {
            // `from_str_radix` would take a sign here.
            let ok = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
            let value = ok.then(|| i128::from_str_radix(digits, radix).ok())??;
            return Some(Value::Int(value, text.to_owned()));
        }
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        let value = if text.starts_with('-') {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        };
        return Some(Value::Float(value, text.to_owned()));
    }
    if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return Some(match text.parse() {
            Ok(value) => Value::Int(value, text.to_owned()),
            Err(_) => Value::Float(text.parse().ok()?, text.to_owned()),
        });
    }
    // Rust also reads `inf`, `nan` and `infinity`, which are text in YAML.
    let starts_right = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let allowed = unsigned
        .bytes()
        .all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    if starts_right && allowed && unsigned.bytes().any(|b| b.is_ascii_digit()) {
        return Some(Value::Float(text.parse().ok()?, text.to_owned()));
    }
    None
}

/// Whether `text` as a plain scalar means that same text.
pub(super) fn is_text(text: &str) -> bool {
    matches!(resolve(text), Value::Text(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_follow_the_core_schema() {
        for text in [
            "yes",
            "on",
            "1:30",
            "0x",
            "0o8",
            "1_000",
            "v1",
            "nan",
            "inf",
            "-",
            ".",
            "1e",
            "0x-1",
            "2026-01-01",
            "1.2.3",
        ] {
            assert_eq!(resolve(text), Value::Text(text.into()), "{text}");
        }
        for (text, value) in [
            ("0", 0),
            ("-7", -7),
            ("+7", 7),
            ("0x1F", 31),
            ("0o17", 15),
            ("010", 10),
        ] {
            assert_eq!(resolve(text), Value::Int(value, text.into()));
        }
        for (text, value) in [
            ("1.10", 1.1),
            ("1e3", 1000.0),
            (".5", 0.5),
            ("-1.", -1.0),
            ("-.inf", f64::NEG_INFINITY),
        ] {
            assert_eq!(resolve(text), Value::Float(value, text.into()));
        }
        assert!(matches!(resolve(&"9".repeat(60)), Value::Float(..)));
        for text in ["", "~", "null"] {
            assert_eq!(resolve(text), Value::Null);
        }
    }
}
