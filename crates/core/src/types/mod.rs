//! Validated scalars: every name, path and value that a person writes.
//!
//! A value of one of these types is safe in the places it is used in (law 10:
//! untrusted text never reaches a root-parsed file raw). Validation happens
//! where the value enters, in `TryFrom<String>`, which serde goes through; the
//! error says what is wrong and what would be right. Rendering still quotes.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv4Addr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Why a value was refused, with what would be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(pub String);

/// The keyword that carries a scalar's type name through the schema, for
/// [`check_scalar`]. It is not in the published schemas.
pub(crate) const SCALAR: &str = "x-cb-scalar";

/// Declares a string newtype whose only way in is its check.
macro_rules! string_type {
    ($(#[$doc:meta])* $name:ident, $check:path, $schema:tt) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text, as it was written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidValue;
            fn try_from(text: String) -> Result<Self, InvalidValue> {
                match $check(&text) {
                    Ok(()) => Ok(Self(text)),
                    Err(message) => Err(InvalidValue(message)),
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidValue;
            fn from_str(text: &str) -> Result<Self, InvalidValue> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let mut schema = json_schema!($schema);
                schema.insert(SCALAR.into(), stringify!($name).into());
                schema
            }
        }
    };
}

mod contact;
mod listen;
mod source;

pub use contact::{EmailAddress, UserName};
pub use listen::ListenAddress;
pub use source::{BackupId, BucketName, CommitId, GitRef, GitUrl, RepositoryPath, TableName};

/// The longest tenant name. A Linux user name has at most 31 characters and
/// the tenant's user is `cb-NAME`.
pub const MAX_TENANT_NAME: usize = 28;

string_type! {
    /// A tenant's name (its slug): an RFC 1123 label of at most
    /// [`MAX_TENANT_NAME`] characters, because it is also part of a unit name,
    /// a user name, a folder and a file name.
    TenantName, check_tenant_name,
    {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "minLength": 1, "maxLength": 28}
}
string_type! {
    /// The name of an Application, Host or service: an RFC 1123 label of at
    /// most 63 characters.
    ObjectName, check_object_name,
    {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "minLength": 1, "maxLength": 63}
}
string_type! {
    /// A release's version, for example `v0.3.0`. It is a folder name: letters,
    /// digits, `.`, `_`, `+` and `-`, at most 64 characters.
    Version, check_version,
    {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._+-]*$", "minLength": 1, "maxLength": 64}
}
string_type! {
    /// A fully qualified domain name in lower case ASCII (an international
    /// name in its `xn--` form), without a final dot and without wildcards.
    DomainName, check_domain,
    {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+$", "maxLength": 253}
}
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
    /// One argument of a service's command line: one line of text.
    Argument, check_argument,
    {"type": "string", "maxLength": 4096}
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
string_type! {
    /// A SHA-256 checksum: 64 hexadecimal digits in lower case.
    Sha256, check_sha256,
    {"type": "string", "pattern": "^[0-9a-f]{64}$"}
}
string_type! {
    /// An amount of memory in bytes with an optional suffix `Ki`, `Mi`, `Gi`,
    /// `Ti` (powers of 1024) or `k`, `M`, `G`, `T` (powers of 1000).
    Memory, check_memory,
    {"type": "string", "pattern": "^[1-9][0-9]*(Ki|Mi|Gi|Ti|k|M|G|T)?$"}
}
string_type! {
    /// A share of processors: whole or decimal cores (`2`, `0.5`) or thousandths
    /// of a core (`500m`).
    Cpu, check_cpu,
    {"type": "string", "pattern": "^([0-9]+m|[0-9]+(\\.[0-9]{1,3})?)$"}
}
string_type! {
    /// The name of a systemd service unit, for example `nginx.service`.
    UnitName, check_unit_name,
    {"type": "string", "pattern": "^[A-Za-z0-9:_.@-]+\\.service$", "maxLength": 255}
}
string_type! {
    /// The name of a unix group, for example `adm`.
    GroupName, check_group_name,
    {"type": "string", "pattern": "^[a-z_][a-z0-9_-]*$", "maxLength": 31}
}

/// Checks a text as the type of this name would, without making one. `None`
/// if there is no such type.
pub(crate) fn check_scalar(name: &str, text: &str) -> Option<Result<(), InvalidValue>> {
    let checked = match name {
        "TenantName" => check_tenant_name(text),
        "ObjectName" => check_object_name(text),
        "Version" => check_version(text),
        "DomainName" => check_domain(text),
        "EnvName" => check_env_name(text),
        "EnvValue" => check_env_value(text),
        "HostPath" => check_host_path(text),
        "ReleasePath" => check_release_path(text),
        "Argument" => check_argument(text),
        "UrlPath" => check_url_path(text),
        "HttpUrl" => check_http_url(text),
        "Sha256" => check_sha256(text),
        "Memory" => check_memory(text),
        "Cpu" => check_cpu(text),
        "UnitName" => check_unit_name(text),
        "GroupName" => check_group_name(text),
        "UserName" => contact::check_user_name(text),
        "EmailAddress" => contact::check_email(text),
        "GitUrl" => source::check_git_url(text),
        "GitRef" => source::check_git_ref(text),
        "RepositoryPath" => source::check_repository_path(text),
        "CommitId" => source::check_commit(text),
        "TableName" => source::check_table(text),
        "BucketName" => source::check_bucket(text),
        "ListenAddress" => listen::check_listen_address(text),
        "BackupId" => source::check_backup_id(text),
        _ => return None,
    };
    Some(checked.map_err(InvalidValue))
}

/// Checks the key of a label or annotation, as Kubernetes does: an optional
/// DNS prefix and `/`, then a name.
///
/// # Errors
/// What is wrong with it and what would be right.
pub fn check_label_key(text: &str) -> Result<(), InvalidValue> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let prefix_ok = prefix.is_none_or(|prefix| {
        prefix.len() <= 253
            && prefix
                .split('.')
                .all(|part| check_label(part, 63, "").is_ok())
    });
    if prefix_ok && !name.is_empty() && is_label_text(name) {
        return Ok(());
    }
    Err(InvalidValue(format!(
        "`{}` is not a label key: write an optional DNS name and `/`, then at most 63 letters, digits, `-`, `_` and `.`, starting and ending with a letter or digit (for example example.org/team)",
        shown(text)
    )))
}

/// Checks the value of a label, as Kubernetes does.
///
/// # Errors
/// What is wrong with it and what would be right.
pub fn check_label_value(text: &str) -> Result<(), InvalidValue> {
    if is_label_text(text) {
        return Ok(());
    }
    Err(InvalidValue(format!(
        "`{}` is not a label value: use at most 63 letters, digits, `-`, `_` and `.`, and start and end with a letter or digit",
        shown(text)
    )))
}

fn is_label_text(text: &str) -> bool {
    let end = |c: char| c.is_ascii_alphanumeric();
    text.is_empty()
        || (text.len() <= 63
            && text.starts_with(end)
            && text.ends_with(end)
            && text.chars().all(|c| end(c) || "-_.".contains(c)))
}

impl Memory {
    /// The amount in bytes; [`u64::MAX`] if it does not fit.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let digits = self.0.trim_end_matches(|c: char| !c.is_ascii_digit());
        let factor: u64 = match &self.0[digits.len()..] {
            "Ki" => 1 << 10,
            "Mi" => 1 << 20,
            "Gi" => 1 << 30,
            "Ti" => 1 << 40,
            "k" => 1_000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            "T" => 1_000_000_000_000,
            _ => 1,
        };
        digits
            .parse::<u64>()
            .map_or(u64::MAX, |n| n.saturating_mul(factor))
    }
}

impl Cpu {
    /// The share in thousandths of a core, at least 1.
    #[must_use]
    pub fn millicores(&self) -> u64 {
        let text = self.0.as_str();
        let millis = match text.strip_suffix('m') {
            Some(millis) => millis.parse().unwrap_or(u64::MAX),
            None => {
                let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
                let fraction = format!("{fraction:0<3}").parse::<u64>().unwrap_or(0);
                whole
                    .parse::<u64>()
                    .unwrap_or(u64::MAX)
                    .saturating_mul(1000)
                    .saturating_add(fraction)
            }
        };
        millis.max(1)
    }
}

/// Shows a hostile string so that it cannot break the line it is printed in.
#[must_use]
pub fn shown(text: &str) -> String {
    const MAX: usize = 64;
    let mut out: String = text
        .chars()
        .take(MAX)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().count() > MAX {
        out.push('…');
    }
    out
}

fn check_label(text: &str, max: usize, why: &str) -> Result<(), String> {
    let first_last = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if text.is_empty() {
        return Err("a name must not be empty".into());
    }
    if text.len() > max {
        return Err(format!(
            "`{}` has {} characters; at most {max} are allowed{why}",
            shown(text),
            text.len()
        ));
    }
    let ok = text.chars().all(|c| first_last(c) || c == '-')
        && text.starts_with(first_last)
        && text.ends_with(first_last);
    if ok {
        return Ok(());
    }
    Err(format!(
        "`{}` is not an RFC 1123 label: use only lower case letters, digits and `-`, and start and end with a letter or digit",
        shown(text)
    ))
}

fn check_tenant_name(text: &str) -> Result<(), String> {
    check_label(
        text,
        MAX_TENANT_NAME,
        " (the tenant's Linux user is `cb-NAME`, and a user name has at most 31)",
    )
}

fn check_object_name(text: &str) -> Result<(), String> {
    check_label(text, 63, "")
}

fn check_version(text: &str) -> Result<(), String> {
    let ok = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    if text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(ok)
    {
        return Ok(());
    }
    Err(format!(
        "`{}` is not a version: use letters, digits, `.`, `_`, `+` and `-`, start with a letter or digit, at most 64 characters (for example v0.3.0)",
        shown(text)
    ))
}

fn check_domain(text: &str) -> Result<(), String> {
    let wrong = |why: &str| {
        Err(format!(
            "`{}` is not a domain name: {why} (for example ky04.example.org)",
            shown(text)
        ))
    };
    if text.len() > 253 {
        return wrong("it has more than 253 characters");
    }
    if !text.contains('.') {
        return wrong("it must have at least two labels separated by dots");
    }
    for label in text.split('.') {
        if label.len() > 63 || check_label(label, 63, "").is_err() {
            return wrong(
                "each label has 1 to 63 lower case letters, digits and `-`, and starts and ends with a letter or digit",
            );
        }
    }
    if text.parse::<Ipv4Addr>().is_ok() {
        return wrong("it is an IP address");
    }
    Ok(())
}

fn check_env_name(text: &str) -> Result<(), String> {
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

fn one_line(text: &str, what: &str, max: usize) -> Result<(), String> {
    // Some readers of YAML take the last two for line breaks.
    let breaks = |c: char| matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}');
    if text.len() > max {
        return Err(format!(
            "{what} has {} bytes; at most {max} are allowed",
            text.len()
        ));
    }
    match text.chars().find(|c| c.is_control() || breaks(*c)) {
        Some(c) if breaks(c) => Err(format!("{what} must be one line; it contains a line break")),
        Some(c) => Err(format!(
            "{what} must not contain control characters; it contains `{}`",
            c.escape_default()
        )),
        None => Ok(()),
    }
}

fn check_env_value(text: &str) -> Result<(), String> {
    one_line(text, "the value of an environment variable", 32 * 1024)
}

fn check_argument(text: &str) -> Result<(), String> {
    one_line(text, "an argument", 4096)
}

/// What both systemd and nginx take literally in a path.
fn path_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "/._-+@,=".contains(c)
}

fn check_path(text: &str, example: &str) -> Result<(), String> {
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

fn check_host_path(text: &str) -> Result<(), String> {
    if !text.starts_with('/') || text.starts_with("//") {
        return Err(format!(
            "`{}` is not an absolute path: start it with one `/`",
            shown(text)
        ));
    }
    check_path(text, "/srv/cbapp/v0.3.0")
}

fn check_release_path(text: &str) -> Result<(), String> {
    if text.starts_with('/') || text.is_empty() {
        return Err(format!(
            "`{}` is not a path inside the release: write it relative to the release folder (for example bin/cbapp-api)",
            shown(text)
        ));
    }
    check_path(text, "bin/cbapp-api")
}

fn check_url_path(text: &str) -> Result<(), String> {
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

fn check_http_url(text: &str) -> Result<(), String> {
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

fn check_sha256(text: &str) -> Result<(), String> {
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

fn check_memory(text: &str) -> Result<(), String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let suffix = &text[digits.len()..];
    if !digits.is_empty()
        && digits.len() <= 15
        && digits.bytes().all(|b| b.is_ascii_digit())
        && !digits.starts_with('0')
        && ["", "Ki", "Mi", "Gi", "Ti", "k", "M", "G", "T"].contains(&suffix)
    {
        return Ok(());
    }
    Err(format!(
        "`{}` is not an amount of memory: write a whole number of bytes or one with Ki, Mi, Gi, Ti, k, M, G or T (for example 512Mi)",
        shown(text)
    ))
}

fn check_cpu(text: &str) -> Result<(), String> {
    let wrong = || {
        Err(format!(
            "`{}` is not a share of processors: write cores (`2`, `0.5`) or thousandths (`500m`)",
            shown(text)
        ))
    };
    let digits = |t: &str| !t.is_empty() && t.len() <= 6 && t.bytes().all(|b| b.is_ascii_digit());
    let ok = match text.strip_suffix('m') {
        Some(millis) => digits(millis),
        None => match text.split_once('.') {
            Some((whole, fraction)) => digits(whole) && digits(fraction) && fraction.len() <= 3,
            None => digits(text),
        },
    };
    if !ok || text.trim_matches(|c| "0.m".contains(c)).is_empty() {
        return wrong();
    }
    Ok(())
}

fn check_unit_name(text: &str) -> Result<(), String> {
    let ok = |c: char| c.is_ascii_alphanumeric() || ":_.@-".contains(c);
    if text.len() <= 255
        && text.len() > ".service".len()
        && text.ends_with(".service")
        && !text.starts_with(['.', '-'])
        && text.chars().all(ok)
    {
        return Ok(());
    }
    Err(format!(
        "`{}` is not the name of a service unit (for example nginx.service)",
        shown(text)
    ))
}

fn check_group_name(text: &str) -> Result<(), String> {
    let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if (1..=31).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.chars().all(ok)
    {
        return Ok(());
    }
    Err(format!(
        "`{}` is not a group name: use lower case letters, digits, `_` and `-`, at most 31 characters",
        shown(text)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_of_kubernetes() {
        for key in ["a", "A_b.c-1", "example.org/team"] {
            assert!(check_label_key(key).is_ok(), "{key}");
        }
        let long = "a".repeat(64);
        for key in [
            "",
            "/a",
            "a/",
            "a b",
            "-a",
            "A.org/x",
            "a/b/c",
            long.as_str(),
        ] {
            assert!(check_label_key(key).is_err(), "{key}");
        }
        assert!(check_label_value("").is_ok() && check_label_value("v0.3_a").is_ok());
        for value in ["a/b", "a b", "-", "é", long.as_str()] {
            assert!(check_label_value(value).is_err(), "{value}");
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

    #[test]
    fn hostile_tenant_names_are_refused_with_the_reason() {
        let long = "a".repeat(254);
        for name in [
            "",
            "../x",
            "a b",
            "-x",
            "x-",
            "a\"b",
            "a\nb",
            "ä",
            "A",
            "a.b",
            "a/b",
            "%i",
            long.as_str(),
        ] {
            let error = TenantName::try_from(name.to_owned())
                .unwrap_err()
                .to_string();
            assert!(!error.contains('\n') && error.len() < 300, "{error}");
        }
        for name in ["ky04", "a", "0", "a-b-c"] {
            assert!(TenantName::try_from(name.to_owned()).is_ok());
        }
    }

    #[test]
    fn quantities_are_read_in_their_units() {
        let memory = |t: &str| t.parse::<Memory>().map(|m| m.bytes()).ok();
        assert_eq!(memory("512Mi"), Some(536_870_912));
        assert_eq!(memory("1G"), Some(1_000_000_000));
        assert_eq!(memory("0"), None);
        assert_eq!(memory("1.5Gi"), None);
        let cpu = |t: &str| t.parse::<Cpu>().map(|c| c.millicores()).ok();
        assert_eq!(cpu("500m"), Some(500));
        assert_eq!(cpu("0.5"), Some(500));
        assert_eq!(cpu("2"), Some(2000));
        assert_eq!(cpu("0"), None);
        assert_eq!(cpu("1.2345"), None);
    }

    #[test]
    fn text_that_systemd_or_nginx_read_specially_is_refused() {
        for path in [
            "/a b", "/a;b", "/a{b", "/a$b", "/a%b", "/a\"b", "/a\nb", "/../x", "/a/../b", "//a",
            "a", "/a/",
        ] {
            assert!(path.parse::<HostPath>().is_err(), "{path:?}");
        }
        for domain in [
            "a.org;", "a b.org", "*.a.org", "a..org", "org", "a.org.", "1.2.3.4", "A.org",
            "a_b.org",
        ] {
            assert!(domain.parse::<DomainName>().is_err(), "{domain:?}");
        }
        assert!("x\ny".parse::<EnvValue>().is_err());
        assert!("x\0y".parse::<EnvValue>().is_err());
        assert!("x\u{2028}y".parse::<EnvValue>().is_err());
    }
}
