//! Names that come from outside and become file names or rows.

/// The longest name of an upload, in bytes.
pub const MAX_UPLOAD_NAME: usize = 100;

/// The longest name of a contact, in characters.
pub const MAX_CONTACT_NAME: usize = 200;

/// Why a name was refused. The text says what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// An upload's name has the wrong length.
    #[error("a file name has 1 to {MAX_UPLOAD_NAME} bytes, this one has {0}")]
    UploadLength(usize),
    /// An upload's name has a character that is not allowed there.
    #[error(
        "`{0}` cannot be a file name: use the letters a-z and A-Z, digits, `.`, `_` and `-`, and \
         start with a letter or digit"
    )]
    UploadCharacter(String),
    /// An upload's name could be taken for a path.
    #[error("`{0}` cannot be a file name: two dots must not follow each other")]
    UploadDots(String),
    /// A contact's name has the wrong length.
    #[error("a contact's name has 1 to {MAX_CONTACT_NAME} characters, this one has {0}")]
    ContactLength(usize),
    /// A contact's name has a control character.
    #[error("a contact's name must not have control characters such as line breaks")]
    ContactControl,
}

/// Checks that `name` is one plain file name: no separators, no hidden files,
/// nothing that any tool could take for a path or an option.
///
/// # Errors
/// The rule that the name breaks.
pub fn check_upload_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() || name.len() > MAX_UPLOAD_NAME {
        return Err(NameError::UploadLength(name.len()));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let starts_well = name.as_bytes()[0].is_ascii_alphanumeric();
    if !starts_well || !name.bytes().all(allowed) {
        return Err(NameError::UploadCharacter(name.escape_debug().to_string()));
    }
    if name.contains("..") {
        return Err(NameError::UploadDots(name.to_owned()));
    }
    Ok(())
}

/// The contact's name without surrounding white space.
///
/// # Errors
/// The rule that the name breaks.
pub fn contact_name(text: &str) -> Result<&str, NameError> {
    let name = text.trim();
    let length = name.chars().count();
    if length == 0 || length > MAX_CONTACT_NAME {
        return Err(NameError::ContactLength(length));
    }
    if name.chars().any(char::is_control) {
        return Err(NameError::ContactControl);
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_file_names_pass() {
        for name in ["a", "walk-list_2026.csv", "X.tar.gz", "0", &"a".repeat(100)] {
            assert_eq!(check_upload_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn anything_like_a_path_is_refused() {
        let names = [
            "",
            ".",
            "..",
            ".env",
            "-rf",
            "_x",
            "a/b",
            "../a",
            "/etc/passwd",
            "a\\b",
            "a..b",
            "a b",
            "a\0",
            "a\n",
            "é",
            "a%2fb",
            "a:b",
            "~a",
        ];
        for name in names {
            assert!(check_upload_name(name).is_err(), "{name:?}");
        }
        assert_eq!(
            check_upload_name(&"a".repeat(101)),
            Err(NameError::UploadLength(101))
        );
    }

    #[test]
    fn contact_names_are_trimmed_and_may_be_in_any_language() {
        assert_eq!(contact_name("  Zoë O'Neil "), Ok("Zoë O'Neil"));
        assert_eq!(contact_name(" \n "), Err(NameError::ContactLength(0)));
        assert_eq!(contact_name("a\nb"), Err(NameError::ContactControl));
        assert_eq!(contact_name(&"é".repeat(200)), Ok("é".repeat(200).as_str()));
        assert_eq!(
            contact_name(&"é".repeat(201)),
            Err(NameError::ContactLength(201))
        );
    }
}
