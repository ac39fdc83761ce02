//! The copies of a tenant: listing them and taking them away.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use cb_core::backup::Backup;
use cb_core::types::{BackupId, TenantName};
use jiff::Timestamp;
use object_store::ObjectStoreExt as _;
use object_store::path::Path as Key;

use crate::destination::{Destination, Objects};
use crate::error::Error;
use crate::folder;
use crate::source::blocking;
use crate::sums::SUMS;

/// A whole copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The backup.
    pub id: BackupId,
    /// The size of all its objects.
    pub bytes: u64,
    /// When the copy became whole, by the destination's clock, to the second.
    pub copied: Timestamp,
}

/// What [`Destination::expire`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expired {
    /// The copies that were taken away.
    pub deleted: Vec<BackupId>,
    /// A copy that was not to be kept and is, because it is the last whole one.
    pub spared: Option<BackupId>,
}

impl Destination {
    /// The whole copies of a tenant, in the order of their identifiers.
    ///
    /// # Errors
    /// What the destination answers.
    pub async fn list(&self, tenant: &TenantName) -> Result<Vec<Entry>, Error> {
        let copies = self.copies(tenant).await?;
        Ok(copies.iter().filter_map(entry).collect())
    }

    /// Takes a copy away, whole or not. Returns whether anything was there.
    ///
    /// # Errors
    /// What the destination answers.
    pub async fn delete(&self, tenant: &TenantName, id: &BackupId) -> Result<bool, Error> {
        let mut objects = self.objects(tenant, id).await?;
        if let Some(copy) = self.copy_folder(tenant, id) {
            return blocking(move || folder::remove_copy(&copy)).await;
        }
        let there = !objects.is_empty();
        let description = objects.remove(Backup::DESCRIPTION);
        for meta in description.iter().chain(objects.values()) {
            self.remove(&meta.location).await?;
        }
        Ok(there)
    }

    /// Takes away all copies of a tenant but those to keep, and half copies
    /// with them. If none of those to keep has a whole copy, the newest whole
    /// copy stays as well: to take away the last one takes a
    /// [`Destination::delete`].
    ///
    /// # Errors
    /// What the destination answers; some copies may be gone by then.
    pub async fn expire(
        &self,
        tenant: &TenantName,
        keep: &BTreeSet<BackupId>,
    ) -> Result<Expired, Error> {
        let copies = self.copies(tenant).await?;
        let whole: Vec<BackupId> = copies.iter().filter_map(entry).map(|e| e.id).collect();
        let kept = whole.iter().any(|id| keep.contains(id));
        // Later identifiers sort after earlier ones.
        let spared = whole.last().filter(|_| !kept).cloned();
        let mut expired = Expired {
            deleted: Vec::new(),
            spared,
        };
        for id in copies.into_keys() {
            if keep.contains(&id) || expired.spared.as_ref() == Some(&id) {
                continue;
            }
            self.delete(tenant, &id).await?;
            expired.deleted.push(id);
        }
        Ok(expired)
    }

    /// All copies of a tenant, also half ones. What has no name of a copy is
    /// not ours.
    async fn copies(&self, tenant: &TenantName) -> Result<BTreeMap<BackupId, Objects>, Error> {
        let mut copies: BTreeMap<BackupId, Objects> = BTreeMap::new();
        for (path, meta) in self.list_below(&self.tenant_key(tenant)).await? {
            if let Some((id, name)) = path.split_once('/')
                && let Ok(id) = id.parse()
            {
                copies.entry(id).or_default().insert(name.to_owned(), meta);
            }
        }
        if let Some(root) = &self.folder {
            // One that an upload was interrupted in can have no object yet.
            let folder = root.join(tenant.as_str());
            for name in blocking(move || folder::subfolders(&folder)).await? {
                if let Ok(id) = name.parse() {
                    copies.entry(id).or_default();
                }
            }
        }
        Ok(copies)
    }

    /// The folder of a copy, if the destination is a folder.
    pub(crate) fn copy_folder(&self, tenant: &TenantName, id: &BackupId) -> Option<PathBuf> {
        let root = self.folder.as_ref()?;
        Some(root.join(tenant.as_str()).join(id.as_str()))
    }

    /// Removes an object, if it is there.
    pub(crate) async fn remove(&self, key: &Key) -> Result<(), Error> {
        match self.store.delete(key).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("delete a copy", &error)),
        }
    }
}

fn entry((id, objects): (&BackupId, &Objects)) -> Option<Entry> {
    let description = objects.get(Backup::DESCRIPTION)?;
    objects.get(SUMS)?;
    Some(Entry {
        id: id.clone(),
        bytes: objects.values().map(|meta| meta.size).sum(),
        copied: Timestamp::from_second(description.last_modified.timestamp()).ok()?,
    })
}
