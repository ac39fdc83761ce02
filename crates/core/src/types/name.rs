//! Names of objects, versions, domains, units and groups.

use std::net::Ipv4Addr;

use super::shown;

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
    /// The name of a systemd service unit, for example `nginx.service`.
    UnitName, check_unit_name,
    {"type": "string", "pattern": "^[A-Za-z0-9:_.@-]+\\.service$", "maxLength": 255}
}
string_type! {
    /// The name of a unix group, for example `adm`.
    GroupName, check_group_name,
    {"type": "string", "pattern": "^[a-z_][a-z0-9_-]*$", "maxLength": 31}
}

pub(super) fn check_label(text: &str, max: usize, why: &str) -> Result<(), String> {
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

pub(super) fn check_tenant_name(text: &str) -> Result<(), String> {
    check_label(
        text,
        MAX_TENANT_NAME,
        " (the tenant's Linux user is `cb-NAME`, and a user name has at most 31)",
    )
}

pub(super) fn check_object_name(text: &str) -> Result<(), String> {
    check_label(text, 63, "")
}

pub(super) fn check_version(text: &str) -> Result<(), String> {
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

pub(super) fn check_domain(text: &str) -> Result<(), String> {
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

pub(super) fn check_unit_name(text: &str) -> Result<(), String> {
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

pub(super) fn check_group_name(text: &str) -> Result<(), String> {
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
}
