//! Values that name people and users.

use super::shown;

string_type! {
    /// The name of a Linux user of this host, for example `nobody`.
    UserName, check_user_name,
    {"type": "string", "pattern": "^[a-z_][a-z0-9_-]*$", "maxLength": 31}
}
string_type! {
    /// An e-mail address without a display name, for example
    /// `ops@example.org`.
    EmailAddress, check_email,
    {"type": "string", "pattern": "^[^@ ]+@[^@ ]+$", "maxLength": 254}
}

pub(super) fn check_user_name(text: &str) -> Result<(), String> {
    let first = |c: char| c.is_ascii_lowercase() || c == '_';
    let rest = |c: char| first(c) || c.is_ascii_digit() || c == '-';
    if text.len() <= 31 && text.starts_with(first) && text.chars().all(rest) {
        return Ok(());
    }
    Err(format!(
        "`{}` is not the name of a user (for example nobody)",
        shown(text)
    ))
}

pub(super) fn check_email(text: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    let host = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
    match text.rsplit_once('@') {
        Some((local, domain))
            if text.len() <= 254
                // Not to be taken for an option.
                && local.starts_with(|c: char| plain(c) && c != '-')
                && local.chars().all(plain)
                && domain.starts_with(|c: char| c.is_ascii_alphanumeric())
                && domain.chars().all(host) =>
        {
            Ok(())
        }
        _ => Err(format!(
            "`{}` is not an e-mail address (for example ops@example.org)",
            shown(text)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law 10: an address goes into a header and a user into a command line.
    #[test]
    fn nothing_but_names_and_addresses_passes() {
        for good in ["ops@example.org", "o'hara+cb@mail", "root@localhost"] {
            assert_eq!(check_email(good), Ok(()));
        }
        for bad in [
            "",
            "ops",
            "@x",
            "a@",
            "-a@b",
            "a b@c",
            "a@b\nBcc: c@d",
            "a@b,c@d",
            "A <a@b>",
        ] {
            assert!(check_email(bad).is_err(), "{bad}");
        }
        assert!(check_user_name("www-data").is_ok());
        assert!(check_user_name("-x").is_err() && check_user_name("a b").is_err());
    }
}
