//! One encrypted value:
//! `ENC[AES256_GCM,data:BASE64,iv:BASE64,tag:BASE64,type:TYPE]`.

use aes_gcm::aead::consts::U32;
use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// SOPS uses nonces of 32 bytes.
type Cipher = AesGcm<Aes256, U32>;

/// A value that was decrypted.
#[derive(Debug)]
pub(super) struct Decrypted {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// `str`, `int`, `float`, `bool`, `bytes` or `comment`.
    pub(super) kind: String,
}

/// Decrypts a value with what binds it to its place.
///
/// # Errors
/// It is not of this form, or was changed or moved.
pub(super) fn decrypt(
    text: &str,
    key: &[u8; 32],
    additional_data: &str,
) -> Result<Decrypted, String> {
    let parts = parse(text).ok_or("it is not a value of the form ENC[AES256_GCM,…]")?;
    let nonce: [u8; 32] = parts
        .iv
        .as_slice()
        .try_into()
        .map_err(|_| format!("its iv has {} bytes instead of 32", parts.iv.len()))?;
    if parts.tag.len() != 16 {
        return Err(format!(
            "its tag has {} bytes instead of 16",
            parts.tag.len()
        ));
    }
    let sealed = [parts.data, parts.tag].concat();
    let payload = Payload {
        msg: &sealed,
        aad: additional_data.as_bytes(),
    };
    let bytes = Cipher::new(key.into())
        .decrypt(Nonce::from_slice(&nonce), payload)
        .map_err(|_| "it was changed, or is not in its place: it does not decrypt")?;
    Ok(Decrypted {
        bytes: Zeroizing::new(bytes),
        kind: parts.kind,
    })
}

struct Parts {
    data: Vec<u8>,
    iv: Vec<u8>,
    tag: Vec<u8>,
    kind: String,
}

fn parse(text: &str) -> Option<Parts> {
    let inner = text.strip_prefix("ENC[AES256_GCM,")?.strip_suffix(']')?;
    let mut fields = inner.split(',');
    let mut field = |name: &str| fields.next()?.strip_prefix(name)?.strip_prefix(':');
    let (data, iv) = (field("data")?, field("iv")?);
    let (tag, kind) = (field("tag")?, field("type")?);
    if fields.next().is_some() {
        return None;
    }
    let decode = |text: &str| STANDARD.decode(text).ok();
    Some(Parts {
        data: decode(data)?,
        iv: decode(iv)?,
        tag: decode(tag)?,
        kind: kind.to_owned(),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Encrypts a value, as SOPS does.
    pub(crate) fn encrypt(
        plain: &str,
        kind: &str,
        key: &[u8; 32],
        additional_data: &str,
    ) -> String {
        if plain.is_empty() {
            return String::new();
        }
        // Deterministic, and another for each place.
        let nonce: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(additional_data).into();
        let payload = Payload {
            msg: plain.as_bytes(),
            aad: additional_data.as_bytes(),
        };
        let cipher = Cipher::new(key.into());
        let sealed = cipher.encrypt(Nonce::from_slice(&nonce), payload).unwrap();
        let (data, tag) = sealed.split_at(sealed.len() - 16);
        let [data, iv, tag] = [data, &nonce, tag].map(|part| STANDARD.encode(part));
        format!("ENC[AES256_GCM,data:{data},iv:{iv},tag:{tag},type:{kind}]")
    }

    #[test]
    fn a_value_is_bound_to_its_place_and_each_of_its_parts() {
        let key = [7; 32];
        let sealed = encrypt("hush", "str", &key, "a:b:");
        assert_eq!(*decrypt(&sealed, &key, "a:b:").unwrap().bytes, b"hush");
        decrypt(&sealed, &key, "a:c:").unwrap_err();
        decrypt(&sealed, &[8; 32], "a:b:").unwrap_err();
        for (from, to) in [
            ("data:", "data:A"),
            ("iv:", "iv:AAAA"),
            ("tag:", "tag:AAAA"),
            (",type:str", ""),
            ("AES256_GCM", "AES128_GCM"),
            ("]", ",x]"),
            ("]", ""),
        ] {
            let changed = sealed.replacen(from, to, 1);
            let error = decrypt(&changed, &key, "a:b:").unwrap_err();
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
