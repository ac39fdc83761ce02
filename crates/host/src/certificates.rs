//! Certificates of tenants' sites: reads and checks the pair of certificate and
//! key that a manifest names, and those that are kept for the site.
//!
//! A pair is read anew when one of its files changed. What comes out is written
//! in one form, whatever stood around the blocks of the files. No error has
//! anything of a file's content (law 11).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cb_core::certificate::{Certificates, Facts, Pair};
use cb_core::digest;
use cb_core::observed::{CertificateFiles, Secret};
use jiff::Timestamp;
use pem::{EncodeConfig, LineEnding, Pem};
use rustix::fs::{FileType, Mode, OFlags};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::files::{FileCache, Stamp};

/// The largest file that is read; a chain with its key has some KB.
const MAX_SIZE: u64 = 256 << 10;
/// The longest chain.
const MAX_CHAIN: usize = 10;

type Checked = Result<Pair, String>;
/// The two files as they were, and what was found in them.
type Given = (Stamp, Stamp, Checked);

/// What was read of certificates.
#[derive(Debug, Default)]
pub(crate) struct CertificateLooks {
    given: Mutex<HashMap<(PathBuf, PathBuf), Given>>,
    kept: Mutex<HashMap<PathBuf, (Stamp, Option<Pair>)>>,
}

impl CertificateLooks {
    /// Looks at what a tenant may be served with; `kept` are its files in the
    /// folder of certificates.
    pub(crate) fn look(&self, files: &CertificateFiles, kept: &[PathBuf]) -> Certificates {
        let now = Timestamp::now();
        let given = match files {
            CertificateFiles::Given { certificate, key } => Some(self.given(certificate, key)),
            CertificateFiles::Issued(file) if file.exists() => Some(self.given(file, file)),
            CertificateFiles::Issued(_) => None,
        };
        let mut certificates = Certificates {
            given,
            kept: kept.iter().filter_map(|path| self.kept(path)).collect(),
        };
        let given = certificates.given.iter_mut().flatten();
        for pair in given.chain(&mut certificates.kept) {
            pair.facts.expired = pair.facts.not_after <= now;
        }
        certificates
    }

    fn given(&self, certificate: &Path, key: &Path) -> Checked {
        let stamps = (stamp(certificate)?, stamp(key)?);
        let id = (certificate.to_owned(), key.to_owned());
        let known = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((first, second, checked)) = known.get(&id)
            && (*first, *second) == stamps
        {
            return checked.clone();
        }
        drop(known);
        let checked = read(certificate)
            .and_then(|text| Ok((text, read(key)?)))
            .and_then(|(text, secret)| {
                let shown = (certificate.display(), key.display());
                check(&text, &secret).map_err(|problem| problem.in_words(shown))
            });
        let settled = stamps.0.is_settled() && stamps.1.is_settled();
        if settled && (stamp(certificate)?, stamp(key)?) == stamps {
            let mut known = self.given.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(id, (stamps.0, stamps.1, checked.clone()));
        }
        checked
    }

    /// A file that is not as it was written is none that is kept: its name is
    /// that of another content.
    fn kept(&self, path: &Path) -> Option<Pair> {
        let stamp = stamp(path).ok()?;
        let mut known = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, pair)) = known.get(path)
            && *of == stamp
        {
            return pair.clone();
        }
        let content = FileCache::content(path).ok()?;
        let digest = digest::of_content(&content);
        let named = path.file_stem().and_then(|stem| stem.to_str());
        let named = named.and_then(|stem| stem.rsplit_once('.'));
        let whole = named.is_some_and(|(_, name)| digest.get(..16) == Some(name));
        let pair = check(&content, &content).ok().filter(|_| whole);
        if stamp.is_settled() {
            known.retain(|path, _| path.exists());
            known.insert(path.to_owned(), (stamp, pair.clone()));
        }
        pair
    }
}

/// Why a certificate and a key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PairError {
    /// No block of the kind that is wanted.
    #[error("has no certificate in PEM form")]
    NoCertificate,
    /// A block that is no certificate.
    #[error("has a certificate that cannot be read")]
    Unreadable,
    /// More than anybody has.
    #[error("has more than {MAX_CHAIN} certificates")]
    LongChain,
    /// No block of the kind that is wanted.
    #[error("has no private key in PEM form")]
    NoKey,
    /// A key that needs a passphrase.
    #[error("has a key with a passphrase; write it without one")]
    Encrypted,
    /// A key that nothing can be signed with.
    #[error(
        "has a key that cannot be used: keys are RSA of 2048 bits or more, ECDSA (P-256, P-384) or Ed25519"
    )]
    BadKey,
    /// The two are not a pair.
    #[error("has not the key of the first certificate in")]
    Mismatch,
}

impl PairError {
    fn in_words(
        self,
        (certificate, key): (impl std::fmt::Display, impl std::fmt::Display),
    ) -> String {
        match self {
            PairError::NoCertificate | PairError::Unreadable | PairError::LongChain => {
                format!("{certificate} {self}")
            }
            PairError::NoKey | PairError::Encrypted | PairError::BadKey => format!("{key} {self}"),
            PairError::Mismatch => format!("{key} {self} {certificate}"),
        }
    }
}

/// Checks a chain and a key, each among the blocks of a PEM text, and writes
/// them as one.
///
/// # Errors
/// [`PairError`]: they cannot be used together.
pub fn check(certificate: &[u8], key: &[u8]) -> Result<Pair, PairError> {
    let blocks = pem::parse_many(certificate).map_err(|_| PairError::NoCertificate)?;
    let chain: Vec<Pem> = blocks
        .into_iter()
        .filter(|block| block.tag() == "CERTIFICATE")
        .collect();
    let first = chain.first().ok_or(PairError::NoCertificate)?;
    if chain.len() > MAX_CHAIN {
        return Err(PairError::LongChain);
    }
    let parsed = |block: &Pem| X509Certificate::from_der(block.contents()).is_ok();
    if !chain.iter().all(parsed) {
        return Err(PairError::Unreadable);
    }
    let facts = facts(first).ok_or(PairError::Unreadable)?;
    let blocks = pem::parse_many(key).map_err(|_| PairError::NoKey)?;
    let mut keys = blocks
        .into_iter()
        .filter(|block| block.tag().ends_with("PRIVATE KEY"));
    let key = keys.next().ok_or(PairError::NoKey)?;
    belong_together(&chain, &key)?;
    let written = EncodeConfig::new().set_line_ending(LineEnding::LF);
    let all: Vec<Pem> = chain.into_iter().chain([key]).collect();
    Ok(Pair {
        facts,
        pem: Secret::new(pem::encode_many_config(&all, written)),
    })
}

fn belong_together(chain: &[Pem], key: &Pem) -> Result<(), PairError> {
    let contents = key.contents().to_vec();
    let key = match key.tag() {
        "PRIVATE KEY" => PrivateKeyDer::Pkcs8(contents.into()),
        "RSA PRIVATE KEY" => PrivateKeyDer::Pkcs1(contents.into()),
        "EC PRIVATE KEY" => PrivateKeyDer::Sec1(contents.into()),
        "ENCRYPTED PRIVATE KEY" => return Err(PairError::Encrypted),
        _ => return Err(PairError::BadKey),
    };
    let key = any_supported_type(&key).map_err(|_| PairError::BadKey)?;
    let chain = chain
        .iter()
        .map(|block| CertificateDer::from(block.contents().to_vec()));
    match CertifiedKey::new(chain.collect(), key).keys_match() {
        Ok(()) => Ok(()),
        Err(TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(PairError::Mismatch),
        Err(TlsError::InconsistentKeys(_)) => Err(PairError::BadKey),
        Err(_) => Err(PairError::Unreadable),
    }
}

fn facts(block: &Pem) -> Option<Facts> {
    let (_, certificate) = X509Certificate::from_der(block.contents()).ok()?;
    let validity = certificate.validity();
    let time = |at: x509_parser::time::ASN1Time| Timestamp::from_second(at.timestamp()).ok();
    let names = certificate.subject_alternative_name().ok()?;
    let names = names
        .into_iter()
        .flat_map(|names| &names.value.general_names);
    let names = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    Some(Facts {
        not_before: time(validity.not_before)?,
        not_after: time(validity.not_after)?,
        names: names.collect(),
        expired: false,
    })
}

/// Links are followed: those who renew certificates have one lead to the newest.
fn stamp(path: &Path) -> Result<Stamp, String> {
    let stat = rustix::fs::stat(path);
    let stat = stat.map_err(|error| unreadable(path, &error.into()))?;
    Ok(Stamp::of(&stat))
}

/// `O_NONBLOCK` because a FIFO may be there.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| unreadable(path, &error);
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
    let stat = rustix::fs::fstat(&fd).map_err(|e| failed(e.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(format!("{} is no regular file", path.display()));
    }
    let mut content = Vec::new();
    let mut file = File::from(fd).take(MAX_SIZE + 1);
    file.read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > MAX_SIZE {
        return Err(format!("{} is larger than 256 KiB", path.display()));
    }
    Ok(content)
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be read: {error}", path.display())
}

#[cfg(test)]
mod tests;
