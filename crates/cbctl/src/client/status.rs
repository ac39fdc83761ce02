//! The operator's refusals, in kubectl's words.

use std::fmt;

use cb_core::api::Kind;
use serde::Deserialize;

/// Kubernetes' `Status`, or a problem document (RFC 9457).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    /// A CamelCase word.
    pub(crate) reason: String,
    #[serde(alias = "detail")]
    message: String,
    details: Details,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    name: String,
    kind: String,
    causes: Vec<Cause>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cause {
    message: String,
    field: String,
}

impl Status {
    /// Reads the body of an answer that is not a success.
    pub(super) fn of(code: u16, body: &[u8]) -> Self {
        let status: Self = serde_json::from_slice(body).unwrap_or_default();
        if !status.reason.is_empty() {
            return status;
        }
        let text = String::from_utf8_lossy(body);
        let what = text.lines().next().unwrap_or_default().trim();
        Self {
            reason: "Unknown".into(),
            message: if what.is_empty() {
                format!("the answer has the code {code}")
            } else {
                format!("{what} (code {code})")
            },
            details: Details::default(),
        }
    }

    /// What to do about it.
    pub(super) fn hint(&self) -> Option<&'static str> {
        match self.reason.as_str() {
            "ServiceUnavailable" | "TooManyRequests" => Some("try again in a moment"),
            "InternalError" => Some("`journalctl -u cb-operator` may say why"),
            _ => None,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details { name, kind, causes } = &self.details;
        match self.reason.as_str() {
            "NotFound" if !name.is_empty() => {
                write!(
                    f,
                    "Error from server (NotFound): {kind} \"{name}\" not found"
                )
            }
            "AlreadyExists" if !name.is_empty() => {
                write!(
                    f,
                    "Error from server (AlreadyExists): {kind} \"{name}\" already exists"
                )
            }
            "Invalid" if !causes.is_empty() => {
                let known = Kind::find(kind).map(Kind::as_str);
                let kind = known.unwrap_or(kind.as_str());
                write!(f, "The {kind} \"{name}\" is invalid:")?;
                for Cause { message, field } in causes {
                    // A manifest's diagnostic names the field itself.
                    let known = field.is_empty() || message.contains(field.as_str());
                    let field = if known { "" } else { field };
                    let colon = if known { "" } else { ": " };
                    write!(f, "\n* {field}{colon}{message}")?;
                }
                Ok(())
            }
            reason => write!(f, "Error from server ({reason}): {}", self.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_no_status_is_shown_as_it_is() {
        let status = Status::of(503, b"not ready: the manifests were not read yet\n");
        assert_eq!(
            status.to_string(),
            "Error from server (Unknown): not ready: the manifests were not read yet (code 503)"
        );
        assert_eq!(
            Status::of(500, b"").to_string(),
            "Error from server (Unknown): the answer has the code 500"
        );
    }

    #[test]
    fn every_cause_has_a_line_and_names_its_field_once() {
        let body =
            br#"{"reason": "Invalid", "message": "m", "details": {"name": "a", "kind": "tenants",
            "causes": [{"field": "spec.version", "message": "a.yaml:3:1: spec.version: no"},
                       {"field": "spec.ports", "message": "taken"}]}}"#;
        assert_eq!(
            Status::of(422, body).to_string(),
            "The Tenant \"a\" is invalid:\n* a.yaml:3:1: spec.version: no\n* spec.ports: taken"
        );
    }
}
