//! An S3-compatible server for tests, over TLS with an authority of its own:
//! what `spec.backups.offsite.s3` of a Host points at.
//!
//! ```text
//! bucketstore ROOT PORT
//! ```
//!
//! Buckets are the folders in `ROOT/buckets`, made by the test. `ROOT/key` has
//! the access key as `credentialsFile` has it: two lines. The certificate of
//! the authority is written to `ROOT/ca.pem`, a new one at each start; the
//! server listens on 127.0.0.1 once it is there.

#![allow(
    clippy::disallowed_methods,
    reason = "what a test's server writes need not survive a crash"
)]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, port] = arguments.as_slice() else {
        return Err("usage: bucketstore ROOT PORT".into());
    };
    let root = PathBuf::from(root);
    let store = store(&root)?;
    let acceptor = acceptor(&root.join("ca.pem"))?;
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(stream, acceptor.clone(), store.clone()));
    }
}

fn store(root: &Path) -> Result<S3Service> {
    let key = std::fs::read_to_string(root.join("key"))?;
    let (id, secret) = key
        .trim_end()
        .split_once('\n')
        .ok_or("two lines in `key`")?;
    let files = s3s_fs::FileSystem::new(root.join("buckets")).map_err(|e| format!("{e:?}"))?;
    let mut builder = S3ServiceBuilder::new(files);
    builder.set_auth(SimpleAuth::from_single(id, secret));
    Ok(builder.build())
}

/// Speaks TLS with a certificate of a new authority.
fn acceptor(authority: &Path) -> Result<TlsAcceptor> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    std::fs::write(authority, params.self_signed(&key)?.pem())?;
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()])?.signed_by(&key, &issuer)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der())?,
        )?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, store: S3Service) {
    // A client that does not trust the certificate, or goes away, ends it.
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let store = store.clone();
        async move { store.call(request.map(s3s::Body::from)).await }
    });
    let served = Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        eprintln!("a connection ended: {error}");
    }
}
