//! What can go wrong, told so that a person knows what to do, and whether
//! trying again later can help.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

use cb_core::types::{BackupId, TenantName};
use object_store::client::{HttpError, HttpErrorKind};
use rustls::CertificateError;

/// Why something could not be done with a copy. No message has a secret in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting cannot be used.
    #[error("{field}: {problem}")]
    Settings {
        /// The setting.
        field: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The bucket or folder is not there.
    #[error("{destination} does not exist; make it, or correct its name")]
    NoDestination {
        /// The destination.
        destination: String,
    },
    /// The object store does not accept the credentials, or they do not allow
    /// the action.
    #[error(
        "{destination} refused to {action}: {reason}; check the access key, its secret and what it may do"
    )]
    Credentials {
        /// The destination.
        destination: String,
        /// What was tried.
        action: String,
        /// The server's answer.
        reason: String,
    },
    /// The server's certificate is not trusted.
    #[error(
        "the certificate of {destination} is not trusted ({reason}); set the file of certificates that sign it"
    )]
    Certificate {
        /// The destination.
        destination: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The destination cannot be reached or is overloaded; it may be later.
    #[error("cannot {action} at {destination} now: {reason}")]
    Unavailable {
        /// The destination.
        destination: String,
        /// What was tried.
        action: String,
        /// What was seen.
        reason: String,
    },
    /// The destination refuses the action for another reason.
    #[error("cannot {action} at {destination}: {reason}")]
    Refused {
        /// The destination.
        destination: String,
        /// What was tried.
        action: String,
        /// What was seen.
        reason: String,
    },
    /// There is no whole copy of the backup.
    #[error("{destination} has no whole copy of the backup {id} of {tenant}")]
    NotFound {
        /// The destination.
        destination: String,
        /// The tenant.
        tenant: TenantName,
        /// The backup.
        id: BackupId,
    },
    /// There is a whole copy of that name, of another backup.
    #[error(
        "{destination} has another backup under the name {id} of {tenant}, which is kept; if it is not wanted, delete it there first"
    )]
    Different {
        /// The destination.
        destination: String,
        /// The tenant.
        tenant: TenantName,
        /// The backup.
        id: BackupId,
    },
    /// What is stored is not what was sent.
    #[error("{key} at {destination} is damaged: {problem}")]
    Damaged {
        /// The destination.
        destination: String,
        /// The object.
        key: String,
        /// How it differs.
        problem: String,
    },
    /// A folder on the host is not a backup.
    #[error("{} is not a backup: {problem}", path.display())]
    NotABackup {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The place for a fetched backup is taken.
    #[error("{} exists already; choose a new name", path.display())]
    Exists {
        /// The place.
        path: PathBuf,
    },
    /// A file on the host could not be read or written.
    #[error("cannot {action} {}", path.display())]
    Local {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl Error {
    /// Whether the same call may succeed later without anybody changing
    /// something: the network, an overloaded server.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    pub(crate) fn local(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Local {
            action,
            path,
            source,
        }
    }

    /// What an error of the store means. The server's answer is not repeated
    /// but for its code: it can hold parts of the signed request.
    pub(crate) fn from_store(destination: &str, action: &str, error: &object_store::Error) -> Self {
        let destination = destination.to_owned();
        let action = action.to_owned();
        if let Some(reason) = untrusted_certificate(error) {
            return Self::Certificate {
                destination,
                reason,
            };
        }
        if let Some(http) = find::<HttpError>(error) {
            let reason = innermost(http);
            return match http.kind() {
                HttpErrorKind::Decode => Self::Refused {
                    destination,
                    action,
                    reason,
                },
                _ => Self::Unavailable {
                    destination,
                    action,
                    reason,
                },
            };
        }
        if let Some(io) = find::<io::Error>(error) {
            let reason = io.to_string();
            return match passes(io.kind()) {
                true => Self::Unavailable {
                    destination,
                    action,
                    reason,
                },
                false => Self::Refused {
                    destination,
                    action,
                    reason,
                },
            };
        }
        let answer = Answer::of(error);
        let reason = answer.to_string();
        match answer {
            Answer {
                code: Some(code), ..
            } if code == "NoSuchBucket" => Self::NoDestination { destination },
            // Wrong clocks are told by the code.
            Answer {
                status: Some(401 | 403),
                ..
            } => Self::Credentials {
                destination,
                action,
                reason,
            },
            Answer {
                status: Some(408 | 429 | 500..),
                ..
            } => Self::Unavailable {
                destination,
                action,
                reason,
            },
            // S3 reports some failures in the body of a successful answer.
            Answer {
                code: Some(code), ..
            } if code == "SlowDown" || code == "InternalError" => Self::Unavailable {
                destination,
                action,
                reason,
            },
            Answer { .. } => Self::Refused {
                destination,
                action,
                reason,
            },
        }
    }
}

/// The status and the code of a server's answer. object_store keeps both in
/// the text of its error alone.
struct Answer {
    status: Option<u16>,
    code: Option<String>,
    /// Without a place to go to, which object_store keeps no status of.
    redirects: bool,
}

impl Answer {
    fn of(error: &object_store::Error) -> Self {
        let text = error.to_string();
        let after = |mark: &str| text.split_once(mark).map(|(_, rest)| rest);
        let status = after("status code: ").and_then(|rest| rest.get(..3)?.parse().ok());
        let code = after("<Code>").and_then(|rest| rest.split_once("</Code>"));
        let code = code.map(|(code, _)| code.to_owned());
        let plain = |code: &String| code.chars().all(|c| c.is_ascii_alphanumeric());
        Self {
            status: status.or(match error {
                object_store::Error::PermissionDenied { .. } => Some(403),
                object_store::Error::Unauthenticated { .. } => Some(401),
                object_store::Error::NotFound { .. } => Some(404),
                _ => None,
            }),
            code: code.filter(plain),
            redirects: text.contains("Received redirect"),
        }
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.status, &self.code) {
            (Some(status), Some(code)) => write!(f, "the server answered {status} {code}"),
            (Some(status), None) => write!(f, "the server answered {status}"),
            (None, Some(code)) => write!(f, "the server answered {code}"),
            (None, None) if self.redirects => {
                f.write_str("the server redirects to another one; correct the region or endpoint")
            }
            (None, None) => f.write_str("the server's answer was not understood"),
        }
    }
}

/// Whether an error of the system on a mounted folder may go away by itself.
fn passes(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        kind,
        Kind::TimedOut
            | Kind::Interrupted
            | Kind::NotConnected
            | Kind::NetworkDown
            | Kind::NetworkUnreachable
            | Kind::HostUnreachable
            | Kind::StaleNetworkFileHandle
            | Kind::ResourceBusy
    )
}

/// The first error of a type in the chain of causes.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    std::iter::successors(Some(error), |error| (*error).source()).find_map(|e| e.downcast_ref())
}

/// The text of the last cause, which is the one that says something.
fn innermost(error: &(dyn StdError + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.last().map(ToString::to_string).unwrap_or_default()
}

/// Why a certificate is not trusted, without the time that has passed: the same
/// cause is told in the same words each time.
fn distrust(reason: &CertificateError) -> String {
    match reason {
        CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        CertificateError::NotValidYetContext { .. } => "it is not valid yet".to_owned(),
        other => other.to_string(),
    }
}

/// What is wrong with the server's certificate, if that is the cause. The
/// system's errors do not show what they hold as their source.
fn untrusted_certificate(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(reason)) = error.downcast_ref() {
            return Some(distrust(reason));
        }
        let held = error
            .downcast_ref::<io::Error>()
            .and_then(|io| io.get_ref());
        next = match held {
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::pki_types::UnixTime;

    use super::*;

    #[test]
    fn an_expired_certificate_is_told_in_the_same_words_each_time() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let expired = |time| {
            distrust(&CertificateError::ExpiredContext {
                time: at(time),
                not_after: at(1000),
            })
        };
        assert_eq!(expired(1001), expired(2000));
        assert_eq!(expired(1001), "it has expired");
        let early = |time| {
            distrust(&CertificateError::NotValidYetContext {
                time: at(time),
                not_before: at(1000),
            })
        };
        assert_eq!(early(1), early(2));
        assert_ne!(early(1), expired(1001));
    }
}
