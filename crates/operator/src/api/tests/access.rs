//! Who may do what over TCP, and that it is noted.

use axum::Extension;
use cb_core::access::{Role, Scope};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::io::{AsyncWriteExt as _, DuplexStream};
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

    /// A connection of a client's.
    fn connection(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(1 << 16);
        let service = TowerToHyperService::new(self.router.clone());
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service),
        );
        near
    }

    async fn ask(&self, token: &str, method: Method, path: &str, body: Value) -> Answer {
        let near = self.connection();
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

/// What was let in while a token was good ends with it.
#[tokio::test]
async fn a_watch_ends_with_its_token() {
    let remote = Remote::start().await;
    let revoked = remote.token("revoked", Role::View, json!({})).await;
    let soon = Some(jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2));
    let tokens = &remote.fake.access.tokens;
    let grant = (Role::View, Scope::default());
    let made = tokens.create("expiring".parse().unwrap(), grant, soon);
    let expiring = made.await.unwrap().1;
    let path = format!("{V1}/tenants?watch=true&timeoutSeconds=3000");
    let revoke = async {
        let name = "revoked".parse().unwrap();
        tokens.revoke(&name).await.unwrap();
    };
    let (first, second, ()) = tokio::join!(
        remote.get(&revoked, &path),
        remote.get(&expiring, &path),
        revoke
    );
    // The first may have come too late even to begin.
    assert!([200, 401].contains(&first.status.as_u16()));
    assert_eq!(second.status, 200);
    assert!(second.text.contains("ky04"), "{}", second.text);
    let after = remote.get(&expiring, &path).await;
    after.failure(401, "Unauthorized");
}

/// Law 4: a tenant that leaves the scope of a watch is shown as it was, and
/// one that was never in it not at all.
#[tokio::test]
async fn a_watch_tells_nothing_from_outside_the_scope() {
    let remote = Remote::start().await;
    let selector = json!({"selector": "state=oh"});
    let token = remote.token("north", Role::View, selector).await;
    let with = |state: &str, more: &str| {
        let label = format!("name: oh01\n  labels: {{state: {state}}}");
        OH01.replace("name: oh01", &label) + more
    };
    remote.fake.take(&with("oh", "")).await;
    let list = remote.get(&token, &format!("{V1}/tenants")).await.json();
    let revision = list["metadata"]["resourceVersion"].as_str().unwrap();
    let hidden = "  env: {GREETING: hidden}\n";
    remote.fake.take(&with("ky", hidden)).await;
    remote.fake.take(&with("ky", "")).await;
    let other = OH01.replace("oh01", "wy01");
    remote.fake.take(&other).await;
    let watch = format!("{V1}/tenants?watch=true&timeoutSeconds=0&resourceVersion={revision}");
    let text = remote.get(&token, &watch).await.text;
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events.len(), 1, "{text}");
    assert_eq!(events[0]["type"], "DELETED");
    assert_eq!(events[0]["object"]["metadata"]["labels"]["state"], "oh");
    assert!(!text.contains("hidden") && !text.contains("wy01"), "{text}");
}

/// What changes something is noted, whatever else its query says and whether or
/// not anybody waits for the answer.
#[tokio::test]
async fn nothing_keeps_a_change_out_of_the_log() {
    let remote = Remote::start().await;
    let admin = remote.token("admin", Role::Admin, json!({})).await;
    let wanted = json!({"name": "quiet", "role": "admin"});
    let path = "/operator/v1/tokens?dryRun=All";
    let made = remote.ask(&admin, Method::POST, path, wanted).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(remote.log().len(), 1);
    let tried = format!("{V1}/tenants/ky04?dryRun=All");
    let patch = json!({"spec": {"suspend": true}});
    let answer = remote.ask(&admin, Method::PATCH, &tried, patch).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(remote.log().len(), 1);

    let mut hasty = remote.connection();
    let head = format!(
        "DELETE /operator/v1/tokens/quiet HTTP/1.1\r\nhost: operator\r\n\
         authorization: Bearer {admin}\r\n\r\n"
    );
    hasty.write_all(head.as_bytes()).await.unwrap();
    // It has begun when everybody else had a turn.
    tokio::task::yield_now().await;
    drop(hasty);
    let noted = async {
        while remote.log().len() < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let limit = std::time::Duration::from_secs(60);
    tokio::time::timeout(limit, noted).await.unwrap();
    let log = remote.log();
    assert_eq!(log[1]["path"], "/operator/v1/tokens/quiet");
    assert_eq!(
        (&log[1]["user"], &log[1]["code"]),
        (&json!("token:admin"), &json!(200))
    );
}
