//! A small HTTP client for the tenant's own api on 127.0.0.1.
//!
//! One connection serves all questions of one page and is then dropped. Time
//! and size are limited, so that a stuck api cannot make the frontend stuck.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use axum::http::{Request, StatusCode, header};
use cbapp::messages::Failure;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long connecting, and each answer, may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The largest answer, in bytes.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Why the api gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("cannot connect to the api at 127.0.0.1:{port}")]
    Connect { port: u16, source: io::Error },
    #[error("the api did not answer {path} within {} s", TIMEOUT.as_secs())]
    Timeout { path: String },
    #[error("the api broke off its answer to {path}")]
    Http { path: String, source: hyper::Error },
    #[error("the api's answer to {path} is broken or has over {MAX_ANSWER} bytes")]
    Body {
        path: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the api answers {path} with {status}: {message}")]
    Status {
        path: String,
        status: StatusCode,
        message: String,
    },
    #[error("the api's answer to {path} is not as expected")]
    Json {
        path: String,
        source: serde_json::Error,
    },
}

/// A connection to the api.
pub(crate) struct Client {
    sender: SendRequest<Empty<Bytes>>,
}

impl Client {
    /// Connects to the api on `port`.
    pub(crate) async fn connect(port: u16) -> Result<Client, ClientError> {
        let connecting = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        let path = || "a connection".to_owned();
        let stream = timeout(TIMEOUT, connecting)
            .await
            .map_err(|_| ClientError::Timeout { path: path() })?
            .map_err(|source| ClientError::Connect { port, source })?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream))
                .await
                .map_err(|source| ClientError::Http {
                    path: path(),
                    source,
                })?;
        // It ends with the sender; what goes wrong is reported by the requests.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Client { sender })
    }

    /// The api's answer to `GET path`.
    pub(crate) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ClientError> {
        timeout(TIMEOUT, self.ask(path))
            .await
            .map_err(|_| ClientError::Timeout {
                path: path.to_owned(),
            })?
    }

    async fn ask<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ClientError> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = path.parse().expect("paths are constants");
        request
            .headers_mut()
            .insert(header::HOST, "127.0.0.1".parse().expect("a constant"));
        let path = || path.to_owned();

        let http = |source| ClientError::Http {
            path: path(),
            source,
        };
        self.sender.ready().await.map_err(http)?;
        let response = self.sender.send_request(request).await.map_err(http)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|source| ClientError::Body {
                path: path(),
                source,
            })?
            .to_bytes();
        if status != StatusCode::OK {
            let message = serde_json::from_slice(&body).map_or_else(
                |_| "no reason given".to_owned(),
                |failure: Failure| failure.error,
            );
            return Err(ClientError::Status {
                path: path(),
                status,
                message,
            });
        }
        serde_json::from_slice(&body).map_err(|source| ClientError::Json {
            path: path(),
            source,
        })
    }
}
