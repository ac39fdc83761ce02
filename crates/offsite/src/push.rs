//! Sending a backup to the destination.

use std::path::Path;

use bytes::Bytes;
use cb_core::backup::Backup;
use cb_core::types::{BackupId, TenantName};
use object_store::path::Path as Key;

use crate::destination::{Destination, Objects};
use crate::error::Error;
use crate::folder;
use crate::source::{Source, blocking};
use crate::sums::{FileName, MAX_SUMS, SUMS, sum_of};

/// What [`Destination::push`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// The backup was copied, or a half or damaged copy of it made whole.
    Copied {
        /// The size of the files that were sent. Those of a half copy that were
        /// there and right already are not counted.
        bytes: u64,
    },
    /// There was a whole copy already, and it was left alone.
    AlreadyThere,
}

/// How what is at the destination relates to the backup on the host.
enum Standing {
    /// Nothing, or a part of a copy.
    Unfinished,
    /// A whole copy of this backup.
    Whole,
    /// A copy of this backup that lost something.
    Damaged,
    /// A copy of another backup.
    Different,
}

impl Destination {
    /// Copies a backup: the folder `folder` of the host. Every file is read
    /// back and compared before the copy counts as whole. A copy that is whole
    /// already is known by its checksums, its description and the sizes of its
    /// objects; the others are not read again.
    ///
    /// # Errors
    /// [`Error::NotABackup`] for a folder that is not one;
    /// [`Error::Different`] if another backup has that name there;
    /// [`Error::Damaged`] if the destination does not give back what it was
    /// sent; what the destination answers.
    pub async fn push(
        &self,
        tenant: &TenantName,
        id: &BackupId,
        folder: &Path,
    ) -> Result<Pushed, Error> {
        let source = Source::read(folder).await?;
        let sums = source.sums().render();
        let mut objects = self.objects(tenant, id).await?;
        let copy = self.copy_key(tenant, id);
        match self.standing(&source, &sums, &copy, &objects).await? {
            Standing::Whole => return Ok(Pushed::AlreadyThere),
            Standing::Different => {
                return Err(Error::Different {
                    destination: self.name().to_owned(),
                    tenant: tenant.clone(),
                    id: id.clone(),
                });
            }
            Standing::Damaged => {
                self.remove(&copy.clone().join(Backup::DESCRIPTION)).await?;
                objects.remove(Backup::DESCRIPTION);
            }
            Standing::Unfinished => {}
        }
        if let Some(folder) = self.copy_folder(tenant, id) {
            blocking(move || folder::remove_staged(&folder)).await?;
        }
        let mut bytes = 0;
        let last = &source.description;
        for name in source.files.keys().filter(|name| *name != last) {
            bytes += self.send(&source, name, &copy, &objects).await?;
        }
        let key = copy.clone().join(SUMS);
        let (size, sum) = (sums.len() as u64, sum_of(sums.as_bytes()));
        self.put(&key, Bytes::from(sums)).await?;
        self.confirm(&key, size, &sum).await?;
        bytes += self.send(&source, last, &copy, &objects).await?;
        Ok(Pushed::Copied { bytes })
    }

    async fn standing(
        &self,
        source: &Source,
        sums: &str,
        copy: &Key,
        objects: &Objects,
    ) -> Result<Standing, Error> {
        let name = &source.description;
        let Some(description) = objects.get(name.as_str()) else {
            return Ok(Standing::Unfinished);
        };
        let listed = match objects.get(SUMS) {
            Some(meta) if meta.size <= MAX_SUMS => {
                let key = copy.clone().join(SUMS);
                let found = self.read_back(&key, meta.size, None).await?;
                Some(found == sum_of(sums.as_bytes()))
            }
            Some(_) => Some(false),
            None => None,
        };
        let ours = &source.files[name];
        let described = description.size == ours.size && {
            let key = copy.clone().join(name.as_str());
            self.read_back(&key, ours.size, None).await? == ours.sha256
        };
        let complete = source.files.iter().all(|(name, file)| {
            let there = objects.get(name.as_str());
            there.is_some_and(|meta| meta.size == file.size)
        });
        Ok(match (listed, described) {
            (Some(true), true) if complete => Standing::Whole,
            // One of the two names the backup; the other may be what was lost.
            (Some(true), _) | (None, true) => Standing::Damaged,
            (Some(false), _) | (None, false) => Standing::Different,
        })
    }

    /// Sends a file, unless it is there and right. Returns how much was sent.
    async fn send(
        &self,
        source: &Source,
        name: &FileName,
        copy: &Key,
        objects: &Objects,
    ) -> Result<u64, Error> {
        let file = &source.files[name];
        let key = copy.clone().join(name.as_str());
        let there = objects.get(name.as_str());
        if there.is_some_and(|meta| meta.size == file.size)
            && self.read_back(&key, file.size, None).await? == file.sha256
        {
            return Ok(0);
        }
        self.upload(&key, &source.path(name), file.size).await?;
        self.confirm(&key, file.size, &file.sha256).await?;
        Ok(file.size)
    }

    /// Reads an object back that was just sent. One that is not what was sent
    /// is taken away: it may be a description, which would call the copy whole.
    async fn confirm(&self, key: &Key, size: u64, sha256: &str) -> Result<(), Error> {
        let problem = match self.stored_size(key).await? {
            Some(stored) if stored == size => {
                let found = self.read_back(key, size, None).await?;
                if found == sha256 {
                    return Ok(());
                }
                format!("sent with the SHA-256 {sha256}, it came back with {found}")
            }
            Some(stored) => format!("of {size} bytes that were sent, {stored} are there"),
            None => "it was sent and is not there".to_owned(),
        };
        self.remove(key).await?;
        Err(self.damaged(key, problem))
    }
}
