//! Where everything lives that is kept between runs: never in the checkout.

use std::env;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::HostError;

/// The cache folder: `CB_CACHE_DIR`, else `cb-operator` in the user's cache.
///
/// # Errors
/// The environment names no home.
pub fn dir() -> Result<PathBuf, HostError> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(dir) = set("CB_CACHE_DIR") {
        return Ok(dir.into());
    }
    let base = match (set("XDG_CACHE_HOME"), set("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => Path::new(&home).join(".cache"),
        (None, None) => return Err(HostError::NoCache),
    };
    Ok(base.join("cb-operator"))
}

/// The root of the checkout that this program runs for. Cargo says where at run
/// time; where the program was compiled says nothing, because checkouts share a
/// target folder.
///
/// # Panics
/// The program runs neither by cargo nor in a checkout.
#[must_use]
pub fn checkout() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let start = package
        .or_else(|| env::current_dir().ok())
        .unwrap_or_default();
    let root = start
        .ancestors()
        .find(|folder| folder.join("rust-toolchain.toml").exists());
    root.expect("the program is run by cargo, or in a checkout")
        .to_owned()
}

/// What `cargo xtask build` made of this checkout, for binding into a host.
/// Checkouts share a cache, so each has a folder of its own.
#[derive(Debug, Clone)]
pub struct Artifacts {
    /// The programs: `cb-operator`, `cbctl`, …, and what they load.
    pub bin: PathBuf,
    /// The example application's releases: one folder per version.
    pub releases: PathBuf,
}

impl Artifacts {
    /// The folders for this checkout; they need not exist yet.
    ///
    /// # Errors
    /// There is no cache folder.
    pub fn of_this_checkout() -> Result<Artifacts, HostError> {
        let key = short_hash(&[checkout().as_os_str().as_encoded_bytes()]);
        let folder = dir()?.join("artifacts").join(key);
        Ok(Artifacts {
            bin: folder.join("bin"),
            releases: folder.join("releases"),
        })
    }
}

/// A short name for content: the same parts give the same name.
#[must_use]
pub fn short_hash(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    HEXLOWER.encode(&hash.finalize()[..6])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_tells_where_a_part_ends() {
        assert_ne!(short_hash(&[b"ab", b"c"]), short_hash(&[b"a", b"bc"]));
        assert_eq!(short_hash(&[b"a"]).len(), 12);
    }

    #[test]
    fn the_checkout_has_the_workspace() {
        assert!(checkout().join("Cargo.toml").exists());
        assert!(checkout().join("crates/testhost").exists());
    }
}
