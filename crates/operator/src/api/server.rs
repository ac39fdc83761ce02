//! Serves the API: connections, their limits, and the end.
//!
//! A client that hangs keeps one of [`MAX_CONNECTIONS`] places, and each way
//! to hang has its time: a request head, a body, an answer that is not read,
//! an idle connection, a watch.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::backend::Backend;
use super::changes::Peer;
use super::routes::{self, Api};
use super::socket::Socket;
use super::stream::Impatient;

/// How many connections there may be; more wait in the socket's queue.
const MAX_CONNECTIONS: usize = 64;
/// How long a connection may wait for the head of its (next) request.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// How long a client may leave an answer unread.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// How long requests may go on after the end was asked for.
const GRACE: Duration = Duration::from_secs(5);
/// How long to wait when no connection can be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop` is cancelled. Then no connection is taken, watches end,
/// and what is under way gets a few seconds. Changes that take longer are
/// abandoned with their client: the next start goes on from the files.
pub async fn serve(socket: Socket, backend: Arc<dyn Backend>, stop: CancellationToken) {
    let api = Arc::new(Api::new(backend, stop.clone()));
    let router = routes::router(Arc::clone(&api));
    let mut connections = accept(&socket.listener, MAX_CONNECTIONS, &stop, |stream| {
        let peer = Peer(stream.peer_cred().ok());
        router.clone().layer(Extension(peer))
    })
    .await;
    // From here on clients find no socket instead of one that is silent.
    drop(socket);
    api.changes.close();
    let end = async {
        while connections.join_next().await.is_some() {}
        api.changes.wait().await;
    };
    if tokio::time::timeout(GRACE, end).await.is_err() {
        tracing::warn!("requests to the API were under way when the operator stopped");
        connections.shutdown().await;
    }
}

/// What takes connections.
pub(super) trait Listen {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listen for UnixListener {
    type Stream = UnixStream;
    async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

impl Listen for TcpListener {
    type Stream = TcpStream;
    async fn next(&self) -> io::Result<TcpStream> {
        Ok(self.accept().await?.0)
    }
}

/// Takes connections until `stop` is cancelled, `most` at a time, and gives
/// those that are still there.
pub(super) async fn accept<L: Listen>(
    listener: &L,
    most: usize,
    stop: &CancellationToken,
    router: impl Fn(&L::Stream) -> axum::Router,
) -> JoinSet<()> {
    let places = Arc::new(Semaphore::new(most));
    let mut connections = JoinSet::new();
    loop {
        let place = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let stream = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.next() => match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!("the API cannot take a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let (router, stop) = (router(&stream), stop.clone());
        connections.spawn(async move {
            connection(stream, router, stop).await;
            drop(place);
        });
        while connections.try_join_next().is_some() {}
    }
    connections
}

async fn connection<S>(stream: S, router: axum::Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let stream = TokioIo::new(Impatient::new(stream, WRITE_TIME));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(stream, service);
    let mut connection = std::pin::pin!(connection);
    let done = tokio::select! {
        done = connection.as_mut() => done,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = done {
        tracing::debug!("a connection to the API ended: {error}");
    }
}
