//! Files that SOPS (<https://getsops.io>) encrypted, with age as the keeper of
//! the data key.
//!
//! ```text
//! text ─▶ tree (leaves in order, metadata) ─▶ data key (age) ─▶ values (AES-256-GCM) ─▶ MAC
//! ```
//!
//! Each value is bound to its place by its additional data; the MAC binds all
//! values and their order together. Nothing of a file is used unless its MAC
//! is right. What must not live here: which of the values are used.

mod tree;
mod value;

#[cfg(test)]
mod tests;

use sha2::{Digest as _, Sha512};
use zeroize::Zeroizing;

use tree::{Leaf, Scalar, Tree};

/// Starts the MAC of a file of which only encrypted values are in it: the
/// SHA-256 of `sops`.
const ONLY_ENCRYPTED: &[u8] = b"sops";

/// A decrypted value and its place, see `spec.secretRefs[].sops.key`.
pub(super) type Value = (String, Zeroizing<Vec<u8>>);

/// Decrypts a file of this name. `unwrap` decrypts the data key with the host's
/// age keys.
///
/// # Errors
/// The first thing that is wrong. It quotes no value (law 11).
pub(super) fn open(
    name: &str,
    content: &[u8],
    unwrap: impl Fn(&[u8]) -> Result<Zeroizing<Vec<u8>>, String>,
) -> Result<Vec<Value>, String> {
    let text = std::str::from_utf8(content).map_err(|_| "it is not UTF-8 text")?;
    let tree = match name.ends_with(".env") {
        true => tree::of_dotenv(text)?,
        false => tree::of_yaml(text)?,
    };
    let key = data_key(&tree, unwrap)?;
    let mut hash = Sha512::new();
    if tree.mac_only_encrypted {
        hash.update(sha2::Sha256::digest(ONLY_ENCRYPTED));
    }
    let mut out: Vec<Value> = Vec::new();
    for leaf in &tree.leaves {
        let (value, encrypted) = open_leaf(leaf, &key)?;
        let counts = encrypted || !tree.mac_only_encrypted;
        if counts {
            hash.update(&value.hashed);
        }
        if out.iter().any(|(place, _)| *place == leaf.place) {
            return Err(format!("two values have the place `{}`", leaf.place));
        }
        // What the MAC does not cover, anybody may have put there.
        if counts {
            out.push((leaf.place.clone(), value.shown));
        }
    }
    let mac = value::decrypt(&tree.mac, &key, &tree.last_modified)
        .map_err(|reason| format!("sops.mac: {reason}"))?;
    let wanted: String = hash.finalize().iter().map(|b| format!("{b:02X}")).collect();
    // Both are known to whoever can decrypt the file: no time to hide.
    if *mac.bytes != wanted.as_bytes() {
        return Err("it was changed after it was encrypted: its MAC is not right".to_owned());
    }
    Ok(out)
}

/// The key that values are encrypted with, from the first age recipient that
/// is one of the host's keys.
fn data_key(
    tree: &Tree,
    unwrap: impl Fn(&[u8]) -> Result<Zeroizing<Vec<u8>>, String>,
) -> Result<Zeroizing<[u8; 32]>, String> {
    if tree.recipients.is_empty() {
        return Err(
            "it has no age recipient; add the host's public key to the SOPS file's recipients"
                .to_owned(),
        );
    }
    let mut last = String::new();
    for sealed in &tree.recipients {
        match unwrap(sealed.as_bytes()) {
            Ok(key) => {
                let key: [u8; 32] = key
                    .as_slice()
                    .try_into()
                    .map_err(|_| format!("its data key has {} bytes instead of 32", key.len()))?;
                return Ok(Zeroizing::new(key));
            }
            Err(reason) => last = reason,
        }
    }
    Err(match tree.recipients.len() {
        1 => format!("its data key cannot be decrypted: {last}"),
        n => format!("none of the {n} age recipients can be decrypted for; the last: {last}"),
    })
}

/// A value as it counts for the MAC, and as it is delivered.
struct Plain {
    hashed: Zeroizing<Vec<u8>>,
    shown: Zeroizing<Vec<u8>>,
}

/// A leaf's value, and whether it was encrypted.
fn open_leaf(leaf: &Leaf, key: &[u8; 32]) -> Result<(Plain, bool), String> {
    let both = |text: &str| Plain {
        hashed: Zeroizing::new(text.as_bytes().to_vec()),
        shown: Zeroizing::new(text.as_bytes().to_vec()),
    };
    Ok(match &leaf.value {
        Scalar::Text(text) if text.starts_with("ENC[") => {
            let found = value::decrypt(text, key, &leaf.additional_data())
                .map_err(|reason| format!("`{}`: {reason}", leaf.place))?;
            let shown = match found.kind.as_str() {
                "bool" => Zeroizing::new(found.bytes.to_ascii_lowercase()),
                _ => found.bytes.clone(),
            };
            let hashed = found.bytes;
            (Plain { hashed, shown }, true)
        }
        Scalar::Text(text) => (both(text), false),
        Scalar::Number(text) => (both(text), false),
        Scalar::Bool(value) => {
            // As in SOPS' first implementation, which was in Python.
            let (hashed, shown) = match value {
                true => ("True", "true"),
                false => ("False", "false"),
            };
            let mut plain = both(shown);
            plain.hashed = Zeroizing::new(hashed.as_bytes().to_vec());
            (plain, false)
        }
    })
}
