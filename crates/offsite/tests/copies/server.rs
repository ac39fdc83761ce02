//! A real S3-compatible server on a port of its own, which can be told to
//! fail. Its objects are files, so that a test can damage them.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use cb_offsite::{Config, Credentials, Destination, S3};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

pub(crate) const BUCKET: &str = "backups";
pub(crate) const KEY_ID: &str = "AKIATEST";
pub(crate) const SECRET: &str = "a-very-secret-secret";

/// What the server does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Every request is answered with this status.
    Status(u16),
    /// The connection ends without an answer.
    Disconnect,
    /// Requests that write are answered with 503 after this many.
    WritesFailAfter(usize),
    /// Requests that write are never answered after this many.
    WritesHangAfter(usize),
    /// What is written to objects of several parts is stored wrong.
    StoresWrong,
}

/// What the connections share.
struct Shared {
    s3: S3Service,
    root: PathBuf,
    fault: Mutex<Fault>,
    /// Method and URL of the requests that were let through.
    seen: Mutex<Vec<String>>,
    /// Gets a permit for every request that hangs.
    hanging: Semaphore,
}

/// The server. It ends with the test's runtime.
pub(crate) struct Server {
    root: TempDir,
    shared: Arc<Shared>,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// A server with an empty bucket.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::start_on(listener, None)
    }

    pub(crate) fn start_on(listener: TcpListener, tls: Option<TlsAcceptor>) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(BUCKET)).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        let shared = Arc::new(Shared {
            s3: builder.build(),
            root: root.path().to_owned(),
            fault: Mutex::new(Fault::None),
            seen: Mutex::new(Vec::new()),
            hanging: Semaphore::new(0),
        });
        let address = listener.local_addr().unwrap();
        tokio::spawn(accept(listener, tls, Arc::clone(&shared)));
        Self {
            root,
            shared,
            address,
        }
    }

    /// The settings of the bucket, over plain HTTP.
    pub(crate) fn settings(&self) -> S3 {
        settings(&format!("http://{}", self.address))
    }

    pub(crate) fn destination(&self) -> Destination {
        Destination::new(&Config::S3(self.settings())).unwrap()
    }

    pub(crate) fn set_fault(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
    }

    /// Waits until a request hangs.
    pub(crate) async fn hangs(&self) {
        self.shared.hanging.acquire().await.unwrap().forget();
    }

    /// How many of the requests since the last call contain a text.
    pub(crate) fn count(&self, text: &str) -> usize {
        let seen = std::mem::take(&mut *self.shared.seen.lock().unwrap());
        seen.iter().filter(|request| request.contains(text)).count()
    }

    /// The file of an object, or the folder of several.
    pub(crate) fn file(&self, key: &str) -> PathBuf {
        self.root.path().join(BUCKET).join(key)
    }
}

/// The settings of the bucket at an address.
pub(crate) fn settings(endpoint: &str) -> S3 {
    S3 {
        bucket: BUCKET.parse().unwrap(),
        prefix: Some("host-1".parse().unwrap()),
        region: "us-east-1".parse().unwrap(),
        endpoint: Some(endpoint.parse().unwrap()),
        credentials: Credentials::parse(&format!("{KEY_ID}\n{SECRET}\n")).unwrap(),
        ca_file: None,
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            match tls {
                None => serve(stream, shared).await,
                // A client that does not trust the certificate ends it here.
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, shared).await;
                    }
                }
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shared: Arc<Shared>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
    let builder = Builder::new(TokioExecutor::new());
    // It fails when a client goes away, which is what some tests do.
    let _ = builder
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> io::Result<Response<s3s::Body>> {
    let writes = [Method::PUT, Method::POST, Method::DELETE].contains(request.method());
    let path = request.uri().path().to_owned();
    let line = format!("{} {}", request.method(), request.uri());
    let fault = shared.next_fault(writes);
    match fault {
        Fault::Status(status) => return Ok(failure(status)),
        Fault::Disconnect => return Err(io::Error::other("as the test wants it")),
        Fault::WritesFailAfter(0) if writes => return Ok(failure(503)),
        Fault::WritesHangAfter(0) if writes => {
            shared.hanging.add_permits(1);
            std::future::pending::<()>().await;
        }
        _ => {}
    }
    let completes = request.method() == Method::POST && line.contains("uploadId=");
    shared.seen.lock().unwrap().push(line);
    let answer = shared
        .s3
        .call(request.map(s3s::Body::from))
        .await
        .map_err(io::Error::other)?;
    if fault == Fault::StoresWrong && completes {
        spoil(&shared.root, &path);
    }
    Ok(answer)
}

impl Shared {
    /// The fault that applies to a request, and counts it.
    fn next_fault(&self, writes: bool) -> Fault {
        let mut fault = self.fault.lock().unwrap();
        let now = *fault;
        if writes {
            match &mut *fault {
                Fault::WritesFailAfter(left) | Fault::WritesHangAfter(left) => {
                    *left = left.saturating_sub(1);
                }
                _ => {}
            }
        }
        now
    }
}

fn failure(status: u16) -> Response<s3s::Body> {
    let body = format!("<Error><Code>AsTheTestWants</Code><Message>{SECRET}</Message></Error>");
    let response = Response::builder().status(status);
    response.body(s3s::Body::from(body)).unwrap()
}

fn spoil(root: &Path, url_path: &str) {
    let file = root.join(url_path.trim_start_matches('/'));
    crate::fixtures::flip(&file);
}
