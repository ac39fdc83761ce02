//! A server with a certificate of an authority of one's own.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use cb_offsite::{Config, Destination, Error, S3};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::fixtures::{contents, id, large_backup, tenant};
use crate::server::{Server, settings};

/// An authority.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// Speaks TLS with a certificate for a name.
    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn trusting(endpoint: &str, ca_file: &Path) -> Result<Destination, Error> {
    Destination::new(&Config::S3(S3 {
        ca_file: Some(ca_file.to_owned()),
        ..settings(endpoint)
    }))
}

#[tokio::test]
async fn a_certificate_of_the_given_authority_is_trusted_and_no_other() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let files = tempfile::tempdir().unwrap();
    let (our_file, their_file) = (files.path().join("our.pem"), files.path().join("their.pem"));
    fs::write(&our_file, &ours.pem).unwrap();
    fs::write(&their_file, &theirs.pem).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::start_on(listener, Some(ours.acceptor("127.0.0.1")));
    let endpoint = format!("https://{}", server.address);
    let (ky, one, source) = (tenant("ky04"), id("one"), large_backup());

    let error = trusting(&endpoint, &their_file)
        .unwrap()
        .list(&ky)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Certificate { .. }), "{error}");
    assert!(!error.is_transient());
    let error = trusting(&endpoint.replace("127.0.0.1", "localhost"), &our_file)
        .unwrap()
        .list(&ky)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Certificate { .. }), "{error}");

    // Nobody else's authority signed it.
    let s3 = settings(&endpoint);
    let error = Destination::new(&Config::S3(s3)).unwrap().list(&ky).await;
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Certificate { .. }), "{error}");

    let destination = trusting(&endpoint, &our_file).unwrap();
    destination.push(&ky, &one, source.path()).await.unwrap();
    let into = files.path().join("restored");
    destination.fetch(&ky, &one, &into).await.unwrap();
    assert_eq!(contents(&into), contents(source.path()));
}

#[test]
fn a_file_without_certificates_is_refused() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("ca.pem");
    let missing = trusting("https://127.0.0.1:1", &file).unwrap_err();
    assert!(matches!(missing, Error::Local { .. }), "{missing}");
    let damaged = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    for content in ["", "not a certificate\n", damaged] {
        fs::write(&file, content).unwrap();
        let error = trusting("https://127.0.0.1:1", &file).unwrap_err();
        assert!(matches!(error, Error::Settings { .. }), "{error}");
    }
}
