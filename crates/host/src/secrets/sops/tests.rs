//! Files of SOPS itself, and files of an encryptor of our own that does what
//! SOPS documents.
//!
//! The files in `vectors` were encrypted by SOPS 3.8; they and their key are
//! the published test data of the project rops (gibbz00/rops on GitHub).

use ::age::x25519;
use sha2::{Digest as _, Sha512};
use zeroize::Zeroizing;

use super::super::age::Identities;
use super::super::age::tests::{encrypt, file_of};
use super::value::tests as value;
use super::{Value, open};

const ALL: &str = include_str!("vectors/all.sops.yaml");
const MAC_ONLY: &str = include_str!("vectors/mac-only-encrypted.sops.yaml");
const VECTORS_KEY: &str =
    "AGE-SECRET-KEY-1EQUCGFZH8UZKSZ0Z5N5T234YRNDT4U9H7QNYXWRRNJYDDVXE6FWSCPGNJ7";

fn read(name: &str, text: &str, key: &str) -> Result<Vec<(String, String)>, String> {
    let identities = Identities::parse(key.as_bytes()).unwrap();
    let unwrap =
        |sealed: &[u8]| -> Result<Zeroizing<Vec<u8>>, String> { identities.decrypt(sealed) };
    let values = open(name, text.as_bytes(), unwrap)?;
    let words = |(place, value): Value| (place, String::from_utf8(value.to_vec()).unwrap());
    Ok(values.into_iter().map(words).collect())
}

#[test]
fn a_file_that_sops_encrypted_is_read() {
    let found = read("a.sops.yaml", ALL, VECTORS_KEY).unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|(p, v)| (p.as_str(), v.as_str()))
        .collect();
    let wanted = [
        ("hello", "Welcome to SOPS! Edit this file as you please!"),
        ("example_key", "example_value"),
        ("example_array.0", "example_value1"),
        ("example_array.1", "example_value2"),
        ("example_number", "1234.56789"),
        ("example_booleans.0", "true"),
        ("example_booleans.1", "false"),
    ];
    assert_eq!(found, wanted);
}

/// What the MAC does not cover is not used.
#[test]
fn with_a_mac_of_the_encrypted_values_only_these_are_read() {
    let places = |text: &str| {
        let found = read("a.sops.yaml", text, VECTORS_KEY).unwrap();
        let places = found.into_iter().map(|(place, _)| place);
        places.collect::<Vec<_>>()
    };
    assert_eq!(places(MAC_ONLY), ["a_encrypted", "c_encrypted"]);
    let added = MAC_ONLY.replacen("d_unencrypted: aaa", "LD_PRELOAD: /tmp/evil.so", 1);
    assert_eq!(places(&added), ["a_encrypted", "c_encrypted"]);
}

/// Law 12: whatever is changed, nothing of the file is used.
#[test]
fn a_changed_file_is_refused_with_what_was_changed() {
    let error = |from: &str, to: &str| {
        let changed = ALL.replacen(from, to, 1);
        assert_ne!(changed, ALL);
        let error = read("a.sops.yaml", &changed, VECTORS_KEY).unwrap_err();
        assert!(!error.contains("example_value"), "{error}");
        error
    };
    let value = |place: &str| format!("`{place}`: it was changed, or is not in its place");
    assert!(error("data:dlBJ", "data:AlBJ").starts_with(&value("example_key")));
    assert!(error("hello: ENC", "other: ENC").starts_with(&value("other")));
    let mac = "it was changed after it was encrypted: its MAC is not right";
    assert_eq!(error("hello: ", "added: plain\nhello: "), mac);
    let array = ALL.find("- ENC").unwrap();
    let booleans = ALL.rfind("example_number").unwrap();
    let swapped = {
        let mut items: Vec<&str> = ALL[array..booleans].lines().collect();
        items.reverse();
        let items = format!("{}\n", items.join("\n"));
        format!("{}{items}{}", &ALL[..array], &ALL[booleans..])
    };
    assert_eq!(
        read("a.sops.yaml", &swapped, VECTORS_KEY),
        Err(mac.to_owned())
    );
    let line = |start: &str| {
        let at = ALL.find(start).unwrap();
        &ALL[at..at + ALL[at..].find('\n').unwrap() + 1]
    };
    assert_eq!(error(line("example_number:"), ""), mac);
    assert!(error("2023-12-25", "2024-12-25").starts_with("sops.mac: it was changed"));
    assert!(error(line("  mac:"), "").starts_with("sops.mac is missing"));
    let sops = &ALL[ALL.find("sops:").unwrap()..];
    assert!(error(sops, "").starts_with("it is not encrypted by SOPS"));
    let other = x25519::Identity::generate();
    let error = read("a.sops.yaml", ALL, &file_of(&other)).unwrap_err();
    let wanted = "its data key cannot be decrypted: it is encrypted for other keys";
    assert!(error.starts_with(wanted), "{error}");
}

/// A file of variables, as SOPS writes it.
fn dotenv(variables: &[(&str, &str)], recipients: &[&x25519::Identity]) -> String {
    let key = [9; 32];
    let mut out = String::from("#ENC[AES256_GCM,data:AAAA,iv:AAAA,tag:AAAA,type:comment]\n");
    let mut hash = Sha512::new();
    for (name, plain) in variables {
        hash.update(plain);
        let sealed = value::encrypt(plain, "str", &key, &format!("{name}:"));
        out += &format!("{name}={sealed}\n");
    }
    for (n, recipient) in recipients.iter().enumerate() {
        let sealed = String::from_utf8(encrypt(recipient, &key, true)).unwrap();
        let sealed = sealed.replace('\n', "\\n");
        out += &format!("sops_age__list_{n}__map_enc={sealed}\n");
        let public = recipient.to_public();
        out += &format!("sops_age__list_{n}__map_recipient={public}\n");
    }
    let modified = "2026-11-26T02:00:00Z";
    let mac: String = hash.finalize().iter().map(|b| format!("{b:02X}")).collect();
    let mac = value::encrypt(&mac, "str", &key, modified);
    out += &format!("sops_lastmodified={modified}\nsops_mac={mac}\n");
    out + "sops_unencrypted_suffix=_unencrypted\nsops_version=3.9.0\n"
}

#[test]
fn a_file_of_variables_is_read_by_any_of_its_recipients() {
    let keys: Vec<_> = (0..3).map(|_| x25519::Identity::generate()).collect();
    let variables = [
        ("TOKEN", "hush \"x\" $y = z"),
        ("EMPTY", ""),
        ("LINES", "a\nb"),
    ];
    let text = dotenv(&variables, &[&keys[0], &keys[1]]);
    for key in &keys[..2] {
        let found = read("ky04.sops.env", &text, &file_of(key)).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|(p, v)| (p.as_str(), v.as_str()))
            .collect();
        assert_eq!(found, variables);
    }
    let error = read("ky04.sops.env", &text, &file_of(&keys[2])).unwrap_err();
    assert!(error.starts_with("none of the 2 age recipients"), "{error}");
    let renamed = text.replace("TOKEN=", "OTHER=");
    let error = read("ky04.sops.env", &renamed, &file_of(&keys[0])).unwrap_err();
    assert!(error.starts_with("`OTHER`: it was changed"), "{error}");
    let nobody = dotenv(&variables, &[]);
    let error = read("ky04.sops.env", &nobody, &file_of(&keys[0])).unwrap_err();
    assert!(error.starts_with("it has no age recipient"), "{error}");
    let split = format!("{text}sops_shamir_threshold=2\n");
    let error = read("ky04.sops.env", &split, &file_of(&keys[0])).unwrap_err();
    assert!(error.contains("split over several key groups"), "{error}");
}
