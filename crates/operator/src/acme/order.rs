//! One order: the authority asks for each domain over HTTP, and signs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cb_core::acme::Failed;
use cb_core::types::DomainName;
use cb_host::files::{self, FileSpec, chain};
use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, NewOrder, Order, OrderStatus,
    RetryPolicy,
};

/// How long the authority may take to look at the domains, and to sign.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long an order may take in all.
const WHOLE: Duration = Duration::from_secs(300);
const UNKNOWN_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// Why no certificate was issued. No message holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// Something on this host.
    #[error("{0}")]
    Here(String),
    /// The authority could not be asked, or did not end in time.
    #[error("the authority cannot be asked: {0}")]
    Unreachable(String),
    /// The authority says no.
    #[error("the authority refuses: {words}")]
    Refused {
        /// Its words.
        words: String,
        /// Whether it does not know the account.
        unknown_account: bool,
    },
}

impl OrderError {
    /// Something on this host.
    pub(super) fn here(error: impl std::fmt::Display) -> Self {
        OrderError::Here(format!("{error:#}"))
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> Failed {
        match self {
            OrderError::Refused {
                unknown_account: false,
                ..
            } => Failed::Refused,
            _ => Failed::Unreachable,
        }
    }

    pub(super) fn is_unknown_account(&self) -> bool {
        matches!(
            self,
            OrderError::Refused {
                unknown_account: true,
                ..
            }
        )
    }
}

impl From<Error> for OrderError {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(problem) if problem.status.is_none_or(|status| status < 500) => {
                let details = problem.subproblems.iter().map(|sub| &sub.detail);
                let details = std::iter::once(&problem.detail).chain(details).flatten();
                let details: Vec<&str> = details.map(String::as_str).collect();
                OrderError::Refused {
                    words: one_line(&details.join("; ")),
                    unknown_account: problem.r#type.as_deref() == Some(UNKNOWN_ACCOUNT),
                }
            }
            other => OrderError::Unreachable(one_line(&chain(&other))),
        }
    }
}

/// Has a certificate issued; the chain and the key.
pub(super) async fn issue(
    account: &Account,
    domains: &[DomainName],
    challenges: &Path,
) -> Result<(String, String), OrderError> {
    let mut answers = Answers::default();
    let work = work(account, domains, challenges, &mut answers);
    let issued = tokio::time::timeout(WHOLE, work).await;
    // Also of an order that took too long.
    answers.remove();
    issued.unwrap_or_else(|_| {
        let words = format!("the order did not end within {} s", WHOLE.as_secs());
        Err(OrderError::Unreachable(words))
    })
}

async fn work(
    account: &Account,
    domains: &[DomainName],
    challenges: &Path,
    answers: &mut Answers,
) -> Result<(String, String), OrderError> {
    let domains = domains
        .iter()
        .map(|domain| Identifier::Dns(domain.to_string()));
    let identifiers: Vec<Identifier> = domains.collect();
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            _ => return Err(refused(&mut order).await),
        }
        let challenge = authorization.challenge(ChallengeType::Http01);
        let mut challenge = challenge.ok_or_else(|| OrderError::Refused {
            words: "it offers no challenge over HTTP".into(),
            unknown_account: false,
        })?;
        let answer = challenge.key_authorization();
        answers.add(challenges, &challenge.token, answer.as_str())?;
        challenge.set_ready().await?;
    }
    let policy = RetryPolicy::new().timeout(PATIENCE);
    match order.poll_ready(&policy).await {
        Ok(OrderStatus::Ready) => {}
        Ok(_) => return Err(refused(&mut order).await),
        Err(Error::Api(problem)) => {
            let error = OrderError::from(Error::Api(problem));
            let words = failures(&mut order).await;
            return Err(if words.is_empty() {
                error
            } else {
                not_seen(words)
            });
        }
        Err(error) => return Err(error.into()),
    }
    let key = order.finalize().await?;
    let chain = order.poll_certificate(&policy).await?;
    Ok((chain, key))
}

/// Why the authority does not go on with an order.
async fn refused(order: &mut Order) -> OrderError {
    let words = failures(order).await;
    if words.is_empty() {
        return not_seen(vec!["it gives no reason".into()]);
    }
    not_seen(words)
}

fn not_seen(words: Vec<String>) -> OrderError {
    OrderError::Refused {
        words: words.join("; "),
        unknown_account: false,
    }
}

/// What the authority says of each domain that it could not see.
async fn failures(order: &mut Order) -> Vec<String> {
    let mut words = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let Ok(mut authorization) = authorization else {
            continue;
        };
        if authorization.refresh().await.is_err() {
            continue;
        }
        let domain = authorization.identifier().to_string();
        let errors = authorization.challenges.iter();
        let errors = errors.filter_map(|challenge| challenge.error.as_ref()?.detail.as_deref());
        words.extend(errors.map(|error| format!("{domain}: {}", one_line(error))));
    }
    words
}

/// The answers to challenges that nginx gives.
#[derive(Default)]
struct Answers(Vec<PathBuf>);

impl Answers {
    /// The token is a name from outside: only its own letters make a file.
    fn add(&mut self, folder: &Path, token: &str, answer: &str) -> Result<(), OrderError> {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if token.is_empty() || token.len() > 200 || !token.bytes().all(letter) {
            return Err(OrderError::Refused {
                words: "its challenge has a token that is none".into(),
                unknown_account: false,
            });
        }
        let path = folder.join(token);
        self.0.push(path.clone());
        files::write(&path, answer.as_bytes(), FileSpec::own(0o644)).map_err(OrderError::here)
    }

    fn remove(&self) {
        for path in &self.0 {
            if let Err(error) = files::remove(path) {
                tracing::warn!("{error}");
            }
        }
    }
}

/// Words from outside, fit for a message.
fn one_line(words: &str) -> String {
    const MAX: usize = 500;
    let plain = words.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law 10: a token is a file name that the authority chooses.
    #[test]
    fn a_token_makes_a_file_in_the_folder_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let mut answers = Answers::default();
        for bad in ["", "..", "a/b", "../x", "a\n", &"a".repeat(201)] {
            assert!(answers.add(folder.path(), bad, "x").is_err(), "{bad}");
        }
        let token = "abc-DEF_123";
        answers.add(folder.path(), token, "x.y").unwrap();
        let file = folder.path().join(token);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "x.y");
        answers.remove();
        assert!(!file.exists());
    }

    #[test]
    fn a_failure_is_of_a_kind() {
        let problem = |kind: &str, status: u16| {
            let text = format!(
                r#"{{"type": "urn:ietf:params:acme:error:{kind}", "detail": "a\nb", "status": {status}}}"#
            );
            OrderError::from(Error::Api(serde_json::from_str(&text).unwrap()))
        };
        let refused = problem("rejectedIdentifier", 400);
        assert_eq!(refused.to_string(), "the authority refuses: a b");
        assert_eq!(refused.kind(), Failed::Refused);
        assert!(!refused.is_unknown_account());
        let unknown = problem("accountDoesNotExist", 400);
        assert!(unknown.is_unknown_account());
        assert_eq!(unknown.kind(), Failed::Unreachable);
        assert_eq!(problem("serverInternal", 500).kind(), Failed::Unreachable);
        assert_eq!(OrderError::from(Error::Crypto).kind(), Failed::Unreachable);
    }
}
