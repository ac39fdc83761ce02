//! One line of text: what a process gets as environment and arguments.

use super::shown;

string_type! {
    /// The name of an environment variable: letters, digits and `_`, not
    /// starting with a digit.
    EnvName, check_env_name,
    {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "maxLength": 128}
}
string_type! {
    /// The value of an environment variable: one line of text without control
    /// characters, at most 32 KiB.
    EnvValue, check_env_value,
    {"type": "string", "maxLength": 32768}
}
string_type! {
    /// One argument of a service's command line: one line of text.
    Argument, check_argument,
    {"type": "string", "maxLength": 4096}
}

pub(super) fn check_env_name(text: &str) -> Result<(), String> {
    let ok = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !text.is_empty()
        && text.len() <= 128
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(ok)
    {
        return Ok(());
    }
    // `NAME=secret` is a slip that must not print the secret (law 11).
    let name = text.split_once('=').map_or(text, |(name, _)| name);
    let cut = if name.len() < text.len() { "=…" } else { "" };
    Err(format!(
        "`{}{cut}` is not the name of an environment variable: use at most 128 letters, digits and `_`, not starting with a digit",
        shown(name)
    ))
}

pub(super) fn check_env_value(text: &str) -> Result<(), String> {
    one_line(text, "the value of an environment variable", 32 * 1024)
}

pub(super) fn check_argument(text: &str) -> Result<(), String> {
    one_line(text, "an argument", 4096)
}

fn one_line(text: &str, what: &str, max: usize) -> Result<(), String> {
    // Some readers of YAML take the last two for line breaks.
    let breaks = |c: char| matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}');
    if text.len() > max {
        return Err(format!(
            "{what} has {} bytes; at most {max} are allowed",
            text.len()
        ));
    }
    let odd = |c: &char| c.is_control() || breaks(*c) || is_no_character(*c);
    match text.chars().find(odd) {
        Some(c) if breaks(c) => Err(format!("{what} must be one line; it contains a line break")),
        Some(c) if is_no_character(c) => Err(format!(
            "{what} must be text; it contains `{}`, which Unicode gives to no character",
            c.escape_default()
        )),
        Some(c) => Err(format!(
            "{what} must not contain control characters; it contains `{}`",
            c.escape_default()
        )),
        None => Ok(()),
    }
}

/// Unicode's noncharacters. systemd refuses a setting that has one.
fn is_no_character(c: char) -> bool {
    let code = u32::from(c);
    (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_takes_for_no_text_is_refused() {
        for text in [
            "\u{fdd0}",
            "a\u{fffe}",
            "\u{ffff}",
            "\u{1fffe}b",
            "\u{10ffff}",
        ] {
            let error = check_env_value(text).unwrap_err();
            assert!(error.contains("no character"), "{error}");
            assert!(check_argument(text).is_err(), "{text:?}");
        }
        for text in ["\u{fdcf}", "\u{fffd}", "\u{e000}", "\u{10fffd}"] {
            assert_eq!(check_env_value(text), Ok(()), "{text:?}");
        }
    }

    #[test]
    fn the_name_of_a_variable_never_shows_a_value() {
        let error = "API KEY=hunter2"
            .parse::<EnvName>()
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("`API KEY=…`") && !error.contains("hunter2"),
            "{error}"
        );
    }
}
