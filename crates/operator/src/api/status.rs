//! Answers that are not an object: Kubernetes' `Status`.
//!
//! Every error of the API is one, whatever went wrong, so that a client needs
//! to know one shape only.

use axum::Json;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use cb_core::api::{GROUP, Kind};
use cb_core::types::shown;
use serde_json::{Value, json};

use super::backend::{Cause, Refusal};

/// Why a request failed.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    code: StatusCode,
    reason: &'static str,
    message: String,
    about: Option<Box<(Kind, String)>>,
    causes: Vec<Value>,
    header: Option<(&'static str, &'static str)>,
}

impl Failure {
    pub(super) fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            code,
            reason,
            message,
            about: None,
            causes: Vec::new(),
            header: None,
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// There is no such object; in the words of kubectl's users, as all errors
    /// about objects.
    pub(super) fn not_found(kind: Kind, name: &str) -> Self {
        let message = format!("{} \"{}\" not found", kind.plural(), shown(name));
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).about(kind, name)
    }

    /// The path is known, but not with this method.
    pub(super) fn method(allow: &'static str, message: impl Into<String>) -> Self {
        let failure = Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message);
        Self {
            header: Some(("allow", allow)),
            ..failure
        }
    }

    /// There is no room for this request now.
    pub(super) fn busy(message: impl Into<String>) -> Self {
        let failure = Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message);
        Self {
            header: Some(("retry-after", "1")),
            ..failure
        }
    }

    pub(super) fn invalid(kind: Kind, name: &str, causes: Vec<Cause>) -> Self {
        let what: Vec<String> = causes
            .iter()
            .map(|cause| match cause.field.as_str() {
                // A manifest's diagnostic names the field itself.
                field if cause.message.contains(field) => cause.message.clone(),
                field => format!("{field}: {}", cause.message),
            })
            .collect();
        let message = format!("{kind} \"{}\" is invalid: {}", shown(name), what.join("; "));
        let causes = causes
            .into_iter()
            .map(|c| json!({"reason": "FieldValueInvalid", "message": c.message, "field": c.field}))
            .collect();
        let failure = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message);
        Self { causes, ..failure }.about(kind, name)
    }

    /// The request is well-formed, but does not go with the object.
    pub(super) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
    }

    /// With causes of their own form.
    pub(super) fn because(self, causes: Vec<Value>) -> Self {
        Self { causes, ..self }
    }

    /// With a header.
    pub(super) fn with(self, header: (&'static str, &'static str)) -> Self {
        Self {
            header: Some(header),
            ..self
        }
    }

    /// A field of the request that has no object is wrong.
    pub(super) fn invalid_option(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
    }

    /// What the backend refused.
    pub(super) fn refused(refusal: Refusal, kind: Kind, name: &str) -> Self {
        let failure = match refusal {
            Refusal::NotFound => return Self::not_found(kind, name),
            Refusal::Invalid(causes) => return Self::invalid(kind, name, causes),
            Refusal::AlreadyExists => Self::new(
                StatusCode::CONFLICT,
                "AlreadyExists",
                format!("{} \"{}\" already exists", kind.plural(), shown(name)),
            ),
            Refusal::Stale => Self::new(
                StatusCode::CONFLICT,
                "Conflict",
                format!(
                    "Operation cannot be fulfilled on {} \"{}\": {refusal}",
                    kind.plural(),
                    shown(name)
                ),
            ),
            Refusal::Conflict(message) => Self::new(StatusCode::CONFLICT, "Conflict", message),
            Refusal::BadRequest(message) => Self::bad_request(message),
            Refusal::Forbidden(message) => Self::new(StatusCode::FORBIDDEN, "Forbidden", message),
            Refusal::Unavailable(message) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                message,
            ),
            Refusal::Internal(message) => Self::internal(message),
        };
        failure.about(kind, name)
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    pub(super) fn about(self, kind: Kind, name: &str) -> Self {
        Self {
            about: Some(Box::new((kind, name.to_owned()))),
            ..self
        }
    }

    /// The `Status` object.
    pub(super) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code.as_u16(),
        });
        if let Some((kind, name)) = self.about.as_deref() {
            // As Kubernetes: an object that is wrong is of a kind, any other
            // failure concerns a resource.
            let what = match self.reason {
                "Invalid" => kind.as_str(),
                _ => kind.plural(),
            };
            let mut details = json!({"name": name, "group": GROUP, "kind": what});
            if !self.causes.is_empty() {
                details["causes"] = self.causes.clone().into();
            }
            status["details"] = details;
        } else if !self.causes.is_empty() {
            status["details"] = json!({"causes": self.causes});
        }
        status
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.code, Json(self.status())).into_response();
        if let Some((name, value)) = self.header {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// What a DELETE that succeeded answers.
pub(super) fn deleted(kind: Kind, name: &str, uid: &str) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {"name": name, "group": GROUP, "kind": kind.plural(), "uid": uid},
        "code": 200,
    })
}
