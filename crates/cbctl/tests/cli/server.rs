//! The operator's side of the socket: it keeps objects, and notes what it was
//! asked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixListener;

/// What the server has, and how it answers.
#[derive(Default)]
pub(crate) struct State {
    /// The objects by plural and name.
    pub(crate) objects: BTreeMap<(String, String), Value>,
    /// The answer of a plan.
    pub(crate) plan: Value,
    /// Objects that a write of is refused for, until another is written.
    pub(crate) needs: BTreeMap<String, String>,
    /// Answers to writes by name: code and Status.
    pub(crate) refuse: BTreeMap<String, (u16, Value)>,
    /// How many times a tenant is read before it is ready, or gone.
    pub(crate) looks: usize,
    /// Code and body of the next answers, before all others.
    pub(crate) scripted: std::collections::VecDeque<(u16, String)>,
    /// Method, path and body of every request.
    pub(crate) asked: Vec<(String, String)>,
}

pub(crate) struct Server {
    pub(crate) state: Arc<Mutex<State>>,
    _runtime: tokio::runtime::Runtime,
}

const PREFIX: &str = "/apis/campaignbrain.io/v1alpha1/";

impl Server {
    pub(crate) fn start(socket: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let state = Arc::new(Mutex::new(State {
            plan: json!({"plans": [], "errors": []}),
            ..State::default()
        }));
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(socket).unwrap()
        };
        let shared = Arc::clone(&state);
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    let answer = service_fn(move |request| answer(Arc::clone(&state), request));
                    let server = hyper::server::conn::http1::Builder::new();
                    let _ = server.serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        Self {
            state,
            _runtime: runtime,
        }
    }

    /// Puts an object into the server, as the API shows it.
    pub(crate) fn has(&self, plural: &str, object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let mut state = self.state.lock().unwrap();
        state.objects.insert((plural.to_owned(), name), object);
    }

    pub(crate) fn set<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    /// The requests so far: `METHOD path`.
    pub(crate) fn asked(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.asked.iter().map(|(line, _)| line.clone()).collect()
    }

    /// The body of the first request of this method and path.
    pub(crate) fn body(&self, line: &str) -> String {
        let state = self.state.lock().unwrap();
        let found = state.asked.iter().find(|(asked, _)| asked == line);
        found
            .unwrap_or_else(|| panic!("{line} was not asked"))
            .1
            .clone()
    }
}

type Answer = (u16, &'static str, Value);

async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let method = request.method().clone();
    let target = request.uri().to_string();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let mut state = state.lock().unwrap();
    let short = target.strip_prefix(PREFIX).unwrap_or(&target).to_owned();
    state
        .asked
        .push((format!("{method} {short}"), body.clone()));
    let (code, result, text) = match state.scripted.pop_front() {
        Some((code, text)) => (code, "", text),
        None => {
            let (code, result, value) = state.answer(&method, &target, &body);
            (code, result, value.to_string())
        }
    };
    let response = Response::builder()
        .status(code)
        .header("content-type", "application/json")
        .header("x-cb-result", result)
        .body(Full::new(Bytes::from(text)))
        .unwrap();
    Ok(response)
}

impl State {
    fn answer(&mut self, method: &Method, target: &str, body: &str) -> Answer {
        match target {
            "/version" => return (200, "", json!({"gitVersion": "v0.1.0", "major": "0"})),
            path if path.starts_with("/apis/events.k8s.io/v1/events?") => {
                return (200, "", self.list("events"));
            }
            // What one tenant has on disk; of others nothing is known yet.
            "/operator/v1/usage?cpu=false" => {
                let usage = json!({"tenant": "ky04", "services": [], "diskBytes": 5 << 20, "diskLimitBytes": 20 << 20});
                return (200, "", json!({ "items": [usage] }));
            }
            "/operator/v1/plan" => return (200, "", self.plan.clone()),
            _ => {}
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let parts: Vec<&str> = path.strip_prefix(PREFIX).unwrap().split('/').collect();
        match (method, parts.as_slice()) {
            (&Method::GET, [plural]) => (200, "", self.list(plural)),
            (&Method::GET, [plural, name]) => self.read(plural, name),
            (&Method::PUT, [plural, name]) => self.write(plural, name, body, query == "dryRun=All"),
            (&Method::DELETE, [plural, name]) => self.remove(plural, name, query == "dryRun=All"),
            _ => panic!("{method} {target}"),
        }
    }

    fn list(&mut self, plural: &str) -> Value {
        let items: Vec<&Value> = self
            .objects
            .iter()
            .filter(|((of, _), _)| of == plural)
            .map(|(_, object)| object)
            .collect();
        json!({"kind": "TenantList", "metadata": {"resourceVersion": "7"}, "items": items})
    }

    fn read(&mut self, plural: &str, name: &str) -> Answer {
        let key = (plural.to_owned(), name.to_owned());
        let Some(object) = self.objects.get_mut(&key) else {
            return not_found(plural, name);
        };
        let shown = object.clone();
        self.looks = self.looks.saturating_sub(1);
        if self.looks == 0 && object["status"]["conditions"].is_array() {
            object["status"]["conditions"][0]["status"] = "True".into();
            object["status"]["conditions"][0]["reason"] = "Ready".into();
        }
        if self.looks == 0 && object["metadata"]["deletionTimestamp"].is_string() {
            self.objects.remove(&key);
        }
        (200, "", shown)
    }

    fn write(&mut self, plural: &str, name: &str, body: &str, dry_run: bool) -> Answer {
        if let Some((code, status)) = self.refuse.get(name) {
            return (*code, "", status.clone());
        }
        let key = (plural.to_owned(), name.to_owned());
        let missing = |needs: &String| !self.objects.keys().any(|(_, name)| name == needs);
        if self.needs.get(name).is_some_and(missing) {
            return (
                422,
                "",
                json!({"kind": "Status", "reason": "Invalid", "message": "not yet"}),
            );
        }
        let mut object: Value = serde_yaml::from_str(body).unwrap();
        let before = self.objects.get(&key);
        let (code, result) = match before {
            None => (201, "created"),
            Some(before) if before["spec"] == object["spec"] => (200, "unchanged"),
            Some(_) => (200, "configured"),
        };
        let generation = before.map_or(0, |b| b["metadata"]["generation"].as_u64().unwrap());
        object["metadata"]["generation"] = (generation + u64::from(result != "unchanged")).into();
        object["status"] = json!({"observedGeneration": 1, "conditions": [{
            "type": "Ready", "status": "False", "reason": "Starting", "message": "service api starts",
            "observedGeneration": object["metadata"]["generation"],
            "lastTransitionTime": "2026-03-04T11:00:00Z",
        }]});
        if !dry_run && result != "unchanged" {
            self.objects.insert(key, object.clone());
        }
        (code, result, object)
    }

    fn remove(&mut self, plural: &str, name: &str, dry_run: bool) -> Answer {
        let key = (plural.to_owned(), name.to_owned());
        let Some(object) = self.objects.get_mut(&key) else {
            return not_found(plural, name);
        };
        if !dry_run {
            if self.looks == 0 {
                self.objects.remove(&key);
            } else {
                object["metadata"]["deletionTimestamp"] = "2026-03-04T12:00:00Z".into();
            }
        }
        (
            200,
            "",
            json!({"kind": "Status", "status": "Success", "code": 200}),
        )
    }
}

fn not_found(plural: &str, name: &str) -> Answer {
    let status = json!({
        "kind": "Status", "reason": "NotFound", "code": 404, "message": "there is no such object",
        "details": {"name": name, "kind": plural, "group": "campaignbrain.io"},
    });
    (404, "", status)
}
