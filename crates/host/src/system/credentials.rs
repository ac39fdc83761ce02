//! The files that services load credentials from.

use std::io;
use std::path::{Path, PathBuf};

use cb_core::desired::Credential;
use cb_core::status::ProblemReason;
use cb_core::types::TenantName;

use super::SystemHost;
use super::execute::blocking;
use crate::ActionError;
use crate::files::{self, FileCache, FileError, FileSpec};

impl SystemHost {
    /// Writes the file whole. The planner names its place; that it is in the
    /// tenant's folder is guarded once more (law 3).
    pub(super) async fn write_credential(
        &self,
        tenant: &TenantName,
        credential: &Credential,
    ) -> Result<(), ActionError> {
        let path = self.guarded(tenant, &credential.path)?;
        let content = credential.content.clone();
        blocking(move || {
            let spec = FileSpec::own(Credential::MODE);
            Ok(files::write(&path, content.reveal(), spec)?)
        })
        .await
    }

    pub(super) async fn remove_credential(
        &self,
        tenant: &TenantName,
        path: &Path,
    ) -> Result<(), ActionError> {
        let path = self.guarded(tenant, path)?;
        blocking(move || Ok(files::remove(&path).map(drop)?)).await
    }

    fn guarded(&self, tenant: &TenantName, path: &Path) -> Result<PathBuf, ActionError> {
        let folder = self.layout().credentials(tenant);
        match path.parent() == Some(&folder) && path.file_name().is_some() {
            true => Ok(path.to_owned()),
            false => Err(ActionError {
                reason: ProblemReason::Conflict,
                message: format!("{} is not in {}", path.display(), folder.display()),
                transient: false,
            }),
        }
    }
}

/// What is in the folder of a tenant's credentials; nothing if there is none.
/// What a killed writer left is not looked at.
pub(super) fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let shown = names.filter(|name| !name.as_encoded_bytes().starts_with(b"."));
    shown.map(|name| folder.join(name)).collect()
}

/// The properties of a transient unit that load what is in the folder, as the
/// tenant's services do.
pub(crate) fn properties(folder: &Path) -> Vec<(&'static str, Vec<(String, String)>)> {
    let mut plain = Vec::new();
    let mut encrypted = Vec::new();
    for path in entries(folder) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let (list, name) = match name.strip_suffix(".cred") {
            Some(name) => (&mut encrypted, name),
            None => (&mut plain, &*name),
        };
        list.push((name.to_owned(), path.to_string_lossy().into_owned()));
    }
    let all = [
        ("LoadCredential", plain),
        ("LoadCredentialEncrypted", encrypted),
    ];
    all.into_iter()
        .filter(|(_, list)| !list.is_empty())
        .collect()
}

/// Moves the folder of a tenant's credentials into that of a backup, which may
/// be on another file system.
pub(super) fn archive(folder: &Path, to: &Path) -> Result<(), FileError> {
    let files = entries(folder);
    if !files.is_empty() {
        files::ensure_dir(to, FileSpec::own(0o700))?;
    }
    for file in files {
        let content = FileCache::content(&file)?;
        let name = file.file_name().unwrap_or_default();
        files::write(&to.join(name), &content, FileSpec::own(Credential::MODE))?;
        files::remove(&file)?;
    }
    match std::fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::io("remove the folder", folder, error))
        }
        _ => Ok(()),
    }
}
