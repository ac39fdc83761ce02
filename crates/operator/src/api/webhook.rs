//! The address that a git server tells of a push.
//!
//! It says that there may be a new commit and nothing else: what it is asked of
//! the repository. So a forged or lost message does no harm, and none of the
//! body is read but for its signature.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use cb_host::files::chain;
use data_encoding::HEXLOWER_PERMISSIVE;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use tokio_util::sync::CancellationToken;

use super::metrics::bind;
use super::request;
use super::server::accept;
use crate::source::Source;

/// How many connections there may be; more wait.
const MAX_CONNECTIONS: usize = 8;
/// The largest message. A push of so many commits that it is longer is noticed
/// after the interval.
const MAX_BODY: usize = 1 << 20;
/// The signature of GitHub, Gitea and Forgejo: the HMAC of the body.
const SIGNATURE: &str = "x-hub-signature-256";
/// What GitLab sends: the secret itself.
const TOKEN: &str = "x-gitlab-token";

struct Hook {
    source: Source,
    secret: PathBuf,
}

/// Wakes the task that follows the repository for each message with the secret
/// of the file, until `stop` is cancelled.
pub async fn serve_webhook(
    address: SocketAddr,
    secret: PathBuf,
    source: Source,
    stop: CancellationToken,
) {
    let router = Router::new()
        .route("/", post(wake))
        .with_state(Arc::new(Hook { source, secret }));
    let serve = async {
        let listener = bind(address, "spec.source.git.webhook.address").await;
        tracing::info!("a git server can tell of pushes on http://{address}/");
        let mut connections = accept(&listener, MAX_CONNECTIONS, &stop, |_| router.clone()).await;
        while connections.join_next().await.is_some() {}
    };
    // What is under way is not worth waiting for.
    let _ = stop.run_until_cancelled(serve).await;
}

async fn wake(State(hook): State<Arc<Hook>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = match request::body(body, MAX_BODY).await {
        Ok(body) => body,
        Err(refused) => return refused.into_response(),
    };
    let path = hook.secret.clone();
    // For each message, so that a new secret takes effect at once.
    let read = move || cb_host::secrets::read_secret(&path).map_err(|error| chain(&error));
    let secret = tokio::task::spawn_blocking(read).await;
    let secret = match secret.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(secret) => secret,
        Err(problem) => {
            tracing::warn!("a message of the git server is not believed: {problem}");
            let problem = "the operator cannot read the secret; its log says more";
            return (StatusCode::SERVICE_UNAVAILABLE, problem).into_response();
        }
    };
    if !is_signed(&secret, &head.headers, &body) {
        let problem = "the signature (X-Hub-Signature-256) or token (X-Gitlab-Token) is missing or not that of the secret";
        return (StatusCode::UNAUTHORIZED, problem).into_response();
    }
    hook.source.wake();
    (StatusCode::ACCEPTED, "the repository is looked at").into_response()
}

/// Whether whoever sent it has the secret; compared in constant time.
fn is_signed(secret: &[u8], headers: &HeaderMap, body: &[u8]) -> bool {
    let of = |text: &[u8]| {
        Hmac::<Sha256>::new_from_slice(secret)
            .ok()
            .map(|mac| mac.chain_update(text))
    };
    let header = |name: &str| headers.get(name).map(|value| value.as_bytes());
    if let Some(signature) = header(SIGNATURE) {
        let given = signature
            .strip_prefix(b"sha256=")
            .and_then(|hex| HEXLOWER_PERMISSIVE.decode(hex).ok());
        let mac = given.zip(of(body));
        return mac.is_some_and(|(given, mac)| mac.verify_slice(&given).is_ok());
    }
    // Digests of both, as they have one length.
    let token = header(TOKEN).and_then(of);
    let mac = token.zip(of(secret));
    mac.is_some_and(|(token, mac)| mac.verify(&token.finalize().into_bytes()).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())])
    }

    #[test]
    fn only_who_has_the_secret_is_believed() {
        // Computed by `printf hello | openssl dgst -sha256 -hmac key`.
        let good = "sha256=9307b3b915efb5171ff14d8cb55fbcc798c6c0ef1456d66ded1a6aa723a58b7b";
        let check = |name, value: &str, body: &[u8]| is_signed(b"key", &headers(name, value), body);
        assert!(check(SIGNATURE, good, b"hello"));
        assert!(!check(SIGNATURE, good, b"hello!"));
        for bad in [
            "",
            "sha256=",
            "sha256=93",
            "sha256=zz",
            "sha1=9307",
            "9307b3",
        ] {
            assert!(!check(SIGNATURE, bad, b"hello"), "{bad}");
        }
        assert!(check(TOKEN, "key", b""));
        assert!(!check(TOKEN, "kez", b"") && !check(TOKEN, "", b""));
        assert!(!is_signed(b"key", &HeaderMap::new(), b"hello"));
    }
}
