//! Values that name where things come from and where they are kept: git
//! repositories, tables, buckets, backups.

use super::name::check_label;
use super::path::check_host_path;
use super::shown;

string_type! {
    /// A git repository: `https://HOST/PATH`, `ssh://USER@HOST/PATH` or the
    /// absolute path of a folder on the host.
    GitUrl, check_git_url,
    {"type": "string", "pattern": "^(https://|ssh://|/)", "maxLength": 2048}
}
string_type! {
    /// A SHA-256 checksum: 64 hexadecimal digits in lower case.
    Sha256, check_sha256,
    {"type": "string", "pattern": "^[0-9a-f]{64}$"}
}
string_type! {
    /// A git commit: 40 hexadecimal digits in lower case.
    CommitId, check_commit,
    {"type": "string", "pattern": "^[0-9a-f]{40}$"}
}
string_type! {
    /// The name of a git branch or tag, without `refs/heads/` or `refs/tags/`.
    GitRef, check_git_ref,
    {"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9._/-]*$", "maxLength": 200}
}
string_type! {
    /// A folder in a repository: names of letters, digits, `.`, `_` and `-`,
    /// with `/` between them.
    RepositoryPath, check_repository_path,
    {"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9._/-]*$", "maxLength": 200}
}
string_type! {
    /// The name of a database table: letters, digits and `_`, not starting
    /// with a digit.
    TableName, check_table,
    {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "maxLength": 63}
}
string_type! {
    /// The name of a bucket: 3 to 63 lower case letters, digits, `-` and `.`.
    BucketName, check_bucket,
    {"type": "string", "pattern": "^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"}
}
string_type! {
    /// The identifier of a backup, as `20261124t213000z-1`: lower case letters,
    /// digits and `-`. It is a folder name, and later ones sort after earlier
    /// ones.
    BackupId, check_backup_id,
    {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
}

pub(super) fn check_git_url(text: &str) -> Result<(), String> {
    let wrong = || {
        Err(format!(
            "`{}` is not a git repository: write https://HOST/PATH, ssh://USER@HOST/PATH or the absolute path of a folder on the host, without a password",
            shown(text)
        ))
    };
    if text.starts_with('/') {
        return check_host_path(text).or_else(|_| wrong());
    }
    let rest = match (text.strip_prefix("https://"), text.strip_prefix("ssh://")) {
        // A user name in an https URL is where tokens are put.
        (Some(rest), _) if !rest.split('/').next().unwrap_or_default().contains('@') => rest,
        (_, Some(rest)) => rest,
        _ => return wrong(),
    };
    let ok = |c: char| c.is_ascii_alphanumeric() || "/._-~:@+".contains(c);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    // git hands the host to ssh as an argument.
    let usable = !host.is_empty() && !host.starts_with('-') && !host.contains("@-");
    match text.len() <= 2048 && usable && !path.is_empty() && rest.chars().all(ok) {
        true => Ok(()),
        false => wrong(),
    }
}

pub(super) fn check_commit(text: &str) -> Result<(), String> {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    match text.len() == 40 && text.chars().all(hex) {
        true => Ok(()),
        false => Err(format!(
            "`{}` is not a commit: write its 40 hexadecimal digits in lower case",
            shown(text)
        )),
    }
}

pub(super) fn check_sha256(text: &str) -> Result<(), String> {
    if text.len() == 64
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
    {
        return Ok(());
    }
    Err(format!(
        "`{}` is not a SHA-256 checksum: write the 64 hexadecimal digits in lower case, as `sha256sum FILE` prints them",
        shown(text)
    ))
}

pub(super) fn check_git_ref(text: &str) -> Result<(), String> {
    let good = is_plain_path(text)
        && text
            .split('/')
            .all(|part| !part.ends_with('.') && !part.ends_with(".lock"));
    match good && !text.starts_with("refs/") {
        true => Ok(()),
        false => Err(format!(
            "`{}` is not the name of a branch or tag: write it without `refs/heads/`, with letters, digits, `.`, `_`, `-` and `/`",
            shown(text)
        )),
    }
}

pub(super) fn check_repository_path(text: &str) -> Result<(), String> {
    match is_plain_path(text) {
        true => Ok(()),
        false => Err(format!(
            "`{}` is not a folder in a repository: write names of letters, digits, `.`, `_` and `-` that do not start with `.` or `-`, with `/` between them and none at either end",
            shown(text)
        )),
    }
}

/// Nothing in it is an option, a step upwards or hidden.
fn is_plain_path(text: &str) -> bool {
    let ok = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let first = |part: &str| part.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    text.len() <= 200
        && text
            .split('/')
            .all(|part| first(part) && !part.contains("..") && part.chars().all(ok))
}

pub(super) fn check_table(text: &str) -> Result<(), String> {
    let ok = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    match first && text.len() <= 63 && text.chars().all(ok) {
        true => Ok(()),
        false => Err(format!(
            "`{}` is not a table name: use letters, digits and `_`, do not start with a digit, at most 63 characters",
            shown(text)
        )),
    }
}

pub(super) fn check_bucket(text: &str) -> Result<(), String> {
    let end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let ok = (3..=63).contains(&text.len())
        && text.starts_with(end)
        && text.ends_with(end)
        && !text.contains("..")
        && text.chars().all(|c| end(c) || "-.".contains(c));
    match ok {
        true => Ok(()),
        false => Err(format!(
            "`{}` is not a bucket name: use 3 to 63 lower case letters, digits, `-` and `.`, and start and end with a letter or digit",
            shown(text)
        )),
    }
}

pub(super) fn check_backup_id(text: &str) -> Result<(), String> {
    check_label(text, 63, "").map_err(|_| {
        format!(
            "`{}` is not the identifier of a backup; `cbctl backup list` shows them",
            shown(text)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_would_read_as_an_option_or_hold_a_password_is_refused() {
        for good in [
            "https://git.example.org/cb/app.git",
            "ssh://git@git.example.org:2222/cb/app",
            "/srv/git/app.git",
        ] {
            assert_eq!(check_git_url(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "app",
            "git@git.example.org:app.git",
            "https://user:token@git.example.org/app",
            "https://token@git.example.org/app",
            "ssh://-oProxyCommand=x/app",
            "ssh://u@-oProxyCommand=x/app",
            "ext::sh -c x",
            "file:///srv/git",
            "https://git.example.org",
            "/srv/../etc",
            "https://git.example.org/a b",
        ] {
            assert!(check_git_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn branches_and_folders_are_no_options_and_stay_inside() {
        for good in ["main", "release/1.x", "v0.3.0", "hosts/web1"] {
            assert_eq!(check_git_ref(good), Ok(()), "{good}");
            assert_eq!(check_repository_path(good), Ok(()), "{good}");
        }
        for bad in [
            "", "-x", "a/../b", "/a", "a/", "a//b", ".git", "a b", "a:b", "a/.b", "a@{1}",
        ] {
            assert!(check_git_ref(bad).is_err(), "{bad}");
            assert!(check_repository_path(bad).is_err(), "{bad}");
        }
        assert!(check_git_ref("refs/heads/main").is_err() && check_git_ref("a.lock").is_err());
    }

    #[test]
    fn names_that_are_used_in_files_and_statements_are_plain() {
        assert!(check_table("schema_migrations").is_ok() && check_table("x\"; DROP").is_err());
        assert!(check_bucket("cb-backups.eu").is_ok() && check_bucket("../x").is_err());
        assert!(check_backup_id("20261124t213000z-1").is_ok() && check_backup_id("..").is_err());
        assert!(check_commit(&"a".repeat(40)).is_ok() && check_commit("HEAD").is_err());
    }
}
