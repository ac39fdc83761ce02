//! Who may do what over TCP, and that it is noted.

use axum::Extension;
use cb_core::access::{Role, Scope};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::api::access::Origin;
use crate::api::changes::Peer;
use crate::api::routes::{Api, router};
use crate::api::tests::fake::OH01;

/// The API as whoever comes over TCP has it, without TLS.
struct Remote {
    fake: Arc<Fake>,
    router: axum::Router,
}

impl Remote {
    async fn start() -> Self {
        let fake = Arc::new(Fake::new().await);
        let api = Arc::new(Api::new(fake.clone(), CancellationToken::new()));
        let from = Origin::Remote("127.0.0.1:5000".parse().unwrap());
        let router = router(api)
            .layer(Extension(Peer::default()))
            .layer(Extension(from));
        Self { fake, router }
    }

    async fn token(&self, name: &str, role: Role, scope: Value) -> String {
        let scope: Scope = serde_json::from_value(scope).unwrap();
        let name = name.parse().unwrap();
        let made = self.fake.access.tokens.create(name, (role, scope), None);
        made.await.unwrap().1
    }

    async fn ask(&self, token: &str, method: Method, path: &str, body: Value) -> Answer {
        let (near, far) = tokio::io::duplex(1 << 16);
        let service = TowerToHyperService::new(self.router.clone());
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service),
        );
        let media = match method {
            Method::GET => "",
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let mut request = request(method, path, media, &body);
        if !token.is_empty() {
            let value = format!("Bearer {token}").parse().unwrap();
            request.headers_mut().insert("authorization", value);
        }
        let near = TokioIo::new(near);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(near).await.unwrap();
        tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer {
            status: head.status,
            headers: head.headers,
            text,
        }
    }

    async fn get(&self, token: &str, path: &str) -> Answer {
        self.ask(token, Method::GET, path, Value::Null).await
    }

    fn log(&self) -> Vec<Value> {
        let path = self.fake.folder.path().join("audit/audit.log");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

#[tokio::test]
async fn without_a_good_token_there_is_only_health() {
    let remote = Remote::start().await;
    assert_eq!(remote.get("", "/readyz").await.status, 200);
    let tenants = format!("{V1}/tenants");
    for token in ["", "cbt_wrong"] {
        let answer = remote.get(token, &tenants).await;
        answer.failure(401, "Unauthorized");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    let token = remote.token("ci", Role::View, json!({})).await;
    assert_eq!(remote.get(&token, &tenants).await.status, 200);
    remote
        .fake
        .access
        .tokens
        .revoke(&"ci".parse().unwrap())
        .await
        .unwrap();
    remote
        .get(&token, &tenants)
        .await
        .failure(401, "Unauthorized");
}

#[tokio::test]
async fn a_role_reaches_as_far_as_it_says() {
    let remote = Remote::start().await;
    let view = remote.token("view", Role::View, json!({})).await;
    let edit = remote.token("edit", Role::Edit, json!({})).await;
    let admin = remote.token("admin", Role::Admin, json!({})).await;
    let ky04 = format!("{V1}/tenants/ky04");
    let patch = json!({"spec": {"env": {"GREETING": "canary"}}});
    let refused = remote.ask(&view, Method::PATCH, &ky04, patch.clone()).await;
    let message = refused.failure(403, "Forbidden");
    assert!(
        message.contains("User \"token:view\" cannot patch resource \"tenants\""),
        "{message}"
    );
    let done = remote.ask(&edit, Method::PATCH, &ky04, patch).await;
    assert_eq!(done.status, 200, "{}", done.text);
    remote
        .get(&edit, "/operator/v1/tokens")
        .await
        .failure(403, "Forbidden");
    let wanted = json!({"name": "new", "role": "view", "scope": {"tenants": ["ky04"]}});
    let made = remote
        .ask(&admin, Method::POST, "/operator/v1/tokens", wanted)
        .await;
    assert_eq!(made.status, 201, "{}", made.text);
    let secret = made.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(remote.get(&secret, &ky04).await.status, 200);
    let list = remote.get(&admin, "/operator/v1/tokens").await.text;
    assert!(
        list.contains("\"new\"") && !list.contains(&secret) && !list.contains("digest"),
        "{list}"
    );
    for (verb, allowed) in [("get", true), ("patch", false)] {
        let attributes = json!({"group": "campaignbrain.io", "resource": "tenants", "verb": verb});
        let body = json!({"spec": {"resourceAttributes": attributes}});
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let answer = remote.ask(&view, Method::POST, path, body).await;
        assert_eq!(answer.json()["status"]["allowed"], allowed, "{verb}");
    }
    // Law 11: who did what is noted, without secrets and bodies.
    let log = remote.log();
    let lines: Vec<_> = log
        .iter()
        .map(|l| (l["user"].clone(), l["code"].clone()))
        .collect();
    assert_eq!(
        lines,
        [
            (json!("token:view"), json!(403)),
            (json!("token:edit"), json!(200)),
            (json!("token:admin"), json!(201)),
        ]
    );
    assert_eq!(
        (&log[1]["method"], &log[1]["result"]),
        (&json!("PATCH"), &json!("configured"))
    );
    let text = serde_json::to_string(&log).unwrap();
    assert!(
        !text.contains(&secret) && !text.contains("canary"),
        "{text}"
    );
}

/// Law 4: a token for some tenants neither sees nor changes another.
#[tokio::test]
async fn a_scope_has_its_tenants_alone() {
    let remote = Remote::start().await;
    let named = remote
        .token("named", Role::Edit, json!({"tenants": ["oh01"]}))
        .await;
    let labelled = remote
        .token("labelled", Role::Edit, json!({"selector": "state=oh"}))
        .await;
    let with = OH01.replace("name: oh01", "name: oh01\n  labels: {state: oh}");
    remote.fake.take(&with).await;
    let patch = json!({"spec": {"suspend": true}});
    for token in [&named, &labelled] {
        let list = remote.get(token, &format!("{V1}/tenants")).await.json();
        let names: Vec<_> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| &i["metadata"]["name"])
            .collect();
        assert_eq!(names, ["oh01"]);
        let watch = format!("{V1}/tenants?watch=true&timeoutSeconds=0");
        assert!(!remote.get(token, &watch).await.text.contains("ky04"));
        for path in ["ky04", "ky04/status", "%6by04", "nobody"] {
            remote
                .get(token, &format!("{V1}/tenants/{path}"))
                .await
                .failure(403, "Forbidden");
        }
        let answer = remote
            .ask(
                token,
                Method::PATCH,
                &format!("{V1}/tenants/ky04"),
                patch.clone(),
            )
            .await;
        answer.failure(403, "Forbidden");
        let answer = remote
            .ask(token, Method::POST, "/api/tenants/ky04/retry", Value::Null)
            .await;
        answer.failure(403, "Forbidden");
        let application = format!("{V1}/applications/cbapp");
        assert_eq!(remote.get(token, &application).await.status, 200);
        remote
            .ask(token, Method::DELETE, &application, Value::Null)
            .await
            .failure(403, "Forbidden");
        for path in [
            "/operator/v1/rollouts",
            "/operator/v1/source",
            "/metrics",
            &format!("{V1}/hosts"),
        ] {
            remote.get(token, path).await.failure(403, "Forbidden");
        }
        let own = format!("{V1}/tenants/oh01");
        let done = remote.ask(token, Method::PATCH, &own, patch.clone()).await;
        assert_eq!(done.status, 200, "{}", done.text);
    }
    // Nor can it make one outside, or move its own out.
    let mut new: Value = serde_yaml::from_str(OH01).unwrap();
    new["metadata"]["name"] = "oh02".into();
    let tenants = format!("{V1}/tenants");
    for token in [&named, &labelled] {
        let answer = remote.ask(token, Method::POST, &tenants, new.clone()).await;
        answer.failure(403, "Forbidden");
        let answer = remote
            .ask(token, Method::PUT, &format!("{tenants}/oh02"), new.clone())
            .await;
        answer.failure(403, "Forbidden");
    }
    new["metadata"]["labels"] = json!({"state": "oh"});
    let made = remote.ask(&labelled, Method::POST, &tenants, new).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let moved = json!({"metadata": {"labels": {"state": "ky"}}});
    let answer = remote
        .ask(&labelled, Method::PATCH, &format!("{tenants}/oh02"), moved)
        .await;
    answer.failure(403, "Forbidden");
}
