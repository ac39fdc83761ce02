//! Validated scalars: every name, path and value that a person writes.
//!
//! A value of one of these types is safe in the places it is used in (law 10:
//! untrusted text never reaches a root-parsed file raw). Validation happens
//! where the value enters, in `TryFrom<String>`, which serde goes through; the
//! error says what is wrong and what would be right. Rendering still quotes.

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
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[derive(serde::Serialize, serde::Deserialize)]
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
            type Error = $crate::types::InvalidValue;
            fn try_from(text: String) -> Result<Self, $crate::types::InvalidValue> {
                match $check(&text) {
                    Ok(()) => Ok(Self(text)),
                    Err(message) => Err($crate::types::InvalidValue(message)),
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::types::InvalidValue;
            fn from_str(text: &str) -> Result<Self, $crate::types::InvalidValue> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let mut schema = schemars::json_schema!($schema);
                schema.insert($crate::types::SCALAR.into(), stringify!($name).into());
                schema
            }
        }
    };
}

mod amount;
mod contact;
mod label;
mod line;
mod listen;
mod name;
mod path;
mod secret;
mod source;

pub use amount::{Cpu, DiskSpace, Memory};
pub use contact::{EmailAddress, UserName};
pub use label::{check_label_key, check_label_value};
pub use line::{Argument, EnvName, EnvValue};
pub use listen::{ListenAddress, LoopbackAddress};
pub use name::{DomainName, GroupName, MAX_TENANT_NAME, ObjectName, TenantName, UnitName, Version};
pub use path::{HostPath, HttpUrl, ReleasePath, UrlPath};
pub use secret::{AgePath, CredentialName, SopsKey, SopsPath, is_sealed_file};
pub use source::{
    BackupId, BucketName, CommitId, GitRef, GitUrl, RepositoryPath, Sha256, TableName,
};

/// Checks a text as the type of this name would, without making one. `None`
/// if there is no such type.
pub(crate) fn check_scalar(name: &str, text: &str) -> Option<Result<(), InvalidValue>> {
    let checked = match name {
        "TenantName" => name::check_tenant_name(text),
        "ObjectName" => name::check_object_name(text),
        "Version" => name::check_version(text),
        "DomainName" => name::check_domain(text),
        "EnvName" => line::check_env_name(text),
        "EnvValue" => line::check_env_value(text),
        "HostPath" => path::check_host_path(text),
        "ReleasePath" => path::check_release_path(text),
        "Argument" => line::check_argument(text),
        "CredentialName" => secret::check_credential_name(text),
        "AgePath" => secret::check_age_path(text),
        "SopsPath" => secret::check_sops_path(text),
        "SopsKey" => secret::check_sops_key(text),
        "UrlPath" => path::check_url_path(text),
        "HttpUrl" => path::check_http_url(text),
        "Sha256" => source::check_sha256(text),
        "Memory" => amount::check_memory(text),
        "DiskSpace" => amount::check_disk_space(text),
        "Cpu" => amount::check_cpu(text),
        "UnitName" => name::check_unit_name(text),
        "GroupName" => name::check_group_name(text),
        "UserName" => contact::check_user_name(text),
        "EmailAddress" => contact::check_email(text),
        "GitUrl" => source::check_git_url(text),
        "GitRef" => source::check_git_ref(text),
        "RepositoryPath" => source::check_repository_path(text),
        "CommitId" => source::check_commit(text),
        "TableName" => source::check_table(text),
        "BucketName" => source::check_bucket(text),
        "ListenAddress" => listen::check_listen_address(text),
        "LoopbackAddress" => listen::check_loopback_address(text),
        "BackupId" => source::check_backup_id(text),
        _ => return None,
    };
    Some(checked.map_err(InvalidValue))
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

#[cfg(test)]
mod tests {
    use super::*;

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
