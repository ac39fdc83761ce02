//! The paths, and what each method does there.
//!
//! An answer that is not an object is a `Status`, also for a path or a method
//! that there is not.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use cb_core::api::{Kind, Object as _};
use cb_core::types::{ObjectName, TenantName, shown};
use cb_runtime::store::Store;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::Caller;
use super::backend::{Backend, PlanRequest, Refusal};
use super::changes::{create, reconcile, remove, replace};
use super::page::Page;
use super::problem::{Problem, ProblemKind};
use super::request::{self, Format, MAX_PLAN_BODY, Options};
use super::selector::{Selector, Within};
use super::status::Failure;
use super::table::{Form, Sheet};
use super::{
    access, backups, discovery, events, health, metrics, object, openapi, patch, rollouts, source,
    tokens, upgrade, usage, watch,
};

/// How many watches there may be; the other connections are for the rest.
const MAX_WATCHES: usize = 32;
/// How long a watch is, if the client does not say.
const WATCH_TIME: u64 = 1800;
/// The longest watch.
const MAX_WATCH_TIME: u64 = 3600;

/// What is said of a request that a fault of the operator ended.
const FAILED: &str = "the operator failed on this request; its log says more";

/// What the handlers share.
pub(super) struct Api {
    pub(super) backend: Arc<dyn Backend>,
    /// The revision of what does not change while the operator runs.
    pub(super) revision: u64,
    pub(super) watches: Arc<Semaphore>,
    /// Ends the watches.
    pub(super) stop: CancellationToken,
    /// The changes under way.
    pub(super) changes: TaskTracker,
}

pub(super) type Shared = State<Arc<Api>>;
pub(super) type Answer = Result<Response, Failure>;
pub(super) type Named = Result<Path<(String, String)>, PathRejection>;

impl Api {
    pub(super) fn new(backend: Arc<dyn Backend>, stop: CancellationToken) -> Self {
        let now = jiff::Timestamp::now().as_microsecond();
        Self {
            backend,
            revision: u64::try_from(now).unwrap_or(1),
            watches: Arc::new(Semaphore::new(MAX_WATCHES)),
            stop,
            changes: TaskTracker::new(),
        }
    }

    /// Does a change to its end, whether or not the client waits for it.
    pub(super) async fn finish<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, Refusal>> + Send + 'static,
        (kind, name): (Kind, &str),
    ) -> Result<T, Failure> {
        let done = self.to_its_end(change, name).await;
        done.map_err(|refusal| Failure::refused(refusal, kind, name))
    }

    /// As [`Api::finish`], with the refusal as it is.
    pub(super) async fn to_its_end<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, Refusal>> + Send + 'static,
        name: &str,
    ) -> Result<T, Refusal> {
        self.changes.spawn(change).await.unwrap_or_else(|error| {
            tracing::error!(name = %shown(name), "a request failed: {error}");
            Err(Refusal::Internal(FAILED.into()))
        })
    }

    /// As [`Api::finish`], for what can fail in its own way.
    pub(super) async fn complete<T: Send + 'static>(
        &self,
        change: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Failure> {
        self.changes.spawn(change).await.map_err(|error| {
            tracing::error!("a request failed: {error}");
            Failure::internal(FAILED)
        })
    }

    /// As [`Api::finish`], for what is asked for of operations.
    pub(super) async fn carry_out<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        self.changes.spawn(change).await.unwrap_or_else(|error| {
            tracing::error!("a request failed: {error}");
            Err(Problem::new(ProblemKind::Internal, FAILED))
        })
    }

    /// The object as it is now.
    pub(super) fn object(&self, kind: Kind, name: &str) -> Option<Value> {
        let state = self.backend.state();
        match kind {
            Kind::Tenant => {
                let item = state.tenants().get(&name.parse::<TenantName>().ok()?)?;
                Some(object::tenant(&item.value, item.revision))
            }
            Kind::Application => {
                let item = state
                    .published_applications()
                    .get(&name.parse::<ObjectName>().ok()?)?;
                Some(object::application(&item.value, item.revision))
            }
            Kind::Host => {
                let host = self.backend.host();
                (host.name() == name).then(|| object::host(host, self.revision))
            }
        }
    }

    /// All objects of a kind.
    pub(super) fn objects(&self, kind: Kind) -> Vec<Value> {
        let list = self.list(kind, &Selector::default(), &Page::default());
        let items = list.ok().map(|mut list| list["items"].take());
        match items {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        }
    }

    fn list(&self, kind: Kind, selector: &Selector, page: &Page) -> Result<Value, Failure> {
        let state = self.backend.state();
        let (revision, mut items) = match kind {
            Kind::Tenant => all(state.tenants(), object::tenant, page)?,
            Kind::Application => all(state.published_applications(), object::application, page)?,
            Kind::Host => (
                self.revision,
                vec![object::host(self.backend.host(), self.revision)],
            ),
        };
        if !selector.is_all() {
            items.retain(|object| selector.matches(object));
        }
        let mut list = object::list(kind, revision, items);
        page.cut(&mut list, selector.is_all());
        Ok(list)
    }

    fn watch(&self, kind: Kind, options: &Options, (selector, form): (Selector, Form)) -> Answer {
        let state = self.backend.state();
        let wanted = (selector, (form, Sheet::Of(kind)));
        match kind {
            Kind::Tenant => self.watch_store(state.tenants(), object::tenant, options, wanted),
            Kind::Application => {
                let store = state.published_applications();
                self.watch_store(store, object::application, options, wanted)
            }
            Kind::Host => {
                // One object that stays as it is.
                let store = Store::starting_at(self.revision - 1, 1);
                store.set((), self.backend.host().clone());
                self.watch_store(&store, object::host, options, wanted)
            }
        }
    }

    /// Answers with the changes of a store.
    pub(super) fn watch_store<K, V>(
        &self,
        store: &Store<K, V>,
        render: watch::Render<V>,
        options: &Options,
        (selector, form): (Selector, (Form, Sheet)),
    ) -> Answer
    where
        K: Ord + Clone + Send + Sync + 'static,
        V: PartialEq + Send + Sync + 'static,
    {
        let bookmarks = options.flag("allowWatchBookmarks")?;
        let initial = options.flag("sendInitialEvents")?;
        if initial && options.get("resourceVersionMatch")? != Some("NotOlderThan") {
            let message = "sendInitialEvents goes with resourceVersionMatch=NotOlderThan";
            return Err(Failure::invalid_option(message));
        }
        let seconds = options
            .number("timeoutSeconds")?
            .unwrap_or(WATCH_TIME)
            .min(MAX_WATCH_TIME);
        let permit = Arc::clone(&self.watches).try_acquire_owned().map_err(|_| {
            Failure::busy(format!(
                "there are {MAX_WATCHES} watches already; try again later"
            ))
        })?;
        let request = watch::Request {
            // Kubernetes' 0 means: from what there is.
            from: options
                .number("resourceVersion")?
                .filter(|revision| *revision > 0 && !initial),
            selector,
            form,
            bookmarks,
            initial: initial && bookmarks,
            until: Instant::now() + Duration::from_secs(seconds),
            stop: self.stop.clone(),
            permit,
        };
        let body = watch::body(store, render, request);
        Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
    }
}

fn all<K: Ord + Clone, V: PartialEq>(
    store: &Store<K, V>,
    render: watch::Render<V>,
    page: &Page,
) -> Result<(u64, Vec<Value>), Failure> {
    if let Some(first) = page.revision()
        && store.watch_from(first).is_err()
    {
        // What changed since the first page could not be told any more.
        let message = "the list that `continue` is of is too old; list again without it";
        return Err(Failure::new(StatusCode::GONE, "Expired", message));
    }
    let list = store.list();
    let items = list
        .items
        .values()
        .map(|item| render(&item.value, item.revision))
        .collect();
    Ok((list.revision, items))
}

/// Every path of the API.
pub(super) fn router(api: Arc<Api>) -> Router {
    let counter = Arc::clone(api.backend.metrics());
    let group = "/apis/campaignbrain.io";
    let version = "/apis/campaignbrain.io/v1alpha1";
    let json = Router::new()
        .route("/version", get(|| async { Json(discovery::version()) }))
        .route("/api", get(|| async { Json(discovery::core_versions()) }))
        .route("/apis", get(|| async { Json(discovery::groups()) }))
        .route(group, get(|| async { Json(discovery::group()) }))
        .route(version, get(|| async { Json(discovery::resources()) }))
        .route(&format!("{version}/{{plural}}"), get(list).post(create))
        .route(
            &format!("{version}/{{plural}}/{{name}}"),
            get(read).put(replace).patch(patch::patch).delete(remove),
        )
        .route(
            &format!("{version}/{{plural}}/{{name}}/status"),
            get(read_status),
        )
        .route("/openapi/v3", get(openapi::version_3))
        .route(
            "/openapi/v3/apis/{group}/{version}",
            get(openapi::version_3_of),
        )
        .route("/operator/v1/plan", post(plan))
        .route("/operator/v1/tenants/{name}/reconcile", post(reconcile))
        .route(
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            post(access::review),
        )
        .merge(operations())
        .merge(tokens::routes())
        .merge(events::routes())
        .merge(rollouts::routes())
        .merge(source::routes())
        .merge(usage::routes())
        .route_layer(middleware::from_fn(negotiate));
    Router::new()
        .route("/livez", get(health::alive))
        .route("/openapi/v2", get(openapi::version_2))
        .merge(metrics::public(Arc::clone(&api.backend)))
        .merge(json)
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(middleware::from_fn_with_state(
            Arc::clone(&api),
            access::guard,
        ))
        .layer(middleware::from_fn_with_state(counter, metrics::count))
        .with_state(api)
}

/// Upgrades, backups and restores of a tenant.
fn operations() -> Router<Arc<Api>> {
    let of = |rest: &str| format!("/api/tenants/{{name}}/{rest}");
    Router::new()
        .route(&of("version"), get(upgrade::version))
        .route(&of("upgrade"), post(upgrade::upgrade))
        .route(&of("operation"), get(upgrade::operation))
        .route(&of("retry"), post(upgrade::retry))
        .route(&of("backups"), get(backups::list).post(backups::create))
        .route(
            &of("backups/{backup}"),
            get(backups::read).delete(backups::remove),
        )
        .route(&of("backups/{backup}/verify"), post(backups::verify))
        .route(&of("backups/{backup}/fetch"), post(backups::fetch))
        .route(&of("restore"), post(backups::restore))
}

async fn negotiate(request: Request, next: middleware::Next) -> Response {
    match request::accepts_json(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    }
}

pub(super) fn no_such_path(path: &str) -> Failure {
    let message = format!("there is no path `{}`", shown(path));
    Failure::new(StatusCode::NOT_FOUND, "NotFound", message)
}

async fn unknown_path(uri: Uri) -> Failure {
    no_such_path(uri.path())
}

async fn unknown_method(request: Request) -> Response {
    let message = format!(
        "this path does not take {}",
        shown(request.method().as_str())
    );
    // The router adds `Allow`.
    let code = StatusCode::METHOD_NOT_ALLOWED;
    Failure::new(code, "MethodNotAllowed", message).into_response()
}

pub(super) fn kind(plural: &str, uri: &Uri) -> Result<Kind, Failure> {
    Kind::ALL
        .into_iter()
        .find(|kind| kind.plural() == plural)
        .ok_or_else(|| no_such_path(uri.path()))
}

/// The kind and the name in the path.
pub(super) fn named(path: Named, uri: &Uri) -> Result<(Kind, String), Failure> {
    let Ok(Path((plural, name))) = path else {
        return Err(no_such_path(uri.path()));
    };
    Ok((kind(&plural, uri)?, name))
}

async fn list(
    State(api): Shared,
    plural: Result<Path<String>, PathRejection>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    uri: Uri,
) -> Answer {
    let Ok(Path(plural)) = plural else {
        return Err(no_such_path(uri.path()));
    };
    let kind = kind(&plural, &uri)?;
    let options = Options::of(&uri)?;
    let selector = Selector::parse(options.get("labelSelector")?, options.get("fieldSelector")?)
        .map_err(Failure::bad_request)?
        .within(
            caller
                .limited()
                .filter(|_| kind == Kind::Tenant)
                .map(Within::Tenants),
        );
    let form = Form::of(&headers, &options)?;
    if options.flag("watch")? {
        return api.watch(kind, &options, (selector, form));
    }
    let list = api.list(kind, &selector, &Page::of(&options)?)?;
    Ok(Json(form.list(Sheet::Of(kind), list)).into_response())
}

async fn read(State(api): Shared, path: Named, headers: HeaderMap, uri: Uri) -> Answer {
    let (kind, name) = named(path, &uri)?;
    let form = Form::of(&headers, &Options::of(&uri)?)?;
    let object = api
        .object(kind, &name)
        .ok_or_else(|| Failure::not_found(kind, &name))?;
    Ok(Json(form.one(Sheet::Of(kind), object)).into_response())
}

async fn read_status(state: Shared, path: Named, headers: HeaderMap, uri: Uri) -> Answer {
    match named(path, &uri)? {
        (Kind::Tenant, name) => {
            let path = Ok(Path(("tenants".into(), name)));
            read(state, path, headers, uri).await
        }
        _ => Err(no_such_path(uri.path())),
    }
}

async fn plan(State(api): Shared, request: Request) -> Answer {
    let shape = "the body must be {\"manifests\": [{\"name\": …, \"text\": …}], \"tenants\": [names] or null}; both may be left out";
    if request::format(request.headers())? == Format::Yaml {
        return Err(Failure::bad_request(shape));
    }
    let body = request::body(request.into_body(), MAX_PLAN_BODY).await?;
    // serde's message may repeat a value of a manifest, so it is not shown.
    let wanted: PlanRequest =
        serde_json::from_value(request::json(&body)?).map_err(|_| Failure::bad_request(shape))?;
    let names = wanted.tenants.clone().unwrap_or_default();
    let is_unknown = |name: &&String| api.object(Kind::Tenant, name).is_none();
    let about = names.iter().find(is_unknown).or(names.first());
    let about = about.map_or("", String::as_str);
    let planned = api.backend.plan(wanted).await;
    let planned = planned.map_err(|refusal| Failure::refused(refusal, Kind::Tenant, about))?;
    Ok(Json(planned).into_response())
}
