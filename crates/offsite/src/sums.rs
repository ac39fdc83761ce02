//! The names and checksums of a backup's files: `SHA256SUMS`, as `sha256sum`
//! writes and checks it.

use std::collections::BTreeMap;
use std::fmt;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// The object that holds the checksums of all others.
pub(crate) const SUMS: &str = "SHA256SUMS";

/// The longest list of checksums that is read; a backup has a handful of files.
pub(crate) const MAX_SUMS: u64 = 64 * 1024;

/// The name of a file in a backup: letters, digits, `.`, `_` and `-`, not
/// starting with `.` or `-`, so that it is one part of a path and of a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileName(String);

impl FileName {
    pub(crate) fn new(text: &str) -> Option<Self> {
        let ok = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let fits = (1..=128).contains(&text.len()) && !text.starts_with(['.', '-']);
        (fits && text.chars().all(ok)).then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The checksum of each file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sums(pub(crate) BTreeMap<FileName, String>);

impl Sums {
    pub(crate) fn render(&self) -> String {
        let line = |(name, sum): (&FileName, &String)| format!("{sum}  {name}\n");
        self.0.iter().map(line).collect()
    }

    /// `None` if the text is not exactly what [`Sums::render`] writes.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        let line = |line: &str| {
            let (sum, name) = line.split_once("  ")?;
            let is_sum = sum.len() == 64 && sum.chars().all(hex);
            is_sum.then_some((FileName::new(name)?, sum.to_owned()))
        };
        let sums = Self(text.lines().map(line).collect::<Option<_>>()?);
        (sums.render() == text).then_some(sums)
    }
}

/// Computes a SHA-256 piece by piece.
#[derive(Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// 64 hexadecimal digits.
    pub(crate) fn finish(self) -> String {
        HEXLOWER.encode(&self.0.finalize())
    }
}

/// The SHA-256 of a whole text.
pub(crate) fn sum_of(bytes: &[u8]) -> String {
    let mut hasher = Hasher::default();
    hasher.update(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        let names = [
            "backup.yaml",
            "database.duckdb",
            "database.duckdb.wal",
            "env",
        ];
        let sums = names.map(|name| (FileName::new(name).unwrap(), sum_of(name.as_bytes())));
        let sums = Sums(sums.into());
        let text = sums.render();
        assert_eq!(Sums::parse(text.as_bytes()), Some(sums));
        let sum = sum_of(b"");
        for bad in [
            format!("{sum}  ../env\n"),
            format!("{sum}  /etc/shadow\n"),
            format!("{sum}  a/b\n"),
            format!("{sum}  env\n{sum}  env\n"),
            format!("{sum}  env"),
            format!("{sum} env\n"),
            format!("{}  env\n", sum.to_uppercase()),
            format!("{}  env\n", &sum[1..]),
            text[1..].to_owned(),
        ] {
            assert_eq!(Sums::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Sums::parse(b"\xff"), None);
    }

    #[test]
    fn names_that_leave_their_folder_are_refused() {
        let long = "a".repeat(129);
        for bad in [
            "", ".", "..", ".hidden", "-rf", "a/b", "a\\b", "a b", "a\n", "a#1", "é", &long,
        ] {
            assert_eq!(FileName::new(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_sum_is_that_of_sha256sum() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sum_of(b""), empty);
    }
}
