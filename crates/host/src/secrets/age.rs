//! Files that are encrypted with age (<https://age-encryption.org/v1>), armored
//! or not.

use std::io::Read as _;

use age::armor::ArmoredReader;
use age::{DecryptError, Decryptor, Identity, IdentityFile};
use zeroize::Zeroizing;

use crate::files::MAX_READ;

/// The host's private keys.
pub(super) struct Identities(Vec<Box<dyn Identity + Send + Sync>>);

impl Identities {
    /// Reads a file of keys, as `age-keygen` writes it.
    ///
    /// # Errors
    /// It holds none, or something else. The reason quotes nothing of it.
    pub(super) fn parse(content: &[u8]) -> Result<Self, String> {
        let file = IdentityFile::from_buffer(content)
            .map_err(|_| "it holds something else than age keys and comments".to_owned())?;
        let identities = file
            .into_identities()
            .map_err(|_| "it holds keys of a kind that cannot be used".to_owned())?;
        if identities.is_empty() {
            return Err("it holds no key; `age-keygen` makes one".to_owned());
        }
        Ok(Self(identities))
    }

    /// Decrypts a file.
    ///
    /// # Errors
    /// It is not for one of the keys, is damaged, or is no such file.
    pub(super) fn decrypt(&self, content: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        let damaged =
            |_: std::io::Error| "it is damaged, or was changed: it does not decrypt whole";
        let decryptor = Decryptor::new(ArmoredReader::new(content)).map_err(words)?;
        if decryptor.is_scrypt() {
            return Err(
                "it is encrypted with a passphrase; encrypt it for the host's public key"
                    .to_owned(),
            );
        }
        let identities = self.0.iter().map(|identity| &**identity as &dyn Identity);
        let reader = decryptor.decrypt(identities).map_err(words)?;
        let mut out = Zeroizing::new(Vec::new());
        reader
            .take(MAX_READ + 1)
            .read_to_end(&mut out)
            .map_err(damaged)?;
        if out.len() as u64 > MAX_READ {
            return Err(format!("it holds more than {MAX_READ} bytes"));
        }
        Ok(out)
    }
}

fn words(error: DecryptError) -> String {
    match error {
        DecryptError::NoMatchingKeys => {
            "it is encrypted for other keys than those of this host".to_owned()
        }
        DecryptError::InvalidHeader | DecryptError::Io(_) => {
            "it is not a file that age encrypted, or it is damaged".to_owned()
        }
        DecryptError::UnknownFormat => "it has a format of age that is not known".to_owned(),
        _ => "it is damaged, or was changed: it does not decrypt".to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use age::secrecy::ExposeSecret as _;
    use age::x25519;

    use super::*;

    /// The content of a file of this key.
    pub(crate) fn file_of(key: &x25519::Identity) -> String {
        format!("# created: today\n{}\n", key.to_string().expose_secret())
    }

    /// Encrypts, as `age -r` or `age -a -r` does.
    pub(crate) fn encrypt(key: &x25519::Identity, content: &[u8], armor: bool) -> Vec<u8> {
        let recipient = key.to_public();
        if armor {
            return age::encrypt_and_armor(&recipient, content)
                .unwrap()
                .into_bytes();
        }
        age::encrypt(&recipient, content).unwrap()
    }

    #[test]
    fn a_file_for_the_hosts_key_is_decrypted() {
        let (own, other) = (x25519::Identity::generate(), x25519::Identity::generate());
        let both = format!("{}{}", file_of(&other), file_of(&own));
        let identities = Identities::parse(both.as_bytes()).unwrap();
        for armor in [true, false] {
            let sealed = encrypt(&own, b"hush\x00\xff\n", armor);
            assert_eq!(**identities.decrypt(&sealed).unwrap(), *b"hush\x00\xff\n");
        }
    }

    /// Law 12, and nothing is taken that was changed.
    #[test]
    fn what_cannot_be_decrypted_is_told_apart() {
        let (own, other) = (x25519::Identity::generate(), x25519::Identity::generate());
        let identities = Identities::parse(file_of(&own).as_bytes()).unwrap();
        let error = |content: &[u8]| identities.decrypt(content).unwrap_err();
        let starts = |content: &[u8], start: &str| {
            let error = error(content);
            assert!(error.starts_with(start), "{error}");
        };
        starts(&encrypt(&other, b"x", false), "it is encrypted for other");
        starts(b"not age", "it is not a file that age encrypted");
        starts(b"", "it is not a file that age encrypted");
        let sealed = encrypt(&own, &[b'x'; 200_000], false);
        for at in 0..sealed.len() {
            if at > 300 && at % 9973 != 0 {
                continue;
            }
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            error(&changed);
        }
        for cut in [1, 17, sealed.len() / 2, sealed.len() - 1] {
            error(&sealed[..cut]);
        }
        let passphrase = age::scrypt::Recipient::new("hush".to_owned().into());
        let sealed = age::encrypt(&passphrase, b"x").unwrap();
        starts(&sealed, "it is encrypted with a passphrase");
        let large = encrypt(&own, &vec![0; (1 << 20) + 1], false);
        starts(&large, "it holds more than");
    }

    /// Law 11.
    #[test]
    fn a_file_of_keys_is_never_quoted() {
        for bad in ["AGE-SECRET-KEY-1HUNTER2", "hunter2", "# only words", ""] {
            let error = Identities::parse(bad.as_bytes()).err().unwrap();
            assert!(!error.to_lowercase().contains("hunter2"), "{error}");
        }
    }
}
