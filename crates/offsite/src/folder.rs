//! What a folder as a destination needs beside the object store's interface:
//! closed permissions, durable removal, and no leftovers.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use cb_core::backup::Backup;

use crate::error::Error;

/// Checks that the folder is there and closed: what is copied holds secrets.
pub(crate) fn check(path: &Path, name: &str) -> Result<(), Error> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::NoDestination {
                destination: name.to_owned(),
            });
        }
        Err(error) => return Err(Error::local("look at", path)(error)),
    };
    let wrong = |problem: String| Error::Settings {
        field: "folder",
        problem,
    };
    if !metadata.is_dir() {
        return Err(wrong(format!("{} is not a folder", path.display())));
    }
    let own = rustix::process::geteuid().as_raw();
    if ![0, own].contains(&metadata.uid()) {
        return Err(wrong(format!(
            "{} belongs to the user {}; it must be the operator's own",
            path.display(),
            metadata.uid()
        )));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o027 != 0 {
        return Err(wrong(format!(
            "{} is open to others (mode {mode:04o}) and copies hold secrets; set its mode to 0700, for a mount by its options",
            path.display()
        )));
    }
    Ok(())
}

/// Takes away files that an interrupted upload left in a copy's folder. They
/// have no name of a backup's file.
pub(crate) fn remove_staged(copy: &Path) -> Result<(), Error> {
    let entries = match std::fs::read_dir(copy) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::local("list", copy)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(Error::local("list", copy))?;
        if entry.file_name().as_encoded_bytes().contains(&b'#') {
            let path = entry.path();
            std::fs::remove_file(&path).map_err(Error::local("remove", &path))?;
        }
    }
    Ok(())
}

/// The names of the folders in a folder; none if it is missing.
pub(crate) fn subfolders(path: &Path) -> Result<Vec<String>, Error> {
    let listed = |error| Error::local("list", path)(error);
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(listed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(listed)?;
        if entry.file_type().map_err(listed)?.is_dir() {
            names.extend(entry.file_name().into_string());
        }
    }
    Ok(names)
}

/// Removes a copy's description, durably, and then the copy. Returns whether
/// anything was there.
pub(crate) fn remove_copy(copy: &Path) -> Result<bool, Error> {
    let description = copy.join(Backup::DESCRIPTION);
    match std::fs::remove_file(&description) {
        Ok(()) => sync(copy)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::local("remove", &description)(error)),
    }
    match std::fs::remove_dir_all(copy) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::local("remove", copy)(error)),
    }
    if let Some(parent) = copy.parent() {
        sync(parent)?;
    }
    Ok(true)
}

/// Makes a folder's entries survive a power cut.
pub(crate) fn sync(folder: &Path) -> Result<(), Error> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(Error::local("sync", folder))
}
