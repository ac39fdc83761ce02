//! The authority: an HTTP client, and the account there.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cb_host::files::{self, FileCache, FileSpec, chain};
use instant_acme::{
    Account, AccountCredentials, BodyWrapper, BytesResponse, Error, HttpClient, NewAccount,
};
use reqwest::Certificate;
use serde::{Deserialize, Serialize};

use super::{OrderError, Wanted};

const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(30);
/// Answers are a few KB.
const MAX_ANSWER: usize = 1 << 20;

/// Knows the authority and the account there.
pub(super) struct Client {
    wanted: Wanted,
    file: PathBuf,
    account: Mutex<Option<Account>>,
}

/// The file of the account.
#[derive(Serialize, Deserialize)]
struct Saved {
    directory: String,
    credentials: AccountCredentials,
}

impl Client {
    pub(super) fn new(wanted: Wanted, file: PathBuf) -> Self {
        Self {
            wanted,
            file,
            account: Mutex::default(),
        }
    }

    /// The account at the authority; made if there is none yet, or the Host
    /// names another authority by now.
    pub(super) async fn account(&self) -> Result<Account, OrderError> {
        if let Some(account) = self.known().clone() {
            return Ok(account);
        }
        let account = match self.saved()? {
            Some(credentials) => self.builder()?.from_credentials(credentials).await?,
            None => self.create().await?,
        };
        *self.known() = Some(account.clone());
        Ok(account)
    }

    /// The authority does not know the account: the next order makes one.
    pub(super) fn forget(&self) {
        *self.known() = None;
        if let Err(error) = files::remove(&self.file) {
            tracing::warn!("{error}");
        }
    }

    fn known(&self) -> MutexGuard<'_, Option<Account>> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn saved(&self) -> Result<Option<AccountCredentials>, OrderError> {
        if !self.file.exists() {
            return Ok(None);
        }
        let content = FileCache::content(&self.file).map_err(OrderError::here)?;
        let saved: Saved = match serde_json::from_slice(&content) {
            Ok(saved) => saved,
            // The words of the error could have a part of the key.
            Err(_) => {
                let file = self.file.display();
                return Err(OrderError::here(format!(
                    "{file} is no account; move it away to have another one made"
                )));
            }
        };
        let same = saved.directory == self.wanted.directory.as_str();
        Ok(same.then_some(saved.credentials))
    }

    async fn create(&self) -> Result<Account, OrderError> {
        let contacts = self.wanted.contacts.iter();
        let contacts: Vec<String> = contacts.map(|c| format!("mailto:{c}")).collect();
        let contacts: Vec<&str> = contacts.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contacts,
            terms_of_service_agreed: self.wanted.terms_of_service_agreed,
            only_return_existing: false,
        };
        let directory = self.wanted.directory.to_string();
        let builder = self.builder()?;
        let (account, credentials) = builder.create(&new, directory.clone(), None).await?;
        let saved = Saved {
            directory,
            credentials,
        };
        let saved = serde_json::to_vec(&saved).map_err(OrderError::here)?;
        files::write(&self.file, &saved, FileSpec::own(0o600)).map_err(OrderError::here)?;
        tracing::info!("an account was made at {}", self.wanted.directory);
        Ok(account)
    }

    fn builder(&self) -> Result<instant_acme::AccountBuilder, OrderError> {
        let http = self.http().map_err(OrderError::here)?;
        Ok(Account::builder_with_http(Box::new(Http(http))))
    }

    fn http(&self) -> anyhow::Result<reqwest::Client> {
        // Fails if it was chosen before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("cb-operator/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(ANSWER);
        if let Some(file) = &self.wanted.ca_file {
            let pem = FileCache::content(file.as_str().as_ref())?;
            builder = builder.tls_certs_only(Certificate::from_pem_bundle(&pem)?);
        }
        Ok(builder.build()?)
    }
}

struct Http(reqwest::Client);

impl HttpClient for Http {
    fn request(
        &self,
        request: http::Request<BodyWrapper<bytes::Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let failed = |error: reqwest::Error| Error::Other(chain(&error).into());
            let body = http_body_util::BodyExt::collect(body)
                .await
                .map_or_else(|never| match never {}, |body| body.to_bytes());
            let request = http::Request::from_parts(head, body);
            let request = reqwest::Request::try_from(request).map_err(failed)?;
            let mut answer = client.execute(request).await.map_err(failed)?;
            let mut content = Vec::new();
            while let Some(part) = answer.chunk().await.map_err(failed)? {
                if content.len() + part.len() > MAX_ANSWER {
                    return Err(Error::Str("an answer of a sensible size"));
                }
                content.extend_from_slice(&part);
            }
            let mut head = http::Response::new(());
            *head.status_mut() = answer.status();
            *head.headers_mut() = std::mem::take(answer.headers_mut());
            let (parts, ()) = head.into_parts();
            Ok(BytesResponse {
                parts,
                body: Box::new(bytes::Bytes::from(content)),
            })
        })
    }
}
