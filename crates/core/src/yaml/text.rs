//! Bytes as text that YAML allows.

use super::{Error, MAX_BYTES, Path, Position};

/// Reads bytes as YAML text: UTF-8 of at most [`MAX_BYTES`], without a byte
/// order mark (one at the start is dropped) and without control characters.
///
/// # Errors
/// The first thing that is not so, with its place.
pub fn read(bytes: &[u8]) -> Result<&str, Box<Error>> {
    if bytes.len() > MAX_BYTES {
        return refuse(
            Position::START,
            format!(
                "the file has {} bytes; at most {MAX_BYTES} are read",
                bytes.len()
            ),
            Some("put each object in a file of its own"),
        );
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return refuse(
            Position::START,
            "the file is in UTF-16".into(),
            Some("save it as UTF-8"),
        );
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let good = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
            let byte = bytes[error.valid_up_to()];
            return refuse(
                position_after(good),
                format!("the file is not UTF-8 text: it contains the byte 0x{byte:02x}"),
                Some("save it as UTF-8"),
            );
        }
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let refused = |c: char| {
        (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}'))
            || matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    match text.char_indices().find(|(_, c)| refused(*c)) {
        Some((at, c)) => refuse(
            position_after(&text[..at]),
            format!(
                "the file contains the control character `{}`",
                c.escape_default()
            ),
            Some("remove it; in a double-quoted text write it as an escape"),
        ),
        None => Ok(text),
    }
}

fn refuse<T>(position: Position, message: String, hint: Option<&str>) -> Result<T, Box<Error>> {
    let hint = hint.map(str::to_owned);
    Err(Box::new(Error {
        document: 0,
        position,
        path: Path::root(),
        message,
        hint,
        fatal: true,
    }))
}

fn position_after(text: &str) -> Position {
    let line = text.matches('\n').count() + 1;
    let last = text.rsplit('\n').next().unwrap_or_default();
    Position {
        line,
        column: last.chars().count() + 1,
    }
}
