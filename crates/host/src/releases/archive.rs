//! Archives: checked against their checksum, then unpacked by hand, so that
//! nothing in them is taken at its word.
//!
//! The archive is opened once: what is unpacked is what was checked, even if
//! the file is replaced meanwhile, and a file that is changed in place is
//! noticed by a second checksum over what was unpacked.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _};
use std::path::{Component, Path, PathBuf};

use data_encoding::HEXLOWER;
use flate2::read::MultiGzDecoder;
use sha2::{Digest as _, Sha256};
use tar::EntryType;

use super::ReleaseError;
use super::tree::{Builder, hostile, open_plain, unreadable};

/// Unpacks an archive that has this checksum.
pub(super) fn unpack(
    path: &Path,
    expected: &str,
    builder: &mut Builder,
) -> Result<(), ReleaseError> {
    let mut file = File::open(path).map_err(|e| unreadable(path, e))?;
    let strip = survey(path, expected, &mut file)?;
    file.rewind().map_err(|e| unreadable(path, e))?;
    let mut hashing = Hashing::new(file);
    each_entry(path, &mut hashing, |entry, name| {
        extract(path, entry, name, strip.as_deref(), builder)
    })?;
    hashing.check(path, expected)
}

/// Unpacks an archive that was just made, as it is.
pub(super) fn unpack_as_is(path: &Path, builder: &mut Builder) -> Result<(), ReleaseError> {
    let file = open_plain(path).map_err(|e| unreadable(path, e))?;
    each_entry(path, file, |entry, name| {
        extract(path, entry, name, None, builder)
    })
}

/// Checks the checksum and finds the one top-level folder, if there is one.
fn survey(path: &Path, expected: &str, file: &mut File) -> Result<Option<PathBuf>, ReleaseError> {
    let mut hashing = Hashing::new(&mut *file);
    io::copy(&mut hashing, &mut io::sink()).map_err(|e| unreadable(path, e))?;
    hashing.check(path, expected)?;
    file.rewind().map_err(|e| unreadable(path, e))?;
    let mut top: Option<PathBuf> = None;
    let mut single = true;
    let mut entries: u64 = 0;
    each_entry(path, file, |entry, name| {
        entries += 1;
        let mut parts = name.components();
        let Some(first) = parts.next() else {
            return Ok(());
        };
        let first = Path::new(&first).to_owned();
        // A file at the top keeps it as it is.
        single &= parts.next().is_some() || entry.header().entry_type() == EntryType::Directory;
        single &= top.get_or_insert_with(|| first.clone()) == &first;
        Ok(())
    })?;
    if entries == 0 {
        let problem = io::Error::new(io::ErrorKind::InvalidData, "the archive is empty");
        return Err(unreadable(path, problem));
    }
    Ok(top.filter(|_| single))
}

/// Hands over every entry of a `.tar` or `.tar.gz` with its cleaned name.
fn each_entry<R: Read>(
    path: &Path,
    reader: R,
    mut work: impl FnMut(&mut tar::Entry<'_, Box<dyn Read + '_>>, &Path) -> Result<(), ReleaseError>,
) -> Result<(), ReleaseError> {
    let failed = |error: io::Error| unreadable(path, error);
    let mut reader = BufReader::with_capacity(256 << 10, reader);
    let magic = io::BufRead::fill_buf(&mut reader).map_err(failed)?;
    let plain: Box<dyn Read + '_> = if magic.starts_with(&[0x1f, 0x8b]) {
        Box::new(MultiGzDecoder::new(reader))
    } else {
        Box::new(reader)
    };
    let mut archive = tar::Archive::new(plain);
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let name = entry.path().map_err(failed)?.into_owned();
        // `./bin/x` is `bin/x`; `./` is the release itself.
        let parts = name.components().filter(|part| *part != Component::CurDir);
        let name: PathBuf = parts.collect();
        work(&mut entry, &name)?;
    }
    // To the very end, for the checksum over what was read.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(failed)?;
    Ok(())
}

fn extract<R: Read>(
    path: &Path,
    entry: &mut tar::Entry<'_, R>,
    name: &Path,
    strip: Option<&Path>,
    builder: &mut Builder,
) -> Result<(), ReleaseError> {
    let inside = match strip {
        Some(top) => name.strip_prefix(top).unwrap_or(name).to_owned(),
        None => name.to_owned(),
    };
    if inside.as_os_str().is_empty() {
        return Ok(());
    }
    let header = entry.header();
    let mode = header.mode().map_err(|e| unreadable(path, e))?;
    match header.entry_type() {
        EntryType::Directory => builder.folder(path, &inside),
        EntryType::Regular | EntryType::Continuous => {
            Builder::check_mode(path, name, mode)?;
            builder.file(path, &inside, mode, entry)
        }
        EntryType::Symlink => {
            let target = entry.link_name().map_err(|e| unreadable(path, e))?;
            let target = target.ok_or_else(|| hostile(path, name, "is a link to nothing"))?;
            builder.link(path, &inside, &target)
        }
        EntryType::XGlobalHeader => Ok(()),
        EntryType::Link => Err(hostile(
            path,
            name,
            "is a hard link; use a copy or a symbolic link",
        )),
        _ => Err(hostile(path, name, "is no file, folder or link")),
    }
}

/// A reader that digests what passes.
struct Hashing<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Hashing<R> {
    fn new(inner: R) -> Self {
        let hasher = Sha256::new();
        Self { inner, hasher }
    }

    fn check(mut self, path: &Path, expected: &str) -> Result<(), ReleaseError> {
        io::copy(&mut self, &mut io::sink()).map_err(|e| unreadable(path, e))?;
        let found = HEXLOWER.encode(&self.hasher.finalize());
        if found == expected {
            return Ok(());
        }
        Err(ReleaseError::Checksum {
            path: path.to_owned(),
            expected: expected.to_owned(),
            found,
        })
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
