//! What a request says besides its path: media types, query and body.
//!
//! A body is read whole, within a size and a time, before anything looks at
//! it. An object in a body becomes the text of a manifest here; what it means
//! is not judged. No message repeats a value of the body (law 11).

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use cb_core::api::{API_VERSION, Kind};
use cb_core::types::shown;
use cb_core::yaml;
use futures::StreamExt as _;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::object;
use super::query::{self, Query};
use super::status::Failure;

/// The largest body with an object.
pub(super) const MAX_BODY: usize = 2 << 20;
/// The largest body with manifests for a plan: a folder of a thousand.
pub(super) const MAX_PLAN_BODY: usize = 8 << 20;
/// How much more is read and thrown away, so that a client that sends before
/// it listens gets the answer instead of a broken pipe.
const MAX_DRAIN: usize = 16 << 20;
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);

/// The query of a request, with what is wrong in it as an answer.
#[derive(Debug, Default)]
pub(super) struct Options(Query);

impl Options {
    pub(super) fn of(uri: &Uri) -> Result<Self, Failure> {
        Ok(Self(Query::read(uri.query().unwrap_or_default())))
    }

    /// The value of an option. An empty one counts as absent.
    pub(super) fn get(&self, key: &str) -> Result<Option<&str>, Failure> {
        self.0.get(key).map_err(Failure::bad_request)
    }

    /// Whether an option is on.
    pub(super) fn flag(&self, key: &str) -> Result<bool, Failure> {
        self.0.flag(key).map_err(Failure::bad_request)
    }

    /// A whole number.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, Failure> {
        self.0.number(key).map_err(Failure::bad_request)
    }

    /// Whether nothing is to be changed.
    pub(super) fn dry_run(&self) -> Result<bool, Failure> {
        dry_run(self.0.all("dryRun"))
    }
}

/// Kubernetes sends `All`; anything else must not be taken for a change that
/// is wanted.
pub(super) fn dry_run<T: AsRef<str>>(values: &[T]) -> Result<bool, Failure> {
    if values.iter().any(|value| value.as_ref() != "All") {
        return Err(Failure::invalid_option("dryRun: the only value is `All`"));
    }
    Ok(!values.is_empty())
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Yaml,
}

/// The one mapping of a body in YAML, of which JSON is a part.
pub(super) fn yaml_object(bytes: &[u8]) -> Result<Value, Failure> {
    let text = yaml::read_text(bytes).map_err(|error| yaml_failure(&error))?;
    let parsed = yaml::parse(text);
    if let Some(error) = parsed.errors.first() {
        return Err(yaml_failure(error));
    }
    match parsed.documents.as_slice() {
        [document] if matches!(document.root.value, yaml::Value::Map(_)) => {
            Ok(document.root.to_json())
        }
        _ => Err(Failure::bad_request(
            "the body must hold exactly one object",
        )),
    }
}

/// The format of the body.
pub(super) fn format(headers: &HeaderMap) -> Result<Format, Failure> {
    let refuse = |what: String| {
        let message = format!("{what}; send application/json or application/yaml");
        Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            message,
        )
    };
    if let Some(coding) = headers
        .get(header::CONTENT_ENCODING)
        .filter(|v| *v != "identity")
    {
        let coding = String::from_utf8_lossy(coding.as_bytes());
        return Err(refuse(format!(
            "the content encoding `{}` is not supported",
            shown(&coding)
        )));
    }
    let Some(given) = headers.get(header::CONTENT_TYPE) else {
        return Err(refuse("the request has no Content-Type".into()));
    };
    let given = String::from_utf8_lossy(given.as_bytes());
    let mut parts = given
        .split(';')
        .map(|part| part.trim().to_ascii_lowercase());
    let media = parts.next().unwrap_or_default();
    let utf8 = parts.all(|p| !p.starts_with("charset=") || p.trim_matches('"').ends_with("utf-8"));
    match media.as_str() {
        "application/json" if utf8 => Ok(Format::Json),
        "application/yaml" | "application/x-yaml" | "text/yaml" if utf8 => Ok(Format::Yaml),
        _ => Err(refuse(format!(
            "the Content-Type `{}` is not supported",
            shown(&given)
        ))),
    }
}

/// The media ranges that the client takes, in its order and in small letters.
pub(super) fn ranges(headers: &HeaderMap) -> Vec<String> {
    let given = headers.get_all(header::ACCEPT).iter();
    query::ranges(given.map(header::HeaderValue::as_bytes))
}

/// Whether the client takes JSON, whole or in one of the forms of lists.
pub(super) fn accepts_json(headers: &HeaderMap) -> Result<(), Failure> {
    if query::take_json(&ranges(headers)) {
        return Ok(());
    }
    Err(Failure::new(
        StatusCode::NOT_ACCEPTABLE,
        "NotAcceptable",
        "the answer is application/json, which the Accept header does not take",
    ))
}

/// The body, if it is not too large and arrives in time.
pub(super) async fn body(body: Body, limit: usize) -> Result<Bytes, Failure> {
    let too_slow = || {
        let seconds = BODY_TIME.as_secs();
        let message = format!("the body did not arrive within {seconds} seconds");
        Failure::new(StatusCode::REQUEST_TIMEOUT, "Timeout", message)
    };
    tokio::time::timeout(BODY_TIME, collect(body, limit))
        .await
        .map_err(|_| too_slow())?
}

async fn collect(body: Body, limit: usize) -> Result<Bytes, Failure> {
    let mut stream = body.into_data_stream();
    let (mut kept, mut size) = (Vec::new(), 0_usize);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Failure::bad_request("the body broke off"))?;
        size = size.saturating_add(chunk.len());
        if size <= limit {
            kept.extend_from_slice(&chunk);
        } else if size > MAX_DRAIN {
            break;
        } else {
            kept = Vec::new();
        }
    }
    if size > limit {
        return Err(Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            format!("the body is larger than {limit} bytes"),
        ));
    }
    Ok(kept.into())
}

/// Reads JSON. serde_json's errors about syntax say where, and no content.
pub(super) fn json(bytes: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(bytes)
        .map_err(|error| Failure::bad_request(format!("the body is not valid JSON: {error}")))
}

/// The JSON of a request's body; `None` if there is no body.
pub(super) async fn json_body(request: Request, limit: usize) -> Result<Option<Value>, Failure> {
    let format = format(request.headers());
    let body = body(request.into_body(), limit).await?;
    if body.is_empty() {
        return Ok(None);
    }
    if format? == Format::Yaml {
        return Err(Failure::bad_request(
            "the body must be JSON (application/json)",
        ));
    }
    json(&body).map(Some)
}

/// The body of a request, if it is JSON of this shape. None at all counts as
/// an object without fields.
pub(super) async fn shaped<T: DeserializeOwned>(
    request: Request,
    limit: usize,
) -> Result<T, Failure> {
    let body = json_body(request, limit).await?;
    serde_json::from_value(body.unwrap_or_else(|| Value::Object(Map::new())))
        .map_err(|error| Failure::bad_request(format!("the body is not as it must be: {error}")))
}

/// An object in a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Submitted {
    /// Its name, as it was written.
    pub(super) name: String,
    /// Where the name stands, for a client that has written the text.
    pub(super) name_at: Option<yaml::Position>,
    /// The text for the manifest.
    pub(super) text: String,
    /// The revision that the client has seen, if it says so. In YAML it is a
    /// field that no manifest may have.
    pub(super) seen: Option<String>,
    /// What `kubectl apply` says that it sends; the outer `None` where that is
    /// not said.
    pub(super) last_applied: Option<Option<String>>,
}

/// An object that was made here, as if it had been sent.
pub(super) fn written(kind: Kind, mut value: Value) -> Result<Submitted, Failure> {
    let last_applied = Some(object::last_applied(&value));
    object::strip(&mut value);
    let text = yaml_of(&value)
        .ok_or_else(|| Failure::bad_request("the object cannot be written as YAML"))?;
    let submitted = read(kind, text, Format::Json)?;
    Ok(Submitted {
        last_applied,
        ..submitted
    })
}

/// Reads the one object of a body.
pub(super) fn object(kind: Kind, format: Format, bytes: &[u8]) -> Result<Submitted, Failure> {
    let (text, seen, last) = match format {
        Format::Yaml => {
            let text = yaml::read_text(bytes).map_err(|error| yaml_failure(&error))?;
            (text.to_owned(), None, None)
        }
        Format::Json => {
            let mut value = json(bytes)?;
            let seen = value["metadata"]["resourceVersion"]
                .as_str()
                .map(str::to_owned);
            let last = object::last_applied(&value);
            object::strip(&mut value);
            let text = yaml_of(&value)
                .ok_or_else(|| Failure::bad_request("the body cannot be written as YAML"))?;
            (text, seen.filter(|seen| !seen.is_empty()), Some(last))
        }
    };
    let submitted = read(kind, text, format)?;
    Ok(Submitted {
        seen,
        last_applied: last,
        ..submitted
    })
}

fn read(kind: Kind, text: String, format: Format) -> Result<Submitted, Failure> {
    let parsed = yaml::parse(&text);
    if let Some(error) = parsed.errors.first() {
        return Err(yaml_failure(error));
    }
    let mut documents = parsed
        .documents
        .into_iter()
        .filter(|document| document.root.value != yaml::Value::Null);
    let (Some(document), None) = (documents.next(), documents.next()) else {
        return Err(Failure::bad_request(
            "the body must hold exactly one object",
        ));
    };
    let field = |name: &str| document.root.text(name).unwrap_or_default();
    if field("apiVersion") != API_VERSION || field("kind") != kind.as_str() {
        return Err(Failure::bad_request(format!(
            "{} take an object with `apiVersion: {API_VERSION}` and `kind: {kind}`, not `{}` and `{}`",
            kind.plural(),
            shown(field("apiVersion")),
            shown(field("kind")),
        )));
    }
    let metadata = document.root.entry("metadata").map(|entry| &entry.value);
    let at = metadata.and_then(|metadata| Some(metadata.entry("name")?.value.span.position));
    let Some(name) = metadata.and_then(|metadata| metadata.text("name")) else {
        let generated = metadata.is_some_and(|metadata| metadata.entry("generateName").is_some());
        return Err(Failure::bad_request(if generated {
            "generateName is not supported: a tenant's name is the name of its users, units and \
             folders; say it in metadata.name"
        } else {
            "the object has no text in metadata.name"
        }));
    };
    Ok(Submitted {
        name: name.to_owned(),
        name_at: at.filter(|_| format == Format::Yaml),
        text,
        seen: None,
        last_applied: None,
    })
}

/// An object as YAML that says the same. Text that YAML would fold or break
/// (U+2028 is a line break to some writers and none to readers) is written in
/// JSON's form, with escapes.
fn yaml_of(value: &Value) -> Option<String> {
    let same = |text: &String| {
        let parsed = yaml::parse(text);
        let documents = parsed.documents;
        parsed.errors.is_empty() && documents.len() == 1 && documents[0].root.to_json() == *value
    };
    let plain = serde_yaml::to_string(value).ok().filter(same);
    plain.or_else(|| Some(escaped(&serde_json::to_string_pretty(value).ok()?)).filter(same))
}

/// JSON with everything beyond ASCII, which can only be in its texts, as YAML's
/// escapes.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match u32::from(c) {
            0..=0x7f => out.push(c),
            code @ ..=0xffff => out.push_str(&format!("\\u{code:04x}")),
            code => out.push_str(&format!("\\U{code:08x}")),
        }
    }
    out.push('\n');
    out
}

fn yaml_failure(error: &yaml::Error) -> Failure {
    let yaml::Position { line, column } = error.position;
    let hint = error
        .hint
        .as_ref()
        .map_or_else(String::new, |hint| format!(" ({hint})"));
    Failure::bad_request(format!(
        "line {line}, column {column}: {}{hint}",
        error.message
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn kubectl_and_curl_take_json_and_protobuf_alone_does_not() {
        let takes = |accept| accepts_json(&headers(header::ACCEPT, accept)).is_ok();
        assert!(accepts_json(&HeaderMap::new()).is_ok());
        assert!(takes("*/*") && takes("application/json, */*;q=0.1"));
        assert!(takes(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
        ));
        assert!(!takes("application/vnd.kubernetes.protobuf") && !takes("text/html"));
        assert!(takes("application/json;as=Table;v=v1;g=meta.k8s.io"));
        assert!(!takes("application/json;q=0") && !takes("application/json;as=Thing;v=v1"));
    }

    #[test]
    fn only_json_and_yaml_in_utf8_are_read() {
        let of = |media| format(&headers(header::CONTENT_TYPE, media)).ok();
        assert_eq!(of("application/json; charset=utf-8"), Some(Format::Json));
        assert_eq!(of("Application/YAML"), Some(Format::Yaml));
        assert_eq!(of("application/json; charset=utf-16"), None);
        assert_eq!(of("application/x-www-form-urlencoded"), None);
        assert!(format(&HeaderMap::new()).is_err());
    }

    #[test]
    fn line_separators_stay_as_they_are() {
        for text in ["\u{2028}", "a\u{2028}b\u{1f600}", "\u{2029} "] {
            let body = json!({
                "apiVersion": API_VERSION, "kind": "Tenant",
                "metadata": {"name": "ky04"}, "spec": {"displayName": text},
            });
            let text = yaml_of(&body).unwrap();
            assert_eq!(yaml::parse(&text).documents[0].root.to_json(), body);
        }
    }

    proptest! {
        /// Law 10: what was text in JSON is the same text in the manifest.
        #[test]
        fn json_text_stays_the_same_text_in_yaml(
            value in prop_oneof![
                "[ -~]{0,30}", "\\PC{0,20}",
                "(yes|no|on|null|~|true|0x1f|1e3|1_000|1:30|2026-01-01|<<|=|- a|\\? a|#a|&a|\\*a|!a| |\n|a\nb|\\.inf|0o7)",
            ],
        ) {
            let body = json!({
                "apiVersion": API_VERSION, "kind": "Tenant",
                "metadata": {"name": "ky04"}, "spec": {"env": {"A": value}},
            });
            let submitted = object(Kind::Tenant, Format::Json, body.to_string().as_bytes()).unwrap();
            let document = yaml::parse(&submitted.text).documents.remove(0);
            prop_assert_eq!(document.root.to_json(), body);
        }
    }
}
