//! The operator's API, over its unix socket or with TLS: one connection, kept
//! open between requests and opened again if the operator closed it.
//!
//! [`api`] has the requests by name. What must not live here: what is printed.

pub(crate) mod api;
pub(crate) mod audit;
pub(crate) mod changes;
mod connect;
pub(crate) mod happenings;
pub(crate) mod operations;
pub(crate) mod rollouts;
pub(crate) mod source;
mod status;
pub(crate) mod tokens;

use std::cell::Cell;
use std::io;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap};
use hyper::{Method, Request, StatusCode};

use connect::Connection;
pub(crate) use status::Status;

use crate::config::Endpoint;
use crate::error::plain;

/// How long an answer may take. A change waits for the operator to read its
/// folder, a pass on demand up to two minutes.
const ANSWER_TIME: Duration = Duration::from_secs(150);

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nobody answers there.
    #[error("cannot reach the operator at {at}: {}", plain(cause))]
    Unreachable {
        /// The socket or URL.
        at: String,
        /// Why.
        cause: io::Error,
    },
    /// The context cannot be used.
    #[error("{0}")]
    Unsuitable(String),
    /// The answer broke off.
    #[error("the connection to the operator broke off")]
    Broken(#[source] hyper::Error),
    /// No answer came.
    #[error("the operator did not answer within {} s", ANSWER_TIME.as_secs())]
    Silent,
    /// The answer is not what the API says.
    #[error("the operator's answer cannot be read")]
    Unreadable(#[source] serde_json::Error),
    /// The operator refused.
    #[error("{0}")]
    Refused(Box<Status>),
}

impl Error {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::Unsuitable(_) => {
                "`cbctl config set-context` changes it: --certificate-authority FILE, --token-file FILE"
            }
            Error::Unreachable { at, .. } if at.starts_with("https://") => {
                "is the operator running there, and is it that address? \
                 `cbctl config get-contexts` shows where each context leads"
            }
            Error::Unreachable { cause, .. } => match cause.kind() {
                io::ErrorKind::PermissionDenied => {
                    "run it as root, or as a member of the group in the Host's spec.api.group"
                }
                _ => {
                    "is the operator running? `systemctl status cb-operator` tells; \
                     for another socket use --server unix:///PATH"
                }
            },
            Error::Broken(_) | Error::Silent => "`journalctl -u cb-operator` may say why",
            Error::Unreadable(_) => "is that socket the operator's, and as old as this cbctl?",
            Error::Refused(status) => return status.hint().map(str::to_owned),
        };
        Some(hint.to_owned())
    }

    /// Whether the operator refused for this reason.
    pub(crate) fn is_refused_as(&self, reason: &str) -> bool {
        matches!(self, Error::Refused(status) if status.reason == reason)
    }

    /// Whether further requests would fail too.
    pub(crate) fn is_final(&self) -> bool {
        !matches!(self, Error::Refused(_))
    }
}

/// A request.
struct Ask {
    method: Method,
    target: String,
    media: &'static str,
    body: Bytes,
}

/// An answer that is a success.
struct Answer {
    headers: HeaderMap,
    body: Bytes,
}

/// A client of the operator.
pub(crate) struct Client {
    endpoint: Endpoint,
    open: Cell<Option<Connection>>,
}

impl Client {
    /// A client for this operator. Nothing is opened yet.
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            open: Cell::new(None),
        }
    }

    async fn ask(&self, ask: Ask) -> Result<Answer, Error> {
        tokio::time::timeout(ANSWER_TIME, self.exchange(ask))
            .await
            .map_err(|_| Error::Silent)?
    }

    async fn exchange(&self, ask: Ask) -> Result<Answer, Error> {
        let mut kept = self.open.take();
        loop {
            let fresh = kept.is_none();
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            // The operator closed it meanwhile: nothing was asked yet.
            if !fresh && connection.ready().await.is_err() {
                continue;
            }
            let request = self.ready(&ask)?;
            let answer = async {
                let (head, body) = connection.send_request(request).await?.into_parts();
                Ok::<_, hyper::Error>((head, body.collect().await?.to_bytes()))
            };
            match answer.await {
                Ok((head, body)) => {
                    self.open.set(Some(connection));
                    return judged(head.status, head.headers, body);
                }
                // It was closed at this moment, and the request was not read or
                // may be made twice.
                Err(error) if !fresh && (error.is_canceled() || ask.method == Method::GET) => {}
                Err(error) => return Err(Error::Broken(error)),
            }
        }
    }

    /// Where the operator is asked.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    async fn connect(&self) -> Result<Connection, Error> {
        connect::open(&self.endpoint).await
    }

    /// The request, with what it takes to be let in.
    fn ready(&self, ask: &Ask) -> Result<Request<Full<Bytes>>, Error> {
        let mut request = ask.request();
        if let Some(credentials) = connect::credentials(&self.endpoint)? {
            request.headers_mut().insert(AUTHORIZATION, credentials);
        }
        Ok(request)
    }
}

impl Ask {
    fn get(target: String) -> Self {
        Self {
            method: Method::GET,
            target,
            media: "",
            body: Bytes::new(),
        }
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(&self.target)
            .header(HOST, "operator")
            .header(ACCEPT, "application/json");
        if !self.media.is_empty() {
            request = request.header(CONTENT_TYPE, self.media);
        }
        request
            .body(Full::new(self.body.clone()))
            .expect("targets are made of escaped parts")
    }
}

fn judged(code: StatusCode, headers: HeaderMap, body: Bytes) -> Result<Answer, Error> {
    if code.is_success() {
        return Ok(Answer { headers, body });
    }
    Err(Error::Refused(Box::new(Status::of(code.as_u16(), &body))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Response;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use std::convert::Infallible;
    use tokio::net::UnixListener;

    /// Law 1: an operator that was restarted between two requests is no failure.
    #[tokio::test]
    async fn a_connection_that_the_operator_closed_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let served = tokio::spawn(async move {
            for _ in 0..3 {
                let (stream, _) = listener.accept().await.unwrap();
                let answer = |_| async {
                    let object = r#"{"metadata": {"name": "a"}}"#;
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(object))))
                };
                let mut server = hyper::server::conn::http1::Builder::new();
                let server = server.keep_alive(false);
                let done = server.serve_connection(TokioIo::new(stream), service_fn(answer));
                done.await.unwrap();
            }
        });
        let client = Client::new(Endpoint::Socket(path));
        let kind = cb_core::api::Kind::Tenant;
        for _ in 0..2 {
            assert_eq!(client.get(kind, "a").await.unwrap().name(), "a");
        }
        client.delete(kind, "a", false).await.unwrap();
        served.await.unwrap();
        let gone = client.get(kind, "a").await.unwrap_err();
        assert!(gone.is_final(), "{gone}");
    }
}
