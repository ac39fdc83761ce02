//! Serves the API: connections, their limits, and the end.
//!
//! A client that hangs keeps one of [`MAX_CONNECTIONS`] places, and each way
//! to hang has its time: a request head, a body, an answer that is not read,
//! an idle connection, a watch. How many places and requests one user gets is
//! in [`limits`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, middleware};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::access::Origin;
use super::backend::Backend;
use super::changes::Peer;
use super::limits::{self, Shares};
use super::routes::{self, Api};
use super::socket::Socket;
use super::stream::{Handshake, Impatient, Shake};

/// How many connections there may be; more wait in the socket's queue.
const MAX_CONNECTIONS: usize = 64;
/// How long a connection may wait for the head of its (next) request.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// How long a client may leave an answer unread.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// How long requests may go on after the end was asked for.
const GRACE: Duration = Duration::from_secs(5);
/// How many connections there may be over TCP; more wait.
const MAX_REMOTE: usize = 64;
/// How long a client may take to agree on keys.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long to wait when no connection can be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop` is cancelled. Then no connection is taken, watches end,
/// and what is under way gets a few seconds. Changes that take longer are
/// abandoned with their client: the next start goes on from the files.
///
/// With an address and a certificate, the API is there too, for those with a
/// token; an address that cannot be had is told of and tried again.
pub async fn serve(
    socket: Socket,
    remote: Option<(SocketAddr, Arc<ServerConfig>)>,
    backend: Arc<dyn Backend>,
    stop: CancellationToken,
) {
    let api = Arc::new(Api::new(backend, stop.clone()));
    let rates = Arc::new(limits::Rates::default());
    let slow = middleware::from_fn_with_state(rates, limits::slow_down);
    let router = routes::router(Arc::clone(&api)).layer(slow);
    let shares = Arc::new(Shares::default());
    let local = accept(&socket.listener, MAX_CONNECTIONS, &stop, |stream| {
        let peer = stream.peer_cred().ok();
        let Some(place) = shares.take(Peer(peer)) else {
            return axum::Router::new().fallback(limits::no_place);
        };
        router
            .clone()
            .layer(Extension(Arc::new(place)))
            .layer(Extension(Peer(peer)))
            .layer(Extension(Origin::Socket(peer)))
    });
    let over_tcp = async {
        match remote {
            Some((address, tls)) => remote_connections(address, tls, &router, &stop).await,
            None => JoinSet::new(),
        }
    };
    let (mut connections, mut remote) = tokio::join!(local, over_tcp);
    // From here on clients find no socket instead of one that is silent.
    drop(socket);
    api.changes.close();
    let end = async {
        while connections.join_next().await.is_some() {}
        while remote.join_next().await.is_some() {}
        api.changes.wait().await;
    };
    if tokio::time::timeout(GRACE, end).await.is_err() {
        tracing::warn!("requests to the API were under way when the operator stopped");
        connections.shutdown().await;
        remote.shutdown().await;
    }
}

/// Takes connections over TLS until `stop` is cancelled, and gives those that
/// are still there. They have places of their own: whoever fills them keeps
/// nobody from the socket.
async fn remote_connections(
    address: SocketAddr,
    tls: Arc<ServerConfig>,
    router: &axum::Router,
    stop: &CancellationToken,
) -> JoinSet<()> {
    let bound = super::metrics::bind(address, "spec.api.listen");
    let Some(listener) = stop.run_until_cancelled(bound).await else {
        return JoinSet::new();
    };
    tracing::info!("API on https://{address}");
    let listener = Encrypted {
        listener,
        acceptor: TlsAcceptor::from(tls),
    };
    accept(&listener, MAX_REMOTE, stop, |stream| {
        router
            .clone()
            .layer(Extension(Peer::default()))
            .layer(Extension(Origin::Remote(stream.peer)))
    })
    .await
}

/// A listener whose connections are encrypted.
struct Encrypted {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listen for Encrypted {
    type Stream = Handshake;
    async fn next(&self) -> io::Result<Handshake> {
        let (stream, peer) = self.listener.accept().await?;
        let accept = Box::pin(tokio::time::timeout(
            HANDSHAKE_TIME,
            self.acceptor.accept(stream),
        ));
        Ok(Handshake {
            peer,
            state: Shake::Going(accept),
        })
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
