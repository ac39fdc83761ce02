//! Errors of `/api/tenants/…`: problem documents (RFC 9457).
//!
//! A program tells them apart by `reason` or `type`, a person reads `detail`.
//! What must not live here: what is refused and when.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::status::Failure;

/// What kind of refusal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// The request cannot be read.
    Malformed,
    /// There is no such tenant or no such path.
    NotFound,
    /// There is no such backup.
    NoSuchBackup,
    /// An operation is under way or was asked for.
    OperationUnderWay,
    /// An operation can go neither forward nor back.
    OperationHalted,
    /// The tenant is suspended, is being removed or never ran.
    NotOperable,
    /// There is nothing to try again.
    NothingFailed,
    /// The manifest cannot be changed by a program.
    ManifestConflict,
    /// An operation needs the backup.
    BackupInUse,
    /// It is the only good backup.
    OnlyBackup,
    /// The Host names no destination of copies.
    NoDestination,
    /// The Application has no such version.
    UnknownVersion,
    /// The request names a backup that there is not.
    UnknownBackup,
    /// The tenant has that version.
    AlreadyAtVersion,
    /// Migrations need a backup.
    BackupRequired,
    /// The backup does not go with the version.
    BackupMismatch,
    /// The manifest would be refused.
    Invalid,
    /// The operator cannot do it now.
    Unavailable,
    /// It failed.
    Internal,
}

impl ProblemKind {
    /// Every kind.
    pub const ALL: [ProblemKind; 19] = [
        ProblemKind::Malformed,
        ProblemKind::NotFound,
        ProblemKind::NoSuchBackup,
        ProblemKind::OperationUnderWay,
        ProblemKind::OperationHalted,
        ProblemKind::NotOperable,
        ProblemKind::NothingFailed,
        ProblemKind::ManifestConflict,
        ProblemKind::BackupInUse,
        ProblemKind::OnlyBackup,
        ProblemKind::NoDestination,
        ProblemKind::UnknownVersion,
        ProblemKind::UnknownBackup,
        ProblemKind::AlreadyAtVersion,
        ProblemKind::BackupRequired,
        ProblemKind::BackupMismatch,
        ProblemKind::Invalid,
        ProblemKind::Unavailable,
        ProblemKind::Internal,
    ];

    /// The status code, the word for programs, and the title.
    #[must_use]
    pub fn facts(self) -> (u16, &'static str, &'static str) {
        match self {
            ProblemKind::Malformed => (400, "Malformed", "The request cannot be read"),
            ProblemKind::NotFound => (404, "NotFound", "There is no such tenant or path"),
            ProblemKind::NoSuchBackup => (404, "NoSuchBackup", "There is no such backup"),
            ProblemKind::OperationUnderWay => {
                (409, "OperationUnderWay", "An operation is under way")
            }
            ProblemKind::OperationHalted => (409, "OperationHalted", "An operation is halted"),
            ProblemKind::NotOperable => (409, "NotOperable", "The tenant takes no operation now"),
            ProblemKind::NothingFailed => (409, "NothingFailed", "There is nothing to try again"),
            ProblemKind::ManifestConflict => {
                (409, "ManifestConflict", "The manifest cannot be changed")
            }
            ProblemKind::BackupInUse => (409, "BackupInUse", "An operation needs the backup"),
            ProblemKind::OnlyBackup => (409, "OnlyBackup", "It is the only good backup"),
            ProblemKind::NoDestination => {
                (409, "NoDestination", "Backups are not copied off this host")
            }
            ProblemKind::UnknownVersion => (422, "UnknownVersion", "There is no such version"),
            ProblemKind::UnknownBackup => (422, "UnknownBackup", "There is no such backup"),
            ProblemKind::AlreadyAtVersion => {
                (422, "AlreadyAtVersion", "The tenant has that version")
            }
            ProblemKind::BackupRequired => (422, "BackupRequired", "Migrations need a backup"),
            ProblemKind::BackupMismatch => {
                (422, "BackupMismatch", "The backup is of another version")
            }
            ProblemKind::Invalid => (422, "Invalid", "The manifest would be refused"),
            ProblemKind::Unavailable => {
                (503, "ServiceUnavailable", "The operator cannot do it now")
            }
            ProblemKind::Internal => (500, "InternalError", "The operator failed on this request"),
        }
    }
}

/// A refusal: what is in the way and what would be right. `detail` holds no
/// value of an environment variable and no secret (law 11).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    /// What kind of refusal.
    pub kind: ProblemKind,
    /// In words.
    pub detail: String,
}

impl Problem {
    /// A refusal.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { kind, detail }
    }
}

fn document(code: u16, reason: &str, title: &str, detail: &str) -> Value {
    json!({
        // A name and no address (RFC 4151): there is nothing to fetch.
        "type": format!("tag:campaignbrain.io,2026:problem:{reason}"),
        "title": title,
        "status": code,
        "detail": detail,
        "reason": reason,
    })
}

fn response(code: u16, document: Value) -> Response {
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (code, Json(document)).into_response();
    let media = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    response
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (code, reason, title) = self.kind.facts();
        response(code, document(code, reason, title, &self.detail))
    }
}

/// What the reading of a request refuses: the codes of HTTP (408, 413, 415)
/// say more than a kind of our own would.
#[derive(Debug)]
pub(super) enum Refused {
    Problem(Problem),
    Request(Failure),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Refused::Problem(problem)
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Refused::Request(failure)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let failure = match self {
            Refused::Problem(problem) => return problem.into_response(),
            Refused::Request(failure) => failure.status(),
        };
        let code = failure["code"]
            .as_u64()
            .and_then(|code| code.try_into().ok());
        let reason = match failure["reason"].as_str().unwrap_or_default() {
            "BadRequest" => "Malformed",
            reason => reason,
        };
        let title = ProblemKind::ALL
            .iter()
            .map(|kind| kind.facts())
            .find(|(_, known, _)| *known == reason)
            .map_or("The request cannot be taken", |(_, _, title)| title);
        let detail = failure["message"].as_str().unwrap_or_default();
        let code = code.unwrap_or(500);
        response(code, document(code, reason, title, detail))
    }
}
