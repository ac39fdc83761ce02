//! The body of a request to `/api/tenants/…`: a JSON object whose fields are
//! all known.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::Request;
use cb_core::manifest::nearest;
use cb_core::types::shown;
use serde_json::{Map, Value};

use super::problem::{Problem, ProblemKind, Refused};
use super::request;

/// The largest body.
const MAX_BODY: usize = 64 << 10;

/// The fields of a body.
#[derive(Debug)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body. None at all counts as an object without fields.
    pub(super) async fn of(request: Request, known: &[&str]) -> Result<Self, Refused> {
        match request::json_body(request, MAX_BODY).await? {
            None => Ok(Self(Map::new())),
            Some(body) => Ok(Self::read(body, known)?),
        }
    }

    fn read(body: Value, known: &[&str]) -> Result<Self, Problem> {
        let Value::Object(fields) = body else {
            return Err(malformed("the body must be a JSON object"));
        };
        let Some(unknown) = fields.keys().find(|key| !known.contains(&key.as_str())) else {
            return Ok(Self(fields));
        };
        let what = match (nearest(unknown, known.iter().copied()), known) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, []) => "no field is known here".to_owned(),
            (None, known) => format!("known are `{}`", known.join("`, `")),
        };
        let unknown = shown(unknown);
        Err(malformed(format!("`{unknown}` is not a field; {what}")))
    }

    /// A value that is written as text, if it is there and not null.
    pub(super) fn text<T>(&self, field: &str) -> Result<Option<T>, Problem>
    where
        T: FromStr,
        T::Err: Display,
    {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => match text.parse() {
                Ok(value) => Ok(Some(value)),
                Err(error) => Err(malformed(format!("{field}: {error}"))),
            },
            Some(_) => Err(malformed(format!("{field}: it must be text"))),
        }
    }

    /// As [`Fields::text`], for a value that must be there.
    pub(super) fn needed<T>(&self, field: &str, example: &str) -> Result<T, Problem>
    where
        T: FromStr,
        T::Err: Display,
    {
        let missing = || malformed(format!("{field}: it is missing; give it, as in {example}"));
        self.text(field)?.ok_or_else(missing)
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, field: &str, default: bool) -> Result<bool, Problem> {
        match self.0.get(field) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(_) => Err(malformed(format!("{field}: it must be true or false"))),
        }
    }
}

fn malformed(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::Malformed, detail)
}
