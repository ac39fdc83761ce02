//! Reads secrets from where they are and decrypts them.
//!
//! ```text
//! file:        a file that root alone can read
//! credential:  systemd decrypts it, in a transient unit (it may need the TPM)
//! age:, sops:  beside the manifest; decrypted here, with the host's age keys
//! ```
//!
//! What was decrypted stays in memory while its file stays as it is: a pass
//! that finds nothing new decrypts nothing. Files beside manifests are written
//! by whoever may push to their repository: no symbolic link is followed there
//! and nothing outside the folder of manifests is read (law 10). No error
//! quotes a secret or a key (law 11).

mod age;
mod file;
mod sops;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cb_core::api::HostSpec;
use cb_core::layout::Layout;
use cb_core::observed::Scope;
use cb_core::secret::{FingerprintKey, Opened, SecretSource, SecretValue};
use cb_core::types::{CredentialName, TenantName};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::HostError;
use crate::files::{self, FileError, FileSpec, Stamp, chain};
use crate::systemd::{End, Systemd, Transient};
use age::Identities;

pub(crate) use file::SecretFile;
pub use file::{SecretFileError, read_secret};

/// How long systemd may take to decrypt a credential; a TPM is slow.
const DECRYPT: Duration = Duration::from_secs(60);
/// How many credentials are decrypted at once.
const AT_ONCE: usize = 4;
/// How a credential comes back from the unit that systemd gave it to.
const CAT: &str = "/bin/cat";

type Read = Result<Opened, String>;

/// The secrets of all tenants.
#[derive(Debug)]
pub(crate) struct Secrets {
    key: FingerprintKey,
    identity_file: PathBuf,
    /// The folder of manifests; it may be a link.
    manifests: PathBuf,
    systemd: Systemd,
    known: Mutex<HashMap<TenantName, BTreeMap<SecretSource, Known>>>,
    turns: Semaphore,
    runs: AtomicUsize,
}

/// What was read of a file and is so still.
#[derive(Debug, Clone)]
struct Known {
    file: Stamp,
    /// Of the host's keys, if they were needed.
    identities: Option<Stamp>,
    read: Read,
}

impl Secrets {
    /// Reads the key of fingerprints, or makes it.
    ///
    /// # Errors
    /// It cannot be read or made.
    pub(crate) fn start(spec: &HostSpec, systemd: Systemd) -> Result<Self, HostError> {
        let layout = Layout::new(spec);
        Ok(Self {
            key: fingerprint_key(&layout.fingerprint_key())?,
            identity_file: spec.secrets.age_identity_file.as_str().into(),
            manifests: layout.manifests(),
            systemd,
            known: Mutex::default(),
            turns: Semaphore::new(AT_ONCE),
            runs: AtomicUsize::new(0),
        })
    }

    /// Reads all of a tenant's sources. An error says why one cannot be read.
    pub(crate) async fn open(&self, scope: &Scope) -> BTreeMap<SecretSource, Read> {
        let mut before = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.remove(&scope.tenant).unwrap_or_default()
        };
        let mut read = BTreeMap::new();
        let mut now = BTreeMap::new();
        for source in &scope.secrets {
            let known = before.remove(source);
            match self.one(source, &scope.manifest_folder, known).await {
                Ok(known) => {
                    read.insert(source.clone(), known.read.clone());
                    now.insert(source.clone(), known);
                }
                Err(reason) => drop(read.insert(source.clone(), Err(reason))),
            }
        }
        if !now.is_empty() {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(scope.tenant.clone(), now);
        }
        read
    }

    /// # Errors
    /// The file cannot be read. That it cannot be decrypted is part of
    /// [`Known`].
    async fn one(
        &self,
        source: &SecretSource,
        folder: &Path,
        before: Option<Known>,
    ) -> Result<Known, String> {
        let opened = match source {
            SecretSource::File(path) | SecretSource::Credential { file: path, .. } => {
                SecretFile::open(path)
            }
            SecretSource::Age(_) | SecretSource::Sops(_) => {
                let below = folder.join(source.beside().unwrap_or_default());
                SecretFile::open_below(&self.manifests, &below)
            }
        };
        let opened = opened.map_err(|error| chain(&error))?;
        let (file, path) = (opened.stamp(), opened.path().to_owned());
        let needs_keys = matches!(source, SecretSource::Age(_) | SecretSource::Sops(_));
        let identities = needs_keys.then(|| self.stamp_of_keys()).flatten();
        // What failed is tried again: it may have been systemd, or a TPM.
        if let Some(known) = before.filter(|known| {
            let same = known.file == file && known.identities == identities;
            same && known.read.is_ok() && file.is_settled()
        }) {
            return Ok(known);
        }
        if let SecretSource::File(_) = source {
            opened.check_private().map_err(|error| chain(&error))?;
        }
        let content = opened.content().map_err(|error| chain(&error))?;
        let read = self.decrypt(source, &path, &content).await;
        let read = read.map_err(|reason| match reason.starts_with('/') {
            true => reason,
            false => format!("{}: {reason}", path.display()),
        });
        Ok(Known {
            file,
            identities,
            read,
        })
    }

    async fn decrypt(&self, source: &SecretSource, path: &Path, content: &[u8]) -> Read {
        let value = |bytes: &[u8]| SecretValue::new(bytes, &self.key);
        match source {
            // Somebody is about to write it, or something went wrong.
            SecretSource::File(_) if content.trim_ascii().is_empty() => {
                Err("it is empty".to_owned())
            }
            SecretSource::File(_) => Ok(Opened::Content(value(content))),
            SecretSource::Credential { name, .. } => Ok(Opened::Credential {
                sealed: value(content),
                value: value(&self.credential(name, path).await?),
            }),
            SecretSource::Age(_) => {
                let plain = self.identities()?.decrypt(content)?;
                Ok(Opened::Content(value(&plain)))
            }
            SecretSource::Sops(name) => {
                let identities = self.identities()?;
                let unwrap = |sealed: &[u8]| identities.decrypt(sealed);
                let values = sops::open(name.as_str(), content, unwrap)?;
                let values = values.into_iter();
                Ok(Opened::Values(
                    values.map(|(at, plain)| (at, value(&plain))).collect(),
                ))
            }
        }
    }

    fn stamp_of_keys(&self) -> Option<Stamp> {
        let stat = rustix::fs::lstat(&self.identity_file).ok()?;
        Some(Stamp::of(&stat))
    }

    fn identities(&self) -> Result<Identities, String> {
        let path = &self.identity_file;
        let wrong = |problem: String| format!("{}: {problem}", path.display());
        let content = read_secret(path).map_err(|error| match &error {
            SecretFileError::File(missing) if missing.is_not_found() => wrong(
                "there is no such file; `age-keygen -o` makes the host's key there (Host: secrets.ageIdentityFile)"
                    .to_owned(),
            ),
            _ => chain(&error),
        })?;
        Identities::parse(&content).map_err(wrong)
    }

    /// Has systemd decrypt a credential, as it does for a service: what it
    /// refuses here it would refuse there, and take a service down for it.
    async fn credential(
        &self,
        name: &CredentialName,
        path: &Path,
    ) -> Result<Zeroizing<Vec<u8>>, String> {
        // It is never closed.
        let _turn = self
            .turns
            .acquire()
            .await
            .map_err(|error| error.to_string())?;
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let unit = format!("cb_credential_{run}.service");
        let from = (name.to_string(), path.to_string_lossy().into_owned());
        let transient = Transient::new(&unit, Path::new(CAT), DECRYPT)
            .description("Campaign Brain decrypts a credential")
            .property("LoadCredentialEncrypted", vec![from])
            .arg(format!("/run/credentials/{unit}/{name}"))
            .sandbox();
        let outcome = self.systemd.run(&transient).await;
        let outcome = outcome.map_err(|error| chain(&error))?;
        match outcome.end {
            End::Exited(0) => Ok(Zeroizing::new(outcome.stdout)),
            _ => Err(format!(
                "systemd does not decrypt it as `{name}` on this host; `systemd-creds decrypt --name={name} {} -` says why",
                path.display()
            )),
        }
    }
}

/// The key of fingerprints. If it is lost, all tenants with secrets are
/// restarted once.
fn fingerprint_key(path: &Path) -> Result<FingerprintKey, HostError> {
    let failed = |error: FileError| HostError(chain(&error));
    match SecretFile::open(path) {
        Ok(file) => {
            let content = file.content().map_err(failed)?;
            let key = content.as_slice().try_into().map_err(|_| {
                let message = format!(
                    "{} has {} bytes instead of 32; remove it, and a new one is made",
                    path.display(),
                    content.len()
                );
                HostError(message)
            })?;
            Ok(FingerprintKey::new(key))
        }
        Err(error) if error.is_not_found() => {
            let source = Path::new("/dev/urandom");
            let mut key = [0; 32];
            File::open(source)
                .and_then(|mut random| random.read_exact(&mut key))
                .map_err(|error| failed(FileError::io("read", source, error)))?;
            files::write(path, &key, FileSpec::own(0o600)).map_err(failed)?;
            Ok(FingerprintKey::new(key))
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests;
