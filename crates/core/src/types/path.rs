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
    let mut parts = text.trim_start_matches('/').split('/');
    if parts.clone().any(|part| matches!(part, "" | "." | "..")) {
        return wrong("it must not have empty, `.` or `..` parts, or end with `/`");
    }
    // The most that a file system takes; systemd refuses the unit otherwise.
    if parts.any(|part| part.len() > 255) {
        return wrong("the name of a file or folder has at most 255 characters");
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
        // nginx takes them away before it looks for a route.
        && !text.split('/').any(|part| matches!(part, "." | ".."))
    {
        return Ok(());
    }
    Err(format!(
        "`{}` is not a URL path: start with `/`, use only letters, digits and `/ . _ - ~`, and no `.` or `..` as a part (for example /api/)",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_as_long_as_file_systems_take_it() {
        let path = |length| format!("/srv/{}/x", "a".repeat(length));
        assert_eq!(check_host_path(&path(255)), Ok(()));
        let error = check_host_path(&path(256)).unwrap_err();
        assert!(error.contains("at most 255 characters"), "{error}");
        assert!(check_release_path(&path(256)[1..]).is_err());
    }

    #[test]
    fn a_route_is_what_nginx_compares_with() {
        for path in ["/", "/a", "/a/", "/a/.b/..c", "/a..b"] {
            assert_eq!(check_url_path(path), Ok(()), "{path}");
        }
        for path in ["/.", "/./a", "/a/.", "/a/./b", "/..", "/a/../b", "//"] {
            assert!(check_url_path(path).is_err(), "{path}");
        }
    }
}
