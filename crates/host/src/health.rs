//! Health checks: one HTTP request to a port of this host.
//!
//! What answers is not trusted: the answer is bounded in time and size, and
//! what is taken from it in length and letters. A success is remembered for the
//! run of the unit it came from, so a healthy service is not asked in every
//! pass.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cb_core::observed::Health;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::Probe;

const MAX_BODY: usize = 64 << 10;
const MAX_VERSION: usize = 64;

/// Remembers successes.
#[derive(Debug, Default)]
pub struct HealthChecks {
    good: Mutex<HashMap<String, Good>>,
}

#[derive(Debug, Clone)]
struct Good {
    invocation_id: String,
    port: u16,
    path: String,
    at: Instant,
    health: Health,
}

impl HealthChecks {
    /// Asks the service, or answers from memory; see [`Probe`].
    pub async fn probe(&self, probe: &Probe) -> Health {
        if let Some(health) = self.remembered(probe) {
            return health;
        }
        let at = Instant::now();
        let health = ask(probe.port, &probe.path, probe.timeout).await;
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        if health.ok {
            let (invocation_id, path) = (probe.invocation_id.clone(), probe.path.clone());
            let entry = Good {
                invocation_id,
                port: probe.port,
                path,
                at,
                health: health.clone(),
            };
            good.insert(probe.unit.clone(), entry);
        } else {
            good.remove(&probe.unit);
        }
        health
    }

    fn remembered(&self, probe: &Probe) -> Option<Health> {
        let good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = good.get(&probe.unit)?;
        let same = entry.invocation_id == probe.invocation_id
            && entry.port == probe.port
            && entry.path == probe.path;
        (same && entry.at.elapsed() <= probe.max_age).then(|| entry.health.clone())
    }
}

/// Asks once.
pub async fn ask(port: u16, path: &str, timeout: Duration) -> Health {
    let failed = |error: String| Health {
        error: Some(error),
        ..Health::default()
    };
    let url = format!("http://127.0.0.1:{port}{path}");
    match tokio::time::timeout(timeout, request(port, path)).await {
        Ok(Ok(health)) => match health.error {
            Some(error) => failed(format!("{url}: {error}")),
            None => health,
        },
        Ok(Err(error)) => failed(format!("{url}: {error}")),
        Err(_) => failed(format!(
            "{url}: no answer within {} s",
            timeout.as_secs_f32()
        )),
    }
}

async fn request(port: u16, path: &str) -> Result<Health, String> {
    let stream = TcpStream::connect(("127.0.0.1", port))
        .await
        .map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let request = Request::get(path)
        .header("host", format!("127.0.0.1:{port}"))
        .header("user-agent", "cb-operator")
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|e| e.to_string())?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(format!("answered {}", status.as_u16()));
        }
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        let body = body.map_err(|_| "the answer is broken off or longer than 64 KiB".to_owned())?;
        Ok(read(&body.to_bytes()))
    };
    // Driven here and not in a task of its own: dropping this ends both.
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    let mut ended = false;
    std::future::poll_fn(|cx| {
        if !ended {
            ended = connection.as_mut().poll(cx).is_ready();
        }
        exchange.as_mut().poll(cx)
    })
    .await
}

/// What a body says. One that is not JSON is as healthy as any.
fn read(body: &[u8]) -> Health {
    let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let version = json.get("version").and_then(|version| version.as_str());
    let version = version.filter(|text| is_version(text)).map(str::to_owned);
    let schema_version = ["schemaVersion", "schema_version"]
        .iter()
        .find_map(|name| json.get(name)?.as_i64());
    Health {
        ok: true,
        version,
        schema_version,
        error: None,
    }
}

fn is_version(text: &str) -> bool {
    text.len() <= MAX_VERSION && !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that gives every connection the same answer and counts them.
    async fn server(answer: impl Into<Vec<u8>>) -> (u16, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let count = Arc::new(AtomicUsize::new(0));
        let (answer, counted) = (answer.into(), Arc::clone(&count));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(&answer).await;
            }
        });
        (port, count)
    }

    fn http(body: &str) -> Vec<u8> {
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
    }

    /// Not reached, however busy the machine is.
    const GENEROUS: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn version_and_schema_version_come_from_the_answer() {
        let (port, _) = server(http(r#"{"version":"v0.3.0","schema_version":7}"#)).await;
        let health = ask(port, "/health", GENEROUS).await;
        let version = Some("v0.3.0".to_owned());
        let expected = Health {
            ok: true,
            version,
            schema_version: Some(7),
            error: None,
        };
        assert_eq!(health, expected);
    }

    /// Law 10: a tenant's answer cannot bring its text into status or log.
    #[tokio::test]
    async fn hostile_answers_are_bounded() {
        let long = format!(r#"{{"version":"{}"}}"#, "x".repeat(65));
        for body in [
            long.as_str(),
            r#"{"version":"a\nb"}"#,
            r#"{"version":7}"#,
            "[]",
        ] {
            let (port, _) = server(http(body)).await;
            let health = ask(port, "/", GENEROUS).await;
            assert!(health.ok && health.version.is_none(), "{health:?}");
        }
        let (port, _) = server(http(&"x".repeat(MAX_BODY + 1))).await;
        assert!(!ask(port, "/", GENEROUS).await.ok);
        let (port, _) = server("garbage\x1b[31m\r\n\r\n").await;
        let error = ask(port, "/", GENEROUS).await.error.unwrap();
        assert!(!error.contains("garbage"), "{error}");
    }

    #[tokio::test]
    async fn only_200_counts_and_silence_ends() {
        let (port, _) = server("HTTP/1.1 503 Whatever\r\ncontent-length: 0\r\n\r\n").await;
        let health = ask(port, "/health", GENEROUS).await;
        let error = health.error.unwrap();
        assert_eq!(
            error,
            format!("http://127.0.0.1:{port}/health: answered 503")
        );
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = silent.local_addr().unwrap().port();
        let health = ask(port, "/", Duration::from_millis(50)).await;
        assert!(health.error.unwrap().contains("no answer within 0.05 s"));
        drop(silent);
        let health = ask(port, "/", GENEROUS).await;
        assert!(health.error.unwrap().contains("refused"));
    }

    #[tokio::test]
    async fn a_success_is_remembered_for_its_run_of_the_unit() {
        let (port, count) = server(http("{}")).await;
        let checks = HealthChecks::default();
        let mut probe = Probe {
            unit: "a.service".to_owned(),
            invocation_id: "1".to_owned(),
            port,
            path: "/".to_owned(),
            timeout: GENEROUS,
            max_age: Duration::from_secs(3600),
        };
        assert!(checks.probe(&probe).await.ok);
        assert!(checks.probe(&probe).await.ok);
        assert_eq!(count.load(Ordering::SeqCst), 1);
        probe.invocation_id = "2".to_owned();
        assert!(checks.probe(&probe).await.ok);
        probe.max_age = Duration::ZERO;
        assert!(checks.probe(&probe).await.ok);
        assert_eq!(count.load(Ordering::SeqCst), 3);
    }
}
