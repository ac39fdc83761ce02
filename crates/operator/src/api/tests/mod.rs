//! The API over a real unix socket, with a daemon that only remembers.

mod access;
mod documents;
mod events;
mod fake;
mod hostile;
mod metrics;
mod operations;
mod patches;
mod rollouts;
mod source;
mod writes;

use fake::Fake;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Socket, serve};
use crate::lock::Lock;

const V1: &str = "/apis/campaignbrain.io/v1alpha1";

/// A server of its own.
struct Server {
    fake: Arc<Fake>,
    path: PathBuf,
    stop: CancellationToken,
    served: JoinHandle<()>,
    _lock: Lock,
    _folder: tempfile::TempDir,
}

/// An answer, read whole.
struct Answer {
    status: StatusCode,
    headers: hyper::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    /// Checks that this is a `Status` of this code and reason; gives its
    /// message.
    fn failure(&self, code: u16, reason: &str) -> String {
        let status = self.json();
        assert_eq!(self.status.as_u16(), code, "{}", self.text);
        assert_eq!(status["kind"], "Status");
        assert_eq!(status["code"], code);
        assert_eq!(status["reason"], reason, "{}", self.text);
        status["message"].as_str().unwrap().to_owned()
    }
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(&folder.path().join("lock")).unwrap();
        let socket = Socket::bind(folder.path(), None, &lock).await.unwrap();
        let (path, stop) = (socket.path().to_owned(), CancellationToken::new());
        let fake = Arc::new(Fake::new().await);
        let served = tokio::spawn(serve(socket, None, fake.clone(), stop.clone()));
        Self {
            fake,
            path,
            stop,
            served,
            _lock: lock,
            _folder: folder,
        }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.path).await.unwrap()
    }

    /// Sends a request; the answer's body is still to come.
    async fn open(&self, request: Request<Full<Bytes>>) -> Response<hyper::body::Incoming> {
        let io = TokioIo::new(self.connect().await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let (head, body) = self.open(request).await.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer {
            status: head.status,
            headers: head.headers,
            text,
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(request(Method::GET, path, "", "")).await
    }

    async fn call(&self, method: Method, path: &str, media: &str, body: &str) -> Answer {
        self.send(request(method, path, media, body)).await
    }
}

fn request(method: Method, path: &str, media: &str, body: &str) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "operator");
    if !media.is_empty() {
        request = request.header("content-type", media);
    }
    request
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap()
}

/// A JSON document with what differs from run to run replaced.
fn stable(text: &str) -> String {
    fn walk(value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    match key.as_str() {
                        "resourceVersion" => *value = "[revision]".into(),
                        "gitVersion" | "platform" => *value = "[build]".into(),
                        _ => walk(value),
                    }
                }
            }
            Value::Array(list) => list.iter_mut().for_each(walk),
            _ => {}
        }
    }
    let mut value = serde_json::from_str(text).unwrap();
    walk(&mut value);
    serde_json::to_string_pretty(&value).unwrap()
}
