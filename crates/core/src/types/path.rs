//! Paths and URLs.

use super::shown;

string_type! {
    /// An absolute path on the host, without `.` or `..` parts, control
    /// characters or characters that systemd or nginx read specially.
    HostPath, check_host_path,
    {"type": "string", "pattern": "^/", "maxLength": 1024}
}
string_type! {
    /// A path inside a release folder, for example `bin/cbapp-api`.
    ReleasePath, check_release_path,
    {"type": "string", "pattern": "^[^/]", "maxLength": 1024}
}
string_type! {
    /// The path part of a URL, starting with `/`.
    UrlPath, check_url_path,
    {"type": "string", "pattern": "^/", "maxLength": 1024}
}
string_type! {
    /// An `http://` or `https://` URL.
    HttpUrl, check_http_url,
    {"type": "string", "pattern": "^https?://", "maxLength": 2048}
}

pub(super) fn check_host_path(text: &str) -> Result<(), String> {
    if !text.starts_with('/') || text.starts_with("//") {
        return Err(format!(
            "`{}` is not an absolute path: start it with one `/`",
            shown(text)
        ));
    }
    check_path(text, "/srv/cbapp/v0.3.0")
}

pub(super) fn check_release_path(text: &str) -> Result<(), String> {
    if text.starts_with('/') || text.is_empty() {
        return Err(format!(
            "`{}` is not a path inside the release: write it relative to the release folder (for example bin/cbapp-api)",
            shown(text)
        ));
    }
    check_path(text, "bin/cbapp-api")
}

pub(super) fn check_path(text: &str, example: &str) -> Result<(), String> {
    let wrong = |why: &str| {
        Err(format!(
            "`{}` is not a usable path: {why} (for example {example})",
            shown(text)
        ))
    };
    if text.len() > 1024 {
        return wrong("it has more than 1024 characters");
    }
    if !text.chars().all(path_char) {
        return wrong("use only letters, digits and `/ . _ - + @ , =`");
    }
    if text
        .trim_start_matches('/')
        .split('/')
        .any(|part| part.is_empty() || part == "." || part == "..")
    {
        return wrong("it must not have empty, `.` or `..` parts, or end with `/`");
    }
    Ok(())
}

/// What both systemd and nginx take literally in a path.
fn path_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "/._-+@,=".contains(c)
}

pub(super) fn check_url_path(text: &str) -> Result<(), String> {
    let ok = |c: char| c.is_ascii_alphanumeric() || "/._-~".contains(c);
    if text.len() <= 1024
        && text.starts_with('/')
        && !text.contains("//")
        && text.chars().all(ok)
        && !text.split('/').any(|p| p == "..")
    {
        return Ok(());
    }
    Err(format!(
        "`{}` is not a URL path: start with `/` and use only letters, digits and `/ . _ - ~` (for example /api/)",
        shown(text)
    ))
}

pub(super) fn check_http_url(text: &str) -> Result<(), String> {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    let ok = |c: char| c.is_ascii_graphic() && !"\"'\\`$;{}<>|^".contains(c);
    match rest {
        Some(rest)
            if text.len() <= 2048
                && rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
                && rest.chars().all(ok) =>
        {
            Ok(())
        }
        _ => Err(format!(
            "`{}` is not an http or https URL (for example http://127.0.0.1:11434)",
            shown(text)
        )),
    }
}
