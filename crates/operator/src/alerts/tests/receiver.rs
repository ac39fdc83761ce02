//! An HTTP receiver on a port of its own that does what it is told.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What to do with a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    /// Answer with this code.
    Answer(u16),
    /// Do not answer.
    Hang,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) path: String,
    pub(super) id: String,
    pub(super) signature: Option<String>,
    pub(super) text: String,
    /// The text as JSON.
    pub(super) body: Value,
}

#[derive(Default)]
struct Shared {
    acts: VecDeque<Act>,
    refused: Vec<Received>,
}

pub(super) struct Receiver {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    sender: mpsc::UnboundedSender<Received>,
    accepted: mpsc::UnboundedReceiver<Received>,
}

impl Receiver {
    /// One that has a port and takes no connection. The port is kept by a
    /// listener that is dropped, so that connecting is refused.
    pub(super) async fn down() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let (sender, accepted) = mpsc::unbounded_channel();
        Self {
            address,
            shared: Arc::default(),
            sender,
            accepted,
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Begins to take connections. Does these things first and then accepts
    /// everything.
    pub(super) async fn up(&mut self, acts: impl IntoIterator<Item = Act>) {
        self.next_acts(acts);
        let listener = TcpListener::bind(self.address).await.unwrap();
        let (shared, sender) = (Arc::clone(&self.shared), self.sender.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (shared, sender) = (Arc::clone(&shared), sender.clone());
                tokio::spawn(async move {
                    let service = service_fn(|request| answer(request, &shared, &sender));
                    let server = hyper::server::conn::http1::Builder::new();
                    // A client that gave up is what some acts are for.
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
    }

    /// What to do with the next requests.
    pub(super) fn next_acts(&self, acts: impl IntoIterator<Item = Act>) {
        self.shared.lock().unwrap().acts.extend(acts);
    }

    /// The next request that was answered with 200.
    pub(super) async fn accepted(&mut self) -> Received {
        self.accepted.recv().await.unwrap()
    }

    /// Whether none is left.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.accepted.try_recv().is_err()
    }

    /// The requests that were not.
    pub(super) fn refused(&self) -> Vec<Received> {
        self.shared.lock().unwrap().refused.clone()
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: &Mutex<Shared>,
    sender: &mpsc::UnboundedSender<Received>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let text = body.collect().await.unwrap().to_bytes().to_vec();
    let text = String::from_utf8(text).unwrap();
    let header = |name: &str| {
        let value = head.headers.get(name)?.to_str().unwrap();
        Some(value.to_owned())
    };
    assert_eq!(header("content-type").as_deref(), Some("application/json"));
    let received = Received {
        path: head.uri.path().to_owned(),
        id: header("idempotency-key").unwrap(),
        signature: header("x-cb-signature-256"),
        body: serde_json::from_str(&text).unwrap(),
        text,
    };
    let act = shared.lock().unwrap().acts.pop_front();
    let code = match act {
        None => {
            // The test may have ended.
            let _ = sender.send(received);
            200
        }
        Some(act) => {
            shared.lock().unwrap().refused.push(received);
            match act {
                Act::Answer(code) => code,
                Act::Hang => std::future::pending().await,
            }
        }
    };
    let answer = Response::builder().status(code);
    Ok(answer.body(Empty::new()).unwrap())
}
