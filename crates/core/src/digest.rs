//! Short digests that tell whether two texts are the same.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// The SHA-256 of the parts, each preceded by its length so that moving bytes
/// between parts changes the digest; 64 hexadecimal digits.
#[must_use]
pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    HEXLOWER.encode(&hasher.finalize())
}

/// The SHA-256 of one text; 64 hexadecimal digits. Files are compared by it.
#[must_use]
pub fn of_content(content: &[u8]) -> String {
    of_parts([content])
}
