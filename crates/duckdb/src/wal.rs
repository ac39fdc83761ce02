//! Whether a write-ahead log is whole, read without DuckDB.
//!
//! DuckDB takes a log that it cannot read for one that was never finished: it
//! opens the database without it and cuts it off at the next write. After a
//! crash that is right for the last transaction, which nobody was told is
//! done. For a log that was damaged later it would lose what was committed, so
//! such a log is found here first.
//!
//! A log is a short header and then entries: length, checksum, content. The
//! entry that ends a transaction is always the same 21 bytes. If what cannot be
//! read is followed by those bytes, something committed lies behind damage.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::Error;
use crate::files;
use crate::limits::Watch;

/// What every log of the versions 2 and 3 begins with; the version follows.
const BEGIN: &[u8] = &[100, 0, 98, 101, 0];
const FIELD_END: &[u8] = &[0xff, 0xff];
/// No header is longer than this.
const MAX_HEADER: usize = 128;
/// Length and checksum of an entry.
const PREFIX: u64 = 16;
/// The content of the entry that ends a transaction.
const FLUSH: &[u8] = &[100, 0, 100, 0xff, 0xff];
/// Divisible by 8, as the checksum goes by words.
const CHUNK: usize = 64 * 1024;

/// Checks the log at `wal`, which must exist and not be open in DuckDB.
pub(crate) fn check(wal: &Path, watch: &Watch) -> Result<(), Error> {
    let file = files::open(wal)?;
    let damage = inspect(file, &mut || watch.check().is_ok())
        .map_err(|source| Error::io("reading", wal, source))?;
    watch.check()?;
    match damage {
        None => Ok(()),
        Some(detail) => Err(Error::Wal {
            wal: wal.to_owned(),
            detail,
        }),
    }
}

/// What is wrong with the log in `file`; `None` if all that was committed can
/// be read. Ends early when `go_on` says no.
fn inspect(file: File, go_on: &mut dyn FnMut() -> bool) -> io::Result<Option<String>> {
    let length = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(CHUNK, file);
    let mut first = Vec::new();
    (&mut reader)
        .take(MAX_HEADER as u64)
        .read_to_end(&mut first)?;
    let Some(mut at) = header_length(&first) else {
        let cut_off = first.len() < BEGIN.len() + 3 && first.iter().zip(BEGIN).all(|(a, b)| a == b);
        return Ok((!cut_off).then(|| "it does not begin as a log does".to_owned()));
    };
    reader.seek(SeekFrom::Start(at))?;
    while go_on() && at < length {
        match entry(&mut reader, length - at)? {
            Some(size) => at += size,
            None => {
                let behind = contains_flush(&mut reader, at, go_on)?;
                return Ok(behind.then(|| {
                    format!("the entry at byte {at} is damaged, and committed ones follow it")
                }));
            }
        }
    }
    Ok(None)
}

/// Where the header ends: it is a list of fields that ends with two bytes 255.
fn header_length(first: &[u8]) -> Option<u64> {
    let version = *first.strip_prefix(BEGIN)?.first()?;
    if !(2..=3).contains(&version) {
        return None;
    }
    let end = first
        .windows(FIELD_END.len())
        .position(|bytes| bytes == FIELD_END)?;
    Some((end + FIELD_END.len()) as u64)
}

/// Reads one entry; how long it is, or `None` if it is cut off or damaged.
fn entry(reader: &mut impl Read, remaining: u64) -> io::Result<Option<u64>> {
    if remaining < PREFIX {
        return Ok(None);
    }
    let size = word(reader)?;
    let expected = word(reader)?;
    if size == 0 || size > remaining - PREFIX {
        return Ok(None);
    }
    let mut sum = Checksum::new();
    let mut left = size;
    let mut chunk = vec![0; CHUNK];
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        reader.read_exact(&mut chunk[..length])?;
        sum.add(&chunk[..length]);
        left -= length as u64;
    }
    Ok((sum.0 == expected).then_some(PREFIX + size))
}

fn word(reader: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    reader.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Whether the end of a transaction lies anywhere from `at` on.
fn contains_flush(
    reader: &mut (impl Read + Seek),
    at: u64,
    go_on: &mut dyn FnMut() -> bool,
) -> io::Result<bool> {
    let mut sum = Checksum::new();
    sum.add(FLUSH);
    let mut flush = (FLUSH.len() as u64).to_le_bytes().to_vec();
    flush.extend(sum.0.to_le_bytes());
    flush.extend(FLUSH);

    reader.seek(SeekFrom::Start(at))?;
    let mut window: Vec<u8> = Vec::new();
    while go_on() {
        // The last bytes stay, for what lies across two chunks.
        let kept = window.len().min(flush.len() - 1);
        window.drain(..window.len() - kept);
        if reader.take(CHUNK as u64).read_to_end(&mut window)? == 0 {
            return Ok(false);
        }
        if window.windows(flush.len()).any(|bytes| bytes == flush) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// DuckDB's checksum, which all but the last call of [`Checksum::add`] must
/// feed with a multiple of eight bytes.
struct Checksum(u64);

impl Checksum {
    fn new() -> Checksum {
        Checksum(5381)
    }

    fn add(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.0 ^= u64::from_le_bytes(*word).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        }
        if !rest.is_empty() {
            self.0 ^= remainder(rest);
        }
    }
}

/// The last one to seven bytes go by a MurmurHash.
fn remainder(rest: &[u8]) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    let mut hash = 0xe17a_1465 ^ (rest.len() as u64).wrapping_mul(M);
    for (at, byte) in rest.iter().enumerate() {
        hash ^= u64::from(*byte) << (8 * at);
    }
    hash = hash.wrapping_mul(M);
    hash ^= hash >> 47;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 47)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use duckdb::Connection;

    use super::*;

    /// A log of DuckDB's own with `rows` transactions.
    fn log(rows: usize) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.duckdb");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch("PRAGMA disable_checkpoint_on_shutdown; CREATE TABLE t (a VARCHAR)")
            .unwrap();
        for row in 0..rows {
            let sql = format!("INSERT INTO t VALUES (repeat('x', {}))", row * 1000 + row);
            connection.execute_batch(&sql).unwrap();
        }
        connection.close().unwrap();
        fs::read(folder.path().join("t.duckdb.wal")).unwrap()
    }

    fn damage(content: &[u8]) -> Option<String> {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, content).unwrap();
        file.rewind().unwrap();
        inspect(file, &mut || true).unwrap()
    }

    #[test]
    fn a_log_is_whole_wherever_a_crash_cut_it() {
        let log = log(9);
        assert!(log.len() > 30_000, "{}", log.len());
        for length in (1..log.len()).step_by(97).chain([log.len()]) {
            assert_eq!(damage(&log[..length]), None, "{length}");
        }
        let mut garbage_behind = log.clone();
        garbage_behind.extend([b'?'; 100]);
        assert_eq!(damage(&garbage_behind), None);
    }

    #[test]
    fn a_flipped_bit_before_the_last_commit_is_damage() {
        let log = log(9);
        for at in (0..log.len() - 30).step_by(97) {
            let mut flipped = log.clone();
            flipped[at] ^= 4;
            assert!(damage(&flipped).is_some(), "{at}");
        }
    }

    #[test]
    fn what_is_no_log_is_damage() {
        for content in [&b"garbage"[..], &[0; 5000], b"d\0be\0\x09\xff\xff", b"x"] {
            assert!(damage(content).is_some(), "{content:?}");
        }
    }
}
