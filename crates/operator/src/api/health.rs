//! Whether the operator lives and works, for those who watch it: plain text,
//! as Kubernetes' probes expect it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use super::backend::Backend;

/// The operator answers. Whether it can do its work is [`ready`]'s to say: one
/// that is restarted does not reach a host that is out of reach any sooner.
pub(super) async fn alive() -> &'static str {
    "ok"
}

/// The manifests are being kept, or why they are not.
pub(super) async fn ready(State(backend): State<Arc<dyn Backend>>) -> Response {
    match backend.ready() {
        Ok(()) => "ok".into_response(),
        Err(why) => {
            let text = format!("not ready: {why}\n");
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}
