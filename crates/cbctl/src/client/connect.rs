//! A connection to an operator: over its unix socket, or with TLS.

use std::io;
use std::path::Path;
use std::sync::Arc;

use cb_core::access;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HeaderValue;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::Error;
use crate::config::{Endpoint, TlsEndpoint};
use crate::error::plain;

/// A connection that takes requests.
pub(super) type Connection = SendRequest<Full<Bytes>>;

/// Opens a connection.
pub(super) async fn open(endpoint: &Endpoint) -> Result<Connection, Error> {
    let unreachable = |cause| Error::Unreachable {
        at: endpoint.to_string(),
        cause,
    };
    match endpoint {
        Endpoint::Socket(path) => {
            let stream = UnixStream::connect(path).await.map_err(unreachable)?;
            handshake(stream).await
        }
        Endpoint::Tls(tls) => {
            let connector = TlsConnector::from(Arc::new(trust(tls)?));
            let name = ServerName::try_from(tls.host.clone())
                .map_err(|error| unsuitable(format!("`{}`: {error}", tls.host)))?;
            let stream = TcpStream::connect((tls.host.as_str(), tls.port));
            let stream = stream.await.map_err(unreachable)?;
            let stream = connector.connect(name, stream).await.map_err(unreachable)?;
            handshake(stream).await
        }
    }
}

async fn handshake<S>(stream: S) -> Result<Connection, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(Error::Broken)?;
    // Its end is seen by the next request.
    tokio::spawn(connection);
    Ok(sender)
}

/// Trusts the context's certificate authority and no other.
fn trust(tls: &TlsEndpoint) -> Result<ClientConfig, Error> {
    let Some(path) = &tls.certificate_authority else {
        return Err(unsuitable(
            "a server with TLS needs a context with a certificate authority".into(),
        ));
    };
    let shown = path.display();
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unsuitable(format!("cannot read certificates from {shown}: {error}")))?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(unsuitable(format!("{shown} holds no certificate")));
    }
    Ok(ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// What a request shows to be let in; nothing over a socket, whose group says
/// who may.
pub(super) fn credentials(endpoint: &Endpoint) -> Result<Option<HeaderValue>, Error> {
    let Endpoint::Tls(TlsEndpoint {
        token_file: Some(path),
        ..
    }) = endpoint
    else {
        return Ok(None);
    };
    let text = token(path).map_err(|why| {
        unsuitable(format!(
            "cannot read a token from {}: {why}",
            path.display()
        ))
    })?;
    let mut value = HeaderValue::from_str(&access::header_of(&text))
        .map_err(|_| unsuitable(format!("{} holds no token", path.display())))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn token(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error: io::Error| plain(&error))?;
    let token = access::token_in_file(&text).ok_or("the file is empty")?;
    Ok(token.to_owned())
}

fn unsuitable(why: String) -> Error {
    Error::Unsuitable(why)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "files of a test")]
mod tests {
    use std::convert::Infallible;

    use cb_core::api::Kind;
    use hyper::header::AUTHORIZATION;
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::client::Client;

    /// Answers two connections with the token that was shown.
    async fn serve(listener: TcpListener, acceptor: TlsAcceptor) {
        for _ in 0..2 {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that does not trust us goes away.
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let answer = |request: Request<hyper::body::Incoming>| async move {
                let shown = request.headers()[AUTHORIZATION]
                    .to_str()
                    .unwrap()
                    .to_owned();
                let object = format!(r#"{{"metadata": {{"name": "{shown}"}}}}"#);
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(object))))
            };
            let server = hyper::server::conn::http1::Builder::new();
            let served = server.serve_connection(TokioIo::new(stream), service_fn(answer));
            let _ = served.await;
        }
    }

    #[tokio::test]
    async fn a_server_is_trusted_by_its_authority_and_shown_the_token() {
        let names = vec!["localhost".to_owned()];
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(names.clone()).unwrap();
        let other = rcgen::generate_simple_self_signed(names).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let serving = tokio::spawn(serve(listener, acceptor));

        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let client = |authority: std::path::PathBuf| {
            Client::new(Endpoint::Tls(TlsEndpoint {
                host: "localhost".into(),
                port,
                certificate_authority: Some(authority),
                token_file: Some(file("token", "t0ken\n")),
            }))
        };
        let wrong = client(file("other.pem", &other.cert.pem()));
        let refused = wrong.get(Kind::Tenant, "a").await.unwrap_err();
        assert!(matches!(refused, Error::Unreachable { .. }), "{refused}");
        let right = client(file("ca.pem", &cert.pem()));
        let object = right.get(Kind::Tenant, "a").await.unwrap();
        assert_eq!(object.name(), "Bearer t0ken");
        drop(right);
        serving.await.unwrap();
    }
}
