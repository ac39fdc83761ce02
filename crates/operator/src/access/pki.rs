//! The certificate of the API over TCP.
//!
//! Without files of the person's, the operator is its own authority: its key is
//! made once and kept, and clients know it by its certificate, which
//! `cbctl kubeconfig` puts into a kubeconfig. The server's own certificate is
//! made anew at every start and kept in memory alone, so it never has to be
//! renewed; neither of them has an end of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cb_host::files::{self, FileCache, FileSpec, chain};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What the server shows of itself.
#[derive(Debug, Clone)]
pub struct Tls {
    /// For rustls.
    pub config: Arc<ServerConfig>,
    /// The certificate that clients trust, in PEM form.
    pub authority: String,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{0}")]
    File(String),
    /// A file is not what it must be.
    #[error("{file} is not {what} in PEM form")]
    Pem {
        /// The file.
        file: PathBuf,
        /// What it must be.
        what: &'static str,
        /// Why it is not.
        source: rustls::pki_types::pem::Error,
    },
    /// The key of the authority cannot be used.
    #[error(
        "{file} cannot be used; remove it to have another made (kubeconfigs then have to be made anew)"
    )]
    Key {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: rcgen::Error,
    },
    /// A certificate cannot be made.
    #[error("a certificate cannot be made")]
    Make(#[from] rcgen::Error),
    /// Certificate and key do not belong together, for example.
    #[error("the certificate cannot be used")]
    Use(#[from] rustls::Error),
}

/// The server's certificate: that of these files, or one that is made with the
/// authority in `folder`.
///
/// # Errors
/// [`TlsError`].
pub fn tls(
    folder: &Path,
    address: SocketAddr,
    given: Option<(&Path, &Path)>,
) -> Result<Tls, TlsError> {
    let (chain, key, authority) = match given {
        Some((certificate, key)) => from_files(certificate, key)?,
        None => own(folder, address)?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Tls {
        config: Arc::new(config),
        authority,
    })
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, String);

fn from_files(certificate: &Path, key: &Path) -> Result<Identity, TlsError> {
    let text = read(certificate)?;
    let pem = |file: &Path, what| {
        let file = file.to_owned();
        move |source| TlsError::Pem { file, what, source }
    };
    let chain = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(pem(certificate, "a certificate"))?;
    let secret = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(pem(key, "a private key"))?;
    Ok((chain, secret, String::from_utf8_lossy(&text).into_owned()))
}

fn own(folder: &Path, address: SocketAddr) -> Result<Identity, TlsError> {
    let failed = |error: files::FileError| TlsError::File(chain(&error));
    files::ensure_dir(folder, FileSpec::own(0o700)).map_err(failed)?;
    let file = folder.join("ca.key");
    let key = if file.exists() {
        let text = String::from_utf8_lossy(&read(&file)?).into_owned();
        let bad = |source| TlsError::Key {
            file: file.clone(),
            source,
        };
        KeyPair::from_pem(&text).map_err(bad)?
    } else {
        let key = KeyPair::generate()?;
        files::write(&file, key.serialize_pem().as_bytes(), FileSpec::own(0o600))
            .map_err(failed)?;
        key
    };
    let params = authority();
    // The certificate follows from the key, so nothing else has to be kept.
    let certificate = params.self_signed(&key)?.pem();
    let shown = folder.join("ca.crt");
    if !shown.exists() {
        files::write(&shown, certificate.as_bytes(), FileSpec::own(0o644)).map_err(failed)?;
    }
    let issuer = Issuer::new(params, key);
    let server_key = KeyPair::generate()?;
    let server = server(address)?.signed_by(&server_key, &issuer)?;
    let secret = PrivateKeyDer::Pkcs8(server_key.serialize_der().into());
    let text = String::from_utf8_lossy(&read(&shown)?).into_owned();
    Ok((vec![server.der().clone()], secret, text))
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("Campaign Brain operator authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn server(address: SocketAddr) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
    params.distinguished_name = named("Campaign Brain operator");
    params
        .subject_alt_names
        .push(SanType::IpAddress(address.ip()));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn named(name: &str) -> DistinguishedName {
    let mut out = DistinguishedName::new();
    out.push(DnType::CommonName, name);
    out
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    FileCache::content(file).map_err(|error| TlsError::File(chain(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// Law 5: clients that know the authority know it after a restart.
    #[test]
    fn the_authority_stays_and_its_key_is_roots() {
        let folder = tempfile::tempdir().unwrap();
        let pki = folder.path().join("pki");
        let address = "127.0.0.1:9644".parse().unwrap();
        let first = tls(&pki, address, None).unwrap();
        let second = tls(&pki, address, None).unwrap();
        assert_eq!(first.authority, second.authority);
        let mode = std::fs::metadata(pki.join("ca.key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(pki.join("ca.key"), "no key").unwrap();
        let broken = tls(&pki, address, None).unwrap_err().to_string();
        assert!(
            broken.contains("ca.key") && broken.contains("remove it"),
            "{broken}"
        );
    }

    #[test]
    fn files_of_the_persons_are_used_and_named_when_they_are_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let address = "127.0.0.1:9644".parse().unwrap();
        let (certificate, key) = (folder.path().join("a.crt"), folder.path().join("a.key"));
        let pair = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        std::fs::write(&certificate, pair.cert.pem()).unwrap();
        std::fs::write(&key, "").unwrap();
        let given = Some((certificate.as_path(), key.as_path()));
        let error = tls(folder.path(), address, given).unwrap_err().to_string();
        assert!(
            error.contains("a.key") && error.contains("private key"),
            "{error}"
        );
        std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
        assert_eq!(
            tls(folder.path(), address, given).unwrap().authority,
            pair.cert.pem()
        );
    }
}
