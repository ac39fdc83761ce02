use std::fs;

use rcgen::{CertificateParams, KeyPair};

use super::*;

fn made(names: &[&str]) -> (String, KeyPair) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key)
}

fn checked(certificate: &str, key: &str) -> Result<Pair, PairError> {
    check(certificate.as_bytes(), key.as_bytes())
}

#[test]
fn a_pair_is_read_and_written_in_one_form() {
    let (certificate, key) = made(&["A.example.org", "*.b.example.org"]);
    let noise = format!("Bag Attributes\n  x: y\n{certificate}\r\n# more\n");
    let pair = checked(&noise, &key.serialize_pem()).unwrap();
    assert_eq!(pair.facts.names, ["a.example.org", "*.b.example.org"]);
    assert_eq!(pair.facts.not_after.to_string(), "2021-01-01T00:00:00Z");
    let text = pair.pem.reveal();
    assert!(text.starts_with("-----BEGIN CERTIFICATE-----\n") && !text.contains("more"));
    // It is its own source.
    assert_eq!(checked(text, text).unwrap(), pair);
    let header = format!("# cb-operator: owner=tenant/a\n# more\n{text}");
    assert_eq!(checked(&header, &header).unwrap(), pair);
}

/// Law 11: what is wrong with a key is told without the key.
#[test]
fn what_is_no_pair_is_refused() {
    let (certificate, key) = made(&["a.example.org"]);
    let (other, other_key) = made(&["a.example.org"]);
    let key = key.serialize_pem();
    assert_eq!(
        checked(&certificate, &other_key.serialize_pem()),
        Err(PairError::Mismatch)
    );
    // The chain does not begin with the certificate.
    assert_eq!(
        checked(&format!("{other}{certificate}"), &key),
        Err(PairError::Mismatch)
    );
    assert_eq!(checked("", &key), Err(PairError::NoCertificate));
    assert_eq!(checked(&key, &key), Err(PairError::NoCertificate));
    assert_eq!(checked(&certificate, &certificate), Err(PairError::NoKey));
    let cut = &certificate[..certificate.len() / 2];
    assert_eq!(checked(cut, &key), Err(PairError::NoCertificate));
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    assert_eq!(checked(&certificate, &encrypted), Err(PairError::Encrypted));
    let odd = key.replace("PRIVATE KEY", "EC PRIVATE KEY");
    assert_eq!(checked(&certificate, &odd), Err(PairError::BadKey));
    let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(checked(junk, &key), Err(PairError::Unreadable));
    let many = certificate.repeat(MAX_CHAIN + 1);
    assert_eq!(checked(&many, &key), Err(PairError::LongChain));
}

/// Renewal replaces links (certbot) or files; both are seen.
#[test]
fn what_is_given_is_read_anew_when_it_changed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let files = CertificateFiles::Given {
        certificate: at("live.pem"),
        key: at("live.key"),
    };
    let looks = CertificateLooks::default();
    let look = || looks.look(&files, &[]).given.unwrap();
    assert!(look().unwrap_err().contains("live.pem cannot be read"));
    let write = |name: &str, names: &[&str]| {
        let (certificate, key) = made(names);
        fs::write(at(&format!("{name}.pem")), certificate).unwrap();
        fs::write(at(&format!("{name}.key")), key.serialize_pem()).unwrap();
    };
    write("one", &["one.org"]);
    write("two", &["two.org"]);
    let link = |name: &str, kind: &str| {
        let _ = fs::remove_file(at(&format!("live.{kind}")));
        let target = format!("{name}.{kind}");
        std::os::unix::fs::symlink(target, at(&format!("live.{kind}"))).unwrap();
    };
    link("one", "pem");
    link("one", "key");
    let pair = look().unwrap();
    assert_eq!(pair.facts.names, ["one.org"]);
    assert!(pair.facts.expired);
    link("two", "pem");
    let error = look().unwrap_err();
    assert!(error.contains("live.key has not the key of"), "{error}");
    link("two", "key");
    assert_eq!(look().unwrap().facts.names, ["two.org"]);
    fs::write(at("two.pem"), vec![b'x'; 300_000]).unwrap();
    assert!(look().unwrap_err().contains("larger"));
    let (certificate, key) = made(&["three.org"]);
    fs::write(at("two.pem"), certificate).unwrap();
    fs::write(at("two.key"), key.serialize_pem()).unwrap();
    assert_eq!(look().unwrap().facts.names, ["three.org"]);
}

#[test]
fn a_kept_pair_that_was_changed_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = made(&["one.org"]);
    let text = format!("# x\n{certificate}{}", key.serialize_pem());
    let digest = digest::of_content(text.as_bytes());
    let path = folder.path().join(format!("ky04.{}.pem", &digest[..16]));
    let none = CertificateFiles::Issued(folder.path().join("none"));
    let looks = CertificateLooks::default();
    let kept = |path: &Path| looks.look(&none, &[path.to_owned()]);
    fs::write(&path, &text).unwrap();
    let seen = kept(&path);
    assert_eq!((seen.kept.len(), seen.given), (1, None));
    fs::write(&path, format!("{text}\n")).unwrap();
    assert_eq!(kept(&path).kept, []);
}
