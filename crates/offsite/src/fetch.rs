//! Bringing a copy back to the host.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use cb_core::backup::Backup;
use cb_core::types::{BackupId, TenantName};
use object_store::ObjectStoreExt as _;
use object_store::path::Path as Key;
use rustix::fs::{CWD, RenameFlags};

use crate::destination::{Destination, Objects};
use crate::error::Error;
use crate::folder::sync;
use crate::source::blocking;
use crate::sums::{MAX_SUMS, SUMS, Sums};

/// What [`Destination::fetch`] brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    /// The size of all files.
    pub bytes: u64,
}

impl Destination {
    /// Brings a whole copy back as the new folder `into`, which its owner alone
    /// can read (0700, files 0600). It is made beside, as
    /// `.cb-fetch-NAME`, and gets its name when all checksums were compared and
    /// everything is on disk; what an interrupted call left there is replaced.
    /// The folder that `into` is to be in must exist, and no other call may
    /// fetch to the same place.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no whole copy; [`Error::Exists`] if
    /// `into` is there; [`Error::Damaged`] if a file is missing or is not what
    /// was sent; [`Error::Local`]; what the destination answers.
    pub async fn fetch(
        &self,
        tenant: &TenantName,
        id: &BackupId,
        into: &Path,
    ) -> Result<Fetched, Error> {
        let place = Place::new(into)?;
        let objects = self.objects(tenant, id).await?;
        if !objects.contains_key(Backup::DESCRIPTION) {
            return Err(self.not_found(tenant, id));
        }
        let copy = self.copy_key(tenant, id);
        let sums = self.sums(&copy, &objects).await?;
        let prepared = place.clone();
        blocking(move || prepared.prepare()).await?;
        let brought = self.bring(&copy, &objects, &sums, &place).await;
        let finished = blocking(move || {
            // The first failure is the one to tell.
            let named = brought.and_then(|bytes| place.publish().map(|()| bytes));
            named.inspect_err(|_| drop(place.discard()))
        });
        Ok(Fetched {
            bytes: finished.await?,
        })
    }

    /// Reads the checksums of a copy.
    async fn sums(&self, copy: &Key, objects: &Objects) -> Result<Sums, Error> {
        let key = copy.clone().join(SUMS);
        let meta = objects.get(SUMS);
        let meta = meta.ok_or_else(|| self.damaged(&key, "it is missing"))?;
        if meta.size > MAX_SUMS {
            return Err(self.damaged(&key, "it is too long for a list of checksums"));
        }
        let text = self.store.get_range(&key, 0..meta.size).await;
        let text = text.map_err(|error| self.failed("read a file", &error))?;
        let sums = Sums::parse(&text).filter(|sums| {
            let mut names = sums.0.keys();
            names.any(|name| name.as_str() == Backup::DESCRIPTION)
        });
        sums.ok_or_else(|| self.damaged(&key, "it is not a list of checksums of a backup"))
    }

    /// Writes all files of a copy into the folder that is made for it.
    async fn bring(
        &self,
        copy: &Key,
        objects: &Objects,
        sums: &Sums,
        place: &Place,
    ) -> Result<u64, Error> {
        let mut bytes = 0;
        for (name, sum) in &sums.0 {
            let key = copy.clone().join(name.as_str());
            let meta = objects.get(name.as_str());
            let meta = meta.ok_or_else(|| self.damaged(&key, "it is missing"))?;
            let path = place.beside.join(name.as_str());
            let to = path.clone();
            let file = blocking(move || create(&to)).await;
            let file = file.map_err(Error::local("write", &path))?;
            let found = self.read_back(&key, meta.size, Some((file, path))).await?;
            if found != *sum {
                let problem = format!("its SHA-256 should be {sum} and is {found}");
                return Err(self.damaged(&key, problem));
            }
            bytes += meta.size;
        }
        Ok(bytes)
    }
}

/// Where a copy is brought to.
#[derive(Clone)]
struct Place {
    into: PathBuf,
    parent: PathBuf,
    /// The folder that is filled before it gets its name.
    beside: PathBuf,
}

impl Place {
    fn new(into: &Path) -> Result<Self, Error> {
        let name = into.file_name().zip(into.parent());
        let (name, parent) = name.ok_or_else(|| {
            let no_name = io::Error::from(io::ErrorKind::InvalidFilename);
            Error::local("make", into)(no_name)
        })?;
        let mut hidden = std::ffi::OsString::from(".cb-fetch-");
        hidden.push(name);
        Ok(Self {
            into: into.to_owned(),
            parent: parent.to_owned(),
            beside: parent.join(hidden),
        })
    }

    fn prepare(&self) -> Result<(), Error> {
        match std::fs::symlink_metadata(&self.into) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::local("look at", &self.into)(error)),
            Ok(_) => return Err(self.exists()),
        }
        self.discard()?;
        let made = DirBuilder::new().mode(0o700).create(&self.beside);
        made.map_err(Error::local("make", &self.beside))
    }

    fn publish(&self) -> Result<(), Error> {
        sync(&self.beside)?;
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(CWD, &self.beside, CWD, &self.into, flags) {
            Ok(()) => sync(&self.parent),
            Err(rustix::io::Errno::EXIST) => Err(self.exists()),
            Err(error) => Err(Error::local("make", &self.into)(error.into())),
        }
    }

    fn discard(&self) -> Result<(), Error> {
        match std::fs::remove_dir_all(&self.beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::local("remove", &self.beside)(error))
            }
            _ => Ok(()),
        }
    }

    fn exists(&self) -> Error {
        Error::Exists {
            path: self.into.clone(),
        }
    }
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)
}
