//! Who asks, whether they may, and the record of what they changed.
//!
//! The first thing that every request passes. Whoever comes over the socket may
//! do everything; over TCP a bearer token says who it is. A request that changes
//! something is done and noted to its end, whether or not the client waits.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use cb_core::access::Token;
use cb_core::api::{API_VERSION, GROUP, Kind};
use cb_core::types::shown;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::net::unix::UCred;

use super::need::{Need, On, asked};
use super::request;
use super::routes::{Answer, Api, Shared};
use super::status::Failure;
use crate::access::{Access, Entry, Good};

/// Where a request comes from.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// The socket.
    Socket(Option<UCred>),
    /// This address, over TLS.
    Remote(SocketAddr),
}

/// Who asks. Every handler may ask for it.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// The token; none for the socket, whose users may do everything.
    good: Option<Good>,
}

/// The name of what was written, for the log: left with an answer where the
/// path does not have it.
#[derive(Debug, Clone)]
pub(super) struct Written(pub(super) String);

impl Caller {
    fn token(&self) -> Option<&Arc<Token>> {
        self.good.as_ref().map(|good| &good.token)
    }

    /// Whether this tenant is the caller's to look at or change.
    pub(super) fn has<'a>(&self, tenant: &str, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        let scope = self.token().map(|token| &token.scope);
        scope.is_none_or(|scope| scope.has(tenant, label))
    }

    /// As [`Caller::has`], for an object in its JSON form.
    pub(super) fn has_object(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        let label = |key: &str| metadata["labels"].get(key).and_then(Value::as_str);
        self.has(metadata["name"].as_str().unwrap_or_default(), label)
    }

    /// As [`Caller::has`], for the text of a manifest.
    pub(super) fn may_write(&self, text: &str) -> bool {
        let documents = cb_core::yaml::parse(text).documents;
        let root = documents.iter().map(|document| document.root.to_json());
        let mut objects = root.filter(|root| !root.is_null());
        objects.all(|object| self.has_object(&object))
    }

    /// The token, if it is not for all tenants.
    pub(super) fn limited(&self) -> Option<Arc<Token>> {
        let token = self.token()?;
        (!token.scope.is_all()).then(|| Arc::clone(token))
    }

    /// That the caller must not do this.
    pub(super) fn forbidden(&self, method: &Method, kind: Kind, name: &str) -> Failure {
        let (user, plural) = (self.user(), kind.plural());
        let message = format!(
            "{plural} \"{}\" is forbidden: User \"{user}\" cannot {} resource \"{plural}\" in API group \"{GROUP}\" at the cluster scope",
            shown(name),
            verb(method),
        );
        Failure::new(StatusCode::FORBIDDEN, "Forbidden", message).about(kind, name)
    }

    fn user(&self) -> String {
        match self.token() {
            Some(token) => format!("token:{}", token.name),
            None => "anonymous".to_owned(),
        }
    }
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "use",
    }
}

/// Lets a request through if it may be, and notes what it changed.
pub(super) async fn guard(State(api): Shared, mut request: Request, next: Next) -> Response {
    let origin = request.extensions().get::<Origin>().cloned();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let Some(access) = api.backend.access() else {
        if !matches!(origin, Some(Origin::Socket(_))) {
            return unauthorized().into_response();
        }
        request.extensions_mut().insert(Caller { good: None });
        return next.run(request).await;
    };
    let judged = judge(&api, access, origin.as_ref(), &request);
    let caller = match &judged {
        Ok(caller) => Some(caller),
        Err(refused) => refused.0.as_ref(),
    };
    let user = match (caller, &origin) {
        (Some(caller), Some(Origin::Remote(_))) => caller.user(),
        (_, Some(Origin::Socket(Some(peer)))) => user_of(peer.uid()),
        _ => "anonymous".to_owned(),
    };
    if !is_noted(&method, &uri) {
        return answered(judged, request, next).await;
    }
    let from = from(origin.as_ref());
    let shared = Arc::clone(&api);
    let noted = shared.complete(async move {
        let response = answered(judged, request, next).await;
        if let Some(access) = api.backend.access() {
            let header = response.headers().get("x-cb-result");
            let written = response.extensions().get::<Written>();
            let entry = Entry {
                time: crate::now(),
                user,
                from,
                method: method.to_string(),
                path: shown(uri.path()),
                name: written.map(|of| shown(&of.0)),
                code: response.status().as_u16(),
                result: header.and_then(|value| Some(value.to_str().ok()?.to_owned())),
            };
            access.audit.add(entry).await;
        }
        response
    });
    noted.await.unwrap_or_else(Failure::into_response)
}

/// The answer to who may ask, or why they may not. What goes on and on ends
/// with the token.
async fn answered(judged: Judged, mut request: Request, next: Next) -> Response {
    let caller = match judged {
        Ok(caller) => caller,
        Err(refused) => return refused.1.into_response(),
    };
    let good = caller.good.clone();
    request.extensions_mut().insert(caller);
    let response = next.run(request).await;
    match good {
        Some(good) if response.body().size_hint().exact().is_none() => response.map(|body| {
            let until = Box::pin(good.ended());
            Body::from_stream(body.into_data_stream().take_until(until))
        }),
        _ => response,
    }
}

/// Who asks, or who it is that must not, if that is known, and why.
type Judged = Result<Caller, Box<(Option<Caller>, Failure)>>;

/// Who asks, if they may.
fn judge(api: &Api, access: &Access, origin: Option<&Origin>, request: &Request) -> Judged {
    let need = Need::of(request.method(), request.uri().path());
    if matches!(origin, Some(Origin::Socket(_))) || need == Need::Nothing {
        return Ok(Caller { good: None });
    }
    let good = bearer(request.headers()).and_then(|secret| access.tokens.find(secret));
    let Some(good) = good else {
        return Err(Box::new((None, unauthorized())));
    };
    let caller = Caller { good: Some(good) };
    if may(api, &caller, &need) {
        return Ok(caller);
    }
    let failure = match &need {
        Need::Role(_, On::Tenant(name) | On::Written(name)) => {
            caller.forbidden(request.method(), Kind::Tenant, name)
        }
        _ => Failure::new(
            StatusCode::FORBIDDEN,
            "Forbidden",
            format!(
                "forbidden: User \"{}\" cannot {} path \"{}\"",
                caller.user(),
                verb(request.method()),
                shown(request.uri().path())
            ),
        ),
    };
    Err(Box::new((Some(caller), failure)))
}

fn may(api: &Api, caller: &Caller, need: &Need) -> bool {
    let Some(token) = caller.token() else {
        return true;
    };
    match need {
        Need::Nothing | Need::Token => true,
        Need::Role(role, on) => {
            token.role >= *role
                && match on {
                    On::Shared | On::Tenants | On::NewTenant => true,
                    On::Host => token.scope.is_all(),
                    On::Tenant(name) | On::Written(name) => {
                        match api.object(Kind::Tenant, name) {
                            Some(object) => caller.has_object(&object),
                            // One that would be new is judged as it is written.
                            None => matches!(on, On::Written(_)) || caller.has(name, |_| None),
                        }
                    }
                }
        }
    }
}

fn unauthorized() -> Failure {
    Failure::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
        .with(("www-authenticate", "Bearer"))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    cb_core::access::token_in_header(value)
}

/// Whether a request is to be noted: all that change something, or would if they
/// were allowed to. A dry run in the body of a DELETE is noted too.
fn is_noted(method: &Method, uri: &Uri) -> bool {
    let (path, query) = (uri.path(), uri.query().unwrap_or_default());
    let reads = *method == Method::GET || *method == Method::HEAD;
    // Elsewhere nothing is tried: it is done.
    let of_objects = path
        .strip_prefix("/apis/")
        .and_then(|rest| rest.strip_prefix(API_VERSION));
    let tries = of_objects.is_some_and(|rest| rest.starts_with('/'))
        && query.split('&').any(|part| part == "dryRun=All");
    !reads
        && !tries
        && path != "/operator/v1/plan"
        && path != "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
}

fn from(origin: Option<&Origin>) -> String {
    match origin {
        Some(Origin::Remote(address)) => address.to_string(),
        Some(Origin::Socket(Some(peer))) => match peer.pid() {
            Some(pid) => format!("socket, process {pid}"),
            None => "socket".to_owned(),
        },
        Some(Origin::Socket(None)) | None => "socket".to_owned(),
    }
}

/// A user of this machine; a number where there is no name. Users that come
/// from elsewhere (LDAP) are not asked for.
fn user_of(uid: u32) -> String {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    format!("user:{}", found.unwrap_or_else(|| uid.to_string()))
}

/// `POST …/selfsubjectaccessreviews`: `kubectl auth can-i`.
pub(super) async fn review(
    State(api): Shared,
    axum::Extension(caller): axum::Extension<Caller>,
    request: Request,
) -> Answer {
    let body = request::json_body(request, 64 << 10).await?;
    let mut review = body.unwrap_or_default();
    let of = &review["spec"]["resourceAttributes"];
    let text = |key: &str| of[key].as_str().unwrap_or_default();
    let need = if of.is_object() {
        let resource = (text("group"), text("resource"));
        asked(text("verb"), resource, text("name"))
    } else {
        let of = &review["spec"]["nonResourceAttributes"];
        let path = of["path"].as_str().unwrap_or_default();
        Some(Need::of(&Method::GET, path))
    };
    let allowed = need.is_some_and(|need| may(&api, &caller, &need));
    review["apiVersion"] = "authorization.k8s.io/v1".into();
    review["kind"] = "SelfSubjectAccessReview".into();
    review["status"] = json!({"allowed": allowed});
    Ok((StatusCode::CREATED, Json(review)).into_response())
}
