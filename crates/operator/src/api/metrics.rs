//! `/metrics`, and the paths that may be read over TCP.
//!
//! The socket has these paths for root and its group. On the address of the
//! Host's `spec.api.metricsAddress` everybody who reaches it can read them, so
//! they change nothing, and nothing else is there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::backend::Backend;
use super::health;
use super::server::accept;
use crate::metrics::{CONTENT_TYPE, Metrics};

/// How many connections there may be over TCP; more wait.
const MAX_CONNECTIONS: usize = 16;
/// How long to wait for an address that cannot be had. It may be one that the
/// network brings later.
const BIND_PAUSE: Duration = Duration::from_secs(5);

/// The paths that may be read by everybody.
pub(super) fn public<S>(backend: Arc<dyn Backend>) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .with_state(backend)
}

/// Serves them on an address until `stop` is cancelled. An address that cannot
/// be had is told of and tried again: nothing else depends on it.
pub async fn serve_metrics(
    address: SocketAddr,
    backend: Arc<dyn Backend>,
    stop: CancellationToken,
) {
    let serve = async {
        let listener = bind(address, "spec.api.metricsAddress").await;
        tracing::info!("metrics on http://{address}/metrics");
        let router = public(backend);
        let mut connections = accept(&listener, MAX_CONNECTIONS, &stop, |_| router.clone()).await;
        while connections.join_next().await.is_some() {}
    };
    // What is under way is not worth waiting for.
    let _ = stop.run_until_cancelled(serve).await;
}

/// Listens on the address that this field of the Host names, as soon as that
/// can be had.
pub(super) async fn bind(address: SocketAddr, field: &str) -> TcpListener {
    let mut told = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) if !told => {
                tracing::warn!(
                    "cannot listen on {address}, the Host's {field}: {error}; trying again"
                );
                told = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(BIND_PAUSE).await;
    }
}

async fn metrics(State(backend): State<Arc<dyn Backend>>) -> Response {
    let text = backend.metrics().text();
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
}

/// Counts the requests to the API.
pub(super) async fn count(
    State(metrics): State<Arc<Metrics>>,
    request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    let response = next.run(request).await;
    metrics.api_request(method.as_str(), response.status().as_u16());
    response
}
