//! Sends over HTTP and HTTPS.
//!
//! URLs and keys may be in files of root's; they are read for each message, so
//! that a new one takes effect at once, and no error repeats them (law 11).
//! Redirects are not followed: they would hand the message to somebody else.

use std::path::PathBuf;
use std::time::Duration;

use cb_core::types::{HostPath, HttpUrl};
use cb_host::files::chain;
use cb_host::secrets::read_secret;
use data_encoding::HEXLOWER;
use hmac::{Hmac, Mac as _};
use reqwest::header::CONTENT_TYPE;
use sha2::Sha256;
use tokio::sync::OnceCell;

use super::transport::DeliveryError;

/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(5);

/// Where to send to.
#[derive(Debug, Clone)]
pub(super) struct Target {
    from: From,
    path: &'static str,
}

#[derive(Debug, Clone)]
enum From {
    Url(HttpUrl),
    File(PathBuf),
}

impl Target {
    /// A target whose URL is this or is in this file, with a path added to it.
    pub(super) fn new(url: &Option<HttpUrl>, file: &Option<HostPath>, path: &'static str) -> Self {
        let from = match (url, file) {
            (Some(url), _) => From::Url(url.clone()),
            (None, file) => From::File(file.as_ref().map_or("", HostPath::as_str).into()),
        };
        Self { from, path }
    }

    async fn url(&self) -> Result<String, DeliveryError> {
        let url = match &self.from {
            From::Url(url) => url.to_string(),
            From::File(path) => {
                let text = read(path.clone()).await?;
                let url: Result<HttpUrl, _> = text.parse();
                let wrong = || {
                    let path = path.display();
                    DeliveryError(format!("{path} does not hold one http or https URL"))
                };
                url.map_err(|_| wrong())?.to_string()
            }
        };
        if self.path.is_empty() {
            return Ok(url);
        }
        Ok(format!("{}{}", url.trim_end_matches('/'), self.path))
    }
}

/// An HTTP client; its connections are kept.
#[derive(Debug)]
pub(super) struct Client {
    answer: Duration,
    plain: OnceCell<reqwest::Client>,
    /// Made when it is needed: a host without certificates of authorities can
    /// still speak HTTP.
    tls: OnceCell<reqwest::Client>,
}

impl Client {
    /// A client that waits so long for an answer.
    pub(super) fn new(answer: Duration) -> Self {
        Self {
            answer,
            plain: OnceCell::new(),
            tls: OnceCell::new(),
        }
    }

    async fn of(&self, url: &str) -> Result<&reqwest::Client, DeliveryError> {
        let builder = || {
            // Fails if it was chosen before, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
            reqwest::Client::builder()
                .user_agent(concat!("cb-operator/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT)
                .timeout(self.answer)
        };
        if url.starts_with("http://") {
            let make = async || builder().tls_certs_only([]).build();
            return self.plain.get_or_try_init(make).await.map_err(failed);
        }
        let make = async || builder().build();
        self.tls.get_or_try_init(make).await.map_err(|error| {
            let error = chain(&error.without_url());
            DeliveryError(format!(
                "this host cannot check certificates ({error}); install the package ca-certificates"
            ))
        })
    }

    /// Posts JSON; signs it with the key in the file, if there is one.
    pub(super) async fn post(
        &self,
        target: &Target,
        id: &str,
        body: String,
        secret: Option<&HostPath>,
    ) -> Result<(), DeliveryError> {
        let url = target.url().await?;
        let mut request = self
            .of(&url)
            .await?
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("idempotency-key", id);
        if let Some(file) = secret {
            let key = read(file.as_str().into()).await?;
            request = request.header("x-cb-signature-256", signature(&key, &body)?);
        }
        let answer = request.body(body).send().await.map_err(failed)?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(DeliveryError(format!("it answered {}", answer.status())))
    }
}

/// In words without the URL.
fn failed(error: reqwest::Error) -> DeliveryError {
    let what = if error.is_timeout() {
        "it does not answer in time"
    } else if error.is_connect() {
        "it cannot be connected to"
    } else if error.is_builder() {
        "its URL cannot be used"
    } else {
        "the request failed"
    };
    let cause = std::error::Error::source(&error.without_url()).map(chain);
    DeliveryError(match cause {
        Some(cause) => format!("{what}: {cause}"),
        None => what.to_owned(),
    })
}

fn signature(key: &str, body: &str) -> Result<String, DeliveryError> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes())
        .map_err(|error| DeliveryError(error.to_string()))?;
    mac.update(body.as_bytes());
    let hex = HEXLOWER.encode(&mac.finalize().into_bytes());
    Ok(format!("sha256={hex}"))
}

/// What is in a file that root alone can read.
async fn read(path: PathBuf) -> Result<String, DeliveryError> {
    let read = move || {
        let content = read_secret(&path).map_err(|error| chain(&error))?;
        let text = std::str::from_utf8(&content);
        let text = text.map_err(|_| format!("{} is not text", path.display()))?;
        Ok(text.to_owned())
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(text) => text.map_err(DeliveryError),
        Err(error) => Err(DeliveryError(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 4231, 4.3.
    #[test]
    fn a_body_is_signed_as_others_check_it() {
        assert_eq!(
            signature("Jefe", "what do ya want for nothing?").unwrap(),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
