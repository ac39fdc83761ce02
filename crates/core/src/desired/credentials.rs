//! What a tenant's secrets come to: variables for its `.env`, credentials for
//! its units, and a digest of both that may be kept.
//!
//! A credential is delivered through a file of the operator in the tenant's
//! folder, and not from its source: so services start with the last good value
//! while the source is missing or damaged, and with the operator gone (law 7).

use std::fmt::Write as _;
use std::path::PathBuf;

use super::dotenv;
use super::{DesireError, Inputs};
use crate::api::{EnvFromSource, SecretDelivery, SecretRef};
use crate::digest;
use crate::layout::Layout;
use crate::manifest::check::reserved_env;
use crate::secret::{Opened, SecretSource, SecretValue};
use crate::types::{CredentialName, EnvName, EnvValue};

/// How much systemd gives one service in credentials, in bytes.
const MAX_TOTAL: usize = 1 << 20;

/// A file that services load a credential from. It is root's, has mode 0400,
/// and no mark: its bytes are the service's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its name in `$CREDENTIALS_DIRECTORY`.
    pub name: CredentialName,
    /// The file, directly in the tenant's folder of credentials.
    pub path: PathBuf,
    /// What is in the file.
    pub content: SecretValue,
    /// Whether systemd decrypts it when a service starts.
    pub encrypted: bool,
}

impl Credential {
    /// Permission bits of the file.
    pub const MODE: u32 = 0o400;

    /// The digest of the file's content. It is compared and never kept.
    #[must_use]
    pub fn digest(&self) -> String {
        digest::of_content(self.content.reveal())
    }
}

/// What a tenant's secrets come to.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    /// Variables for `.env`, in the order of the manifest.
    pub(super) variables: Vec<(EnvName, String)>,
    /// Credentials, in the order of the manifest.
    pub(super) credentials: Vec<Credential>,
    /// The fingerprints of all, each with what it is delivered as.
    fingerprints: Vec<String>,
}

impl Delivered {
    /// Opens a tenant's secrets.
    ///
    /// # Errors
    /// The first that cannot be delivered; none is then.
    pub(super) fn of(inputs: Inputs<'_>) -> Result<Self, DesireError> {
        let mut out = Self::default();
        let spec = &inputs.tenant.spec;
        for (n, secret) in spec.secret_refs.iter().enumerate() {
            out.secret(inputs, secret)
                .map_err(|reason| DesireError::Secret {
                    field: format!("spec.secretRefs[{n}]"),
                    name: secret.name.to_string(),
                    source_file: shown(SecretSource::of(secret)),
                    reason,
                })?;
        }
        for (n, from) in spec.env_from.iter().enumerate() {
            out.variables(inputs, from)
                .map_err(|reason| DesireError::Variables {
                    field: format!("spec.envFrom[{n}]"),
                    source_file: shown(SecretSource::of_env(from)),
                    reason,
                })?;
        }
        Ok(out)
    }

    fn secret(&mut self, inputs: Inputs<'_>, secret: &SecretRef) -> Result<(), String> {
        let source = SecretSource::of(secret).ok_or("it names no source")?;
        let (content, value) = match opened(inputs, &source)? {
            Opened::Content(content) => (content, content),
            Opened::Credential { sealed, value } => (sealed, value),
            Opened::Values(values) => {
                let key = secret.sops.as_ref().map_or("", |sops| sops.key.as_str());
                let found = values.iter().find(|(place, _)| place == key);
                let (_, value) = found.ok_or_else(|| format!("it has no value at `{key}`"))?;
                (value, value)
            }
        };
        if secret.delivery == SecretDelivery::Environment {
            let name = secret.name.as_str().parse();
            let name = name.map_err(|_| "its name is not that of a variable".to_owned())?;
            self.variables.push((name, one_line(value.reveal())?));
            let (name, value) = (&secret.name, value.fingerprint());
            self.fingerprints.push(format!("{name}={value}"));
            return Ok(());
        }
        let encrypted = matches!(source, SecretSource::Credential { .. });
        let folder = Layout::new(&inputs.host.spec).credentials(&inputs.tenant.metadata.name);
        let file = match encrypted {
            true => format!("{}.cred", secret.name),
            false => secret.name.to_string(),
        };
        let fingerprint = content.fingerprint();
        self.fingerprints
            .push(format!("{} {fingerprint}", secret.name));
        self.credentials.push(Credential {
            name: secret.name.clone(),
            path: folder.join(file),
            content: content.clone(),
            encrypted,
        });
        let sizes = self.credentials.iter().map(|c| c.content.reveal().len());
        match sizes.sum::<usize>() {
            size if size > MAX_TOTAL => Err(format!(
                "with it the tenant's credentials have {size} bytes; systemd gives a service at most {MAX_TOTAL}"
            )),
            _ => Ok(()),
        }
    }

    fn variables(&mut self, inputs: Inputs<'_>, from: &EnvFromSource) -> Result<(), String> {
        let source = SecretSource::of_env(from).ok_or("it names no source")?;
        match opened(inputs, &source)? {
            Opened::Content(content) | Opened::Credential { value: content, .. } => {
                for (name, value) in dotenv::parse(content.reveal())? {
                    self.variable(inputs, name, value.as_bytes())?;
                }
                self.fingerprints.push(content.fingerprint().to_owned());
            }
            Opened::Values(values) => {
                for (place, value) in values {
                    // The place is no secret: SOPS leaves keys as they are.
                    let name = place.parse().map_err(|_| {
                        format!("`{place}` is not the name of a variable; it must be a flat file of variables")
                    })?;
                    self.variable(inputs, name, value.reveal())?;
                    let value = value.fingerprint();
                    self.fingerprints.push(format!("{place}={value}"));
                }
            }
        }
        Ok(())
    }

    fn variable(&mut self, inputs: Inputs<'_>, name: EnvName, value: &[u8]) -> Result<(), String> {
        if let Some(who) = reserved_env(name.as_str()) {
            return Err(format!("`{name}` is set by {who}; choose another name"));
        }
        let in_env = inputs.tenant.spec.env.contains_key(&name);
        if in_env || self.variables.iter().any(|(other, _)| *other == name) {
            return Err(format!("`{name}` is set elsewhere in the manifest too"));
        }
        let value = one_line(value).map_err(|reason| format!("`{name}`: {reason}"))?;
        self.variables.push((name, value));
        Ok(())
    }

    /// What is kept of the environment and the credentials: the digest of the
    /// environment's text without secrets, and the fingerprints of these.
    pub(super) fn revision(&self, env: &str) -> String {
        if self.fingerprints.is_empty() {
            return digest::of_content(env.as_bytes());
        }
        let fingerprints = self.fingerprints.iter().map(String::as_bytes);
        digest::of_parts(std::iter::once(env.as_bytes()).chain(fingerprints))
    }
}

/// The settings of a unit that load these credentials.
pub(super) fn settings(credentials: &[Credential]) -> String {
    let mut out = String::new();
    for credential in credentials {
        let setting = match credential.encrypted {
            true => "LoadCredentialEncrypted",
            false => "LoadCredential",
        };
        let (name, path) = (&credential.name, credential.path.display());
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{setting}={name}:{path}");
    }
    out
}

fn shown(source: Option<SecretSource>) -> String {
    source.map_or_else(String::new, |source| source.to_string())
}

fn opened<'a>(inputs: Inputs<'a>, source: &SecretSource) -> Result<&'a Opened, String> {
    match inputs.secrets.get(source) {
        Some(Ok(opened)) => Ok(opened),
        Some(Err(reason)) => Err(reason.clone()),
        None => Err("it was not read".to_owned()),
    }
}

/// The text of a value for `.env`, without a final line break.
///
/// # Errors
/// It is no line of text. The reason does not quote it (law 11).
fn one_line(value: &[u8]) -> Result<String, String> {
    let wrong = || "it must hold one line of text without control characters".to_owned();
    let text = std::str::from_utf8(value).map_err(|_| wrong())?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    // The type's check, without its message: that may quote the value.
    match text.parse::<EnvValue>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(wrong()),
    }
}
