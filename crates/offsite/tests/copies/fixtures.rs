//! Backups to copy, and how to look at what came back.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use cb_core::types::{BackupId, TenantName};
use cb_offsite::PART;
use tempfile::TempDir;

/// The size of the database in [`large_backup`]: two parts and a bit.
pub(crate) const DATABASE: usize = 2 * PART as usize + 1234;

pub(crate) fn tenant(name: &str) -> TenantName {
    name.parse().unwrap()
}

pub(crate) fn id(text: &str) -> BackupId {
    text.parse().unwrap()
}

/// A backup with an empty file and small ones. `seed` makes its content its
/// own.
pub(crate) fn backup(seed: u8) -> TempDir {
    backup_of(seed, 100_000)
}

/// A backup with a file of several parts beside them.
pub(crate) fn large_backup() -> TempDir {
    backup_of(1, DATABASE)
}

fn backup_of(seed: u8, size: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
    // Not the same in any two parts, which may not be mixed up.
    let words = (u32::from(seed)..).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes());
    let database: Vec<u8> = words.flatten().take(size).collect();
    write("database.duckdb", &database);
    write("database.duckdb.wal", b"");
    write("env", format!("SECRET=of-{seed}\n").as_bytes());
    write("backup.yaml", format!("id: x\nseed: {seed}\n").as_bytes());
    folder
}

/// The size of all files of a folder.
pub(crate) fn size(folder: &Path) -> u64 {
    contents(folder)
        .values()
        .map(|content| content.len() as u64)
        .sum()
}

/// All files of a folder.
pub(crate) fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    });
    entries.collect()
}

/// The names in a folder; none if it is missing.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// A folder that is closed to others, as a destination has to be.
pub(crate) fn closed_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    folder
}

/// Changes one byte in the middle of a file and nothing about its size.
pub(crate) fn flip(path: &PathBuf) {
    let mut content = fs::read(path).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(path, content).unwrap();
}
