//! The first bytes of a DuckDB file, read without DuckDB.
//!
//! A checksum, the letters `DUCK`, the storage version, four flags, and the
//! version and commit of the library that wrote the file.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use serde::Serialize;

use crate::error::Error;

const MAGIC: &[u8; 4] = b"DUCK";
const MAGIC_AT: usize = 8;
const VERSION_AT: usize = 12;
const LIBRARY_AT: usize = 52;
const LIBRARY_LENGTH: usize = 32;
const LENGTH: usize = LIBRARY_AT + LIBRARY_LENGTH;
/// What is reserved for the header; a file that is shorter was cut off.
const RESERVED: u64 = 3 * 4096;
/// The storage versions that DuckDB 1.5 reads (1.0 wrote 64).
const READABLE: std::ops::RangeInclusive<u64> = 64..=68;

/// What a file says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Header {
    /// The number of the storage format.
    pub(crate) storage_version: u64,
    /// The version of DuckDB that wrote the file, like `v1.5.6`.
    pub(crate) duckdb_version: String,
}

/// Reads the header of the file at `path`, which must not be open in DuckDB in
/// this process: closing it here would give up DuckDB's lock.
pub(crate) fn read(path: &Path) -> Result<Header, Error> {
    let io = |source| Error::io("reading", path, source);
    let file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let mut bytes = [0; LENGTH];
    match (&file).read_exact(&mut bytes) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
        other => other.map_err(io)?,
    }
    parse(&bytes, length).map_err(|reason| Error::NotADatabase {
        path: path.to_owned(),
        reason,
    })
}

fn parse(bytes: &[u8; LENGTH], length: u64) -> Result<Header, String> {
    if length == 0 {
        return Err("it is empty".to_owned());
    }
    if &bytes[MAGIC_AT..VERSION_AT] != MAGIC {
        return Err("it does not begin as a DuckDB file does".to_owned());
    }
    if length < RESERVED {
        return Err(format!("it was cut off after {length} bytes"));
    }
    let mut version = [0; 8];
    version.copy_from_slice(&bytes[VERSION_AT..VERSION_AT + 8]);
    let storage_version = u64::from_le_bytes(version);
    let library: Vec<u8> = bytes[LIBRARY_AT..]
        .iter()
        .copied()
        .take_while(|byte| *byte != 0)
        .collect();
    let header = Header {
        storage_version,
        duckdb_version: String::from_utf8_lossy(&library).into_owned(),
    };
    if !READABLE.contains(&storage_version) {
        return Err(format!(
            "it has storage version {storage_version}, and this program reads {} to {}",
            READABLE.start(),
            READABLE.end()
        ));
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(version: u64) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[MAGIC_AT..VERSION_AT].copy_from_slice(MAGIC);
        bytes[VERSION_AT..VERSION_AT + 8].copy_from_slice(&version.to_le_bytes());
        bytes[LIBRARY_AT..LIBRARY_AT + 6].copy_from_slice(b"v1.5.6");
        bytes
    }

    #[test]
    fn a_header_names_its_versions() {
        let header = parse(&bytes(64), 1 << 20).unwrap();
        assert_eq!(header.storage_version, 64);
        assert_eq!(header.duckdb_version, "v1.5.6");
    }

    #[test]
    fn what_is_no_header_is_refused_with_the_reason() {
        for (bytes, length, words) in [
            ([0; LENGTH], 0, "empty"),
            ([7; LENGTH], 1 << 20, "does not begin"),
            (bytes(64), 5000, "cut off after 5000"),
            (bytes(63), 1 << 20, "storage version 63"),
            (bytes(999), 1 << 20, "storage version 999"),
        ] {
            let reason = parse(&bytes, length).unwrap_err();
            assert!(reason.contains(words), "{reason}");
        }
    }
}
