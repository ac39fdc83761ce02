//! Names of secrets, and where encrypted ones are.

use super::path::check_path;
use super::shown;

string_type! {
    /// The name of a secret: a file name for systemd's credentials. Letters,
    /// digits, `.`, `_` and `-`, at most 128 characters, not starting with `.`
    /// and not ending with `.cred`.
    CredentialName, check_credential_name,
    {"type": "string", "pattern": "^[A-Za-z0-9_-][A-Za-z0-9._-]*$", "minLength": 1, "maxLength": 128}
}
string_type! {
    /// A file encrypted with age, relative to the folder of the manifest that
    /// names it. Its name ends with `.age`.
    AgePath, check_age_path,
    {"type": "string", "pattern": "\\.age$", "maxLength": 1024}
}
string_type! {
    /// A file encrypted by SOPS, relative to the folder of the manifest that
    /// names it. Its name ends with `.sops.yaml`, `.sops.yml` or `.sops.env`.
    SopsPath, check_sops_path,
    {"type": "string", "pattern": "\\.sops\\.(ya?ml|env)$", "maxLength": 1024}
}
string_type! {
    /// The place of a value in a SOPS file: its keys from the top, joined by
    /// dots, for example `database.password`; an item of a list by its number
    /// from 0.
    SopsKey, check_sops_key,
    {"type": "string", "minLength": 1, "maxLength": 256}
}

/// What the names of encrypted files end with. They are next to the manifests
/// and none themselves.
const SEALED: [&str; 4] = [".age", ".sops.yaml", ".sops.yml", ".sops.env"];

/// Whether a file next to the manifests is an encrypted one, by its name.
#[must_use]
pub fn is_sealed_file(name: &str) -> bool {
    SEALED.iter().any(|end| name.ends_with(end))
}

pub(super) fn check_credential_name(text: &str) -> Result<(), String> {
    let ok = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !text.is_empty()
        && text.len() <= 128
        && text.chars().all(ok)
        && !text.starts_with('.')
        && !text.ends_with(".cred")
    {
        return Ok(());
    }
    // `NAME=secret` is a slip that must not print the secret (law 11).
    let name = text.split_once('=').map_or(text, |(name, _)| name);
    let cut = if name.len() < text.len() { "=…" } else { "" };
    Err(format!(
        "`{}{cut}` is not the name of a secret: use at most 128 letters, digits, `.`, `_` and `-`, not starting with `.` and not ending with `.cred` (for example db-password)",
        shown(name)
    ))
}

pub(super) fn check_age_path(text: &str) -> Result<(), String> {
    check_beside(text, &[".age"], "secrets/db-password.age")
}

pub(super) fn check_sops_path(text: &str) -> Result<(), String> {
    check_beside(text, &SEALED[1..], "secrets/ky04.sops.yaml")
}

fn check_beside(text: &str, ends: &[&str], example: &str) -> Result<(), String> {
    let wrong = |why: &str| {
        Err(format!(
            "`{}` is not a path of an encrypted file: {why} (for example {example})",
            shown(text)
        ))
    };
    if text.starts_with('/') {
        return wrong("write it relative to the manifest's folder");
    }
    if !ends.iter().any(|end| text.ends_with(end)) {
        return wrong(&format!("its name must end with {}", ends.join(" or ")));
    }
    // Hidden files and folders are not read as part of the manifests.
    if text.split('/').any(|part| part.starts_with('.')) {
        return wrong("no part of it may start with `.`");
    }
    check_path(text, example)
}

pub(super) fn check_sops_key(text: &str) -> Result<(), String> {
    let ok = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !text.is_empty()
        && text.len() <= 256
        && text.chars().all(ok)
        && text.split('.').all(|part| !part.is_empty())
    {
        return Ok(());
    }
    Err(format!(
        "`{}` is not the place of a value in a SOPS file: write its keys from the top with dots between them (for example database.password)",
        shown(text)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_beside_the_manifest() {
        for good in ["a.age", "eu/ky04/token.age"] {
            assert!(good.parse::<AgePath>().is_ok(), "{good}");
        }
        for bad in [
            "/a.age",
            "../a.age",
            "a/../b.age",
            "a.txt",
            ".age",
            "x/.age",
            "a b.age",
            "a//b.age",
        ] {
            assert!(bad.parse::<AgePath>().is_err(), "{bad}");
        }
        for good in ["a.sops.yaml", "a.sops.yml", "x/a.sops.env"] {
            assert!(
                good.parse::<SopsPath>().is_ok() && is_sealed_file(good),
                "{good}"
            );
        }
        for bad in [".sops.yaml", "a.yaml", "a.env", "a.age"] {
            assert!(bad.parse::<SopsPath>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_name_of_a_secret_is_a_file_name_and_shows_no_value() {
        for good in ["API_TOKEN", "db-password", "tls.key"] {
            assert!(good.parse::<CredentialName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".a", "a/b", "a:b", "a%b", "a b", "a.cred"] {
            assert!(bad.parse::<CredentialName>().is_err(), "{bad}");
        }
        let error = "KEY=hunter2".parse::<CredentialName>().unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
