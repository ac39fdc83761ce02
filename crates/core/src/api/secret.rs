//! Secrets of a tenant: where they come from and how they are delivered.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::{AgePath, CredentialName, HostPath, SopsKey, SopsPath};

/// A secret. It has one source: `file`, `credential`, `age` or `sops`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRef {
    /// The secret's name: of the file in `$CREDENTIALS_DIRECTORY` and, with
    /// `delivery: Environment`, of the variable.
    pub name: CredentialName,
    /// A file on the host that root alone can read and that holds the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<HostPath>,
    /// A file on the host that `systemd-creds encrypt --name=NAME` made on this
    /// host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<HostPath>,
    /// A file next to the manifest that is encrypted with age for one of the
    /// host's keys; its content is the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<AgePath>,
    /// A value of a file next to the manifest that SOPS encrypted with age for
    /// one of the host's keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sops: Option<SopsValue>,
    /// How the services get it. Default `Credential`.
    #[serde(default, skip_serializing_if = "SecretDelivery::is_default")]
    pub delivery: SecretDelivery,
}

/// A value of a SOPS file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SopsValue {
    /// The file.
    pub file: SopsPath,
    /// The value's place in it.
    pub key: SopsKey,
}

/// How services get a secret.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SecretDelivery {
    /// As a credential of systemd: a service reads the file
    /// `$CREDENTIALS_DIRECTORY/NAME`, which no other user can. It has the bytes
    /// of the source.
    #[default]
    Credential,
    /// As an environment variable in the tenant's `.env`. It must be one line
    /// of text; a final line break is removed.
    Environment,
}

impl SecretDelivery {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// An encrypted file of environment variables. It has one source: `age` or
/// `sops`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvFromSource {
    /// A file of `NAME=VALUE` lines next to the manifest, encrypted with age
    /// for one of the host's keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<AgePath>,
    /// A file next to the manifest that SOPS encrypted with age for one of the
    /// host's keys. Each value in it is a variable, named by its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sops: Option<SopsPath>,
}

/// How secrets are decrypted on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Secrets {
    /// The host's private age keys, as `age-keygen` writes them: a file of root
    /// with mode 0600. Default `/etc/cb/age.key`. It is read when a tenant has
    /// a secret that is encrypted with age.
    pub age_identity_file: HostPath,
}

impl Default for Secrets {
    fn default() -> Self {
        let file = "/etc/cb/age.key".parse();
        Self {
            age_identity_file: file.expect("a valid constant"),
        }
    }
}
