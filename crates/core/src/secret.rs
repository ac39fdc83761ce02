//! Secret values, where they come from, and what may be kept of them.
//!
//! ```text
//! TenantSpec ─▶ SecretSource ─▶ (the host reads and decrypts) ─▶ Opened ─▶ .env, credentials
//! ```
//!
//! A [`SecretValue`] has no way into a log, a message or a manifest. What is
//! recorded of it is its fingerprint, which tells nothing without the host's
//! key (law 11).

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::api::{EnvFromSource, SecretRef, TenantSpec};
use crate::types::{AgePath, CredentialName, SopsPath};

/// The key of fingerprints: random, and kept by the host alone. Without it a
/// short secret cannot be guessed from its fingerprint.
#[derive(Clone)]
pub struct FingerprintKey(Zeroizing<[u8; 32]>);

impl FingerprintKey {
    /// A key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// HMAC-SHA-256 of a value; 64 hexadecimal digits.
    fn of(&self, value: &[u8]) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0[..]).expect("HMAC takes a key of any length");
        mac.update(value);
        HEXLOWER.encode(&mac.finalize().into_bytes())
    }
}

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(key)")
    }
}

/// A secret value. It has no way into a log, a message or a manifest.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue {
    value: Zeroizing<Vec<u8>>,
    fingerprint: String,
}

impl SecretValue {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: impl Into<Vec<u8>>, key: &FingerprintKey) -> Self {
        let value = Zeroizing::new(value.into());
        Self {
            fingerprint: key.of(&value),
            value,
        }
    }

    /// The value, for the file that delivers it and nothing else.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.value
    }

    /// What tells whether the value is another one, and nothing else of it.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A file that secrets come from. Relative paths are those of manifests: they
/// are below the folder of the manifest that names them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretSource {
    /// A file that root alone can read.
    File(PathBuf),
    /// A credential that systemd encrypted under this name.
    Credential {
        /// The name.
        name: CredentialName,
        /// The file.
        file: PathBuf,
    },
    /// A file next to the manifest that is encrypted with age.
    Age(AgePath),
    /// A file next to the manifest that SOPS encrypted.
    Sops(SopsPath),
}

impl SecretSource {
    /// The source of a secret; `None` if the secret names none, which
    /// validation refuses.
    #[must_use]
    pub fn of(secret: &SecretRef) -> Option<Self> {
        if let Some(file) = &secret.file {
            return Some(Self::File(file.as_str().into()));
        }
        if let Some(file) = &secret.credential {
            return Some(Self::Credential {
                name: secret.name.clone(),
                file: file.as_str().into(),
            });
        }
        if let Some(file) = &secret.age {
            return Some(Self::Age(file.clone()));
        }
        let sops = secret.sops.as_ref()?;
        Some(Self::Sops(sops.file.clone()))
    }

    /// The source of environment variables; `None` if it names none.
    #[must_use]
    pub fn of_env(from: &EnvFromSource) -> Option<Self> {
        let age = || from.age.clone().map(Self::Age);
        from.sops.clone().map(Self::Sops).or_else(age)
    }

    /// All sources of a tenant.
    #[must_use]
    pub fn all(spec: &TenantSpec) -> BTreeSet<Self> {
        let secrets = spec.secret_refs.iter().filter_map(Self::of);
        let variables = spec.env_from.iter().filter_map(Self::of_env);
        secrets.chain(variables).collect()
    }

    /// The path relative to the manifest's folder, if it is next to it.
    #[must_use]
    pub fn beside(&self) -> Option<&str> {
        match self {
            Self::File(_) | Self::Credential { .. } => None,
            Self::Age(file) => Some(file.as_str()),
            Self::Sops(file) => Some(file.as_str()),
        }
    }
}

/// The file, as it was written.
impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) | Self::Credential { file, .. } => write!(f, "{}", file.display()),
            Self::Age(file) => write!(f, "{file}"),
            Self::Sops(file) => write!(f, "{file}"),
        }
    }
}

/// What was read from a source, decrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// The content of a file.
    Content(SecretValue),
    /// A credential that systemd encrypted: the file as it is, and what is in
    /// it.
    Credential {
        /// The encrypted file.
        sealed: SecretValue,
        /// The secret.
        value: SecretValue,
    },
    /// The values of a SOPS file by their places, in the order of the file. No
    /// place is there twice.
    Values(Vec<(String, SecretValue)>),
}

impl Opened {
    /// The parts of the secrets in it that a program may print as a line.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        let secrets: Vec<&SecretValue> = match self {
            Self::Content(value) | Self::Credential { value, .. } => vec![value],
            Self::Values(values) => values.iter().map(|(_, value)| value).collect(),
        };
        let lines: Vec<&str> = secrets
            .into_iter()
            .filter_map(|secret| std::str::from_utf8(secret.reveal()).ok())
            .flat_map(str::lines)
            // A file of variables: a value may be printed without its name.
            .flat_map(|line| [Some(line), line.split_once('=').map(|(_, value)| value)])
            .flatten()
            .map(|part| part.trim().trim_matches('"'))
            .filter(|part| !part.is_empty())
            .collect();
        lines.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law 11: what is kept tells one value from another and nothing else.
    #[test]
    fn a_fingerprint_needs_the_hosts_key_and_nothing_shows_a_value() {
        let (one, other) = (FingerprintKey::new([1; 32]), FingerprintKey::new([2; 32]));
        let of = |value: &str, key| SecretValue::new(value, key).fingerprint().to_owned();
        assert_eq!(of("1234", &one), of("1234", &one));
        assert_ne!(of("1234", &one), of("1235", &one));
        assert_ne!(of("1234", &one), of("1234", &other));
        let secret = SecretValue::new("hunter2", &one);
        let opened = Opened::Values(vec![("a".into(), secret.clone())]);
        let shown = format!("{secret:?} {opened:?} {one:?} {}", secret.fingerprint());
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn what_may_be_printed_is_each_line_and_each_variables_value() {
        let key = FingerprintKey::new([1; 32]);
        let content = Opened::Content(SecretValue::new("A=one two\nB=\"three\"\n\n", &key));
        let lines: Vec<&str> = content.lines().collect();
        assert_eq!(lines, ["A=one two", "one two", "B=\"three", "three"]);
        let binary = Opened::Content(SecretValue::new([0xff, 0xfe], &key));
        assert_eq!(binary.lines().count(), 0);
    }
}
