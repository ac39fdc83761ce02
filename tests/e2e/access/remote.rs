//! The API over TLS as somebody with a token has it, by `curl`.

use anyhow::Result;
use cb_testhost::{Response, Running};
use serde_json::Value;

use crate::world::{TINY, World, tiny};

/// Where the API is.
const SERVER: &str = "https://127.0.0.1:9644";
/// The authority that clients trust.
const AUTHORITY: &str = "/var/lib/cb/pki/ca.crt";
/// The tenants in Kubernetes' form.
pub(super) const TENANTS: &str = "/apis/campaignbrain.io/v1alpha1/tenants";

/// A host with the API over TLS, ky04 in the ring `canary` and oh09 in the
/// ring `stable`.
pub(super) struct Remote {
    pub(super) world: World,
}

impl Remote {
    pub(super) fn running(hint: &str) -> Result<Self> {
        let world = World::installed(hint)?;
        let host = super::HOST.replace("9644}", "9644, group: ops}");
        world
            .host
            .push(host.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
        world.host.sh("groupadd ops")?;
        world.put("tiny.yaml", TINY)?;
        for (name, ring) in [("ky04", "canary"), ("oh09", "stable")] {
            world.put(&format!("{name}.yaml"), &labelled(name, ring))?;
        }
        world.start()?;
        world.wait_ready("ky04")?;
        world.wait_ready("oh09")?;
        Ok(Self { world })
    }

    /// Makes a token with these options, and gives its secret.
    pub(super) fn token(&self, name: &str, grant: &str) -> Result<String> {
        let secret = self
            .world
            .host
            .sh(&format!("cbctl token create {name} {grant}"))?;
        Ok(secret.trim().to_owned())
    }

    /// Asks with a token; an empty one is none.
    pub(super) fn ask(
        &self,
        token: &str,
        (method, path): (&str, &str),
        body: &str,
    ) -> Result<Response> {
        let media = match method {
            "PATCH" => "Content-Type: application/merge-patch+json",
            _ => "Content-Type: application/json",
        };
        let (bearer, url) = (bearer(token), format!("{SERVER}{path}"));
        let mut words = vec!["--cacert", AUTHORITY, "-X", method, "-H", &bearer];
        if !body.is_empty() {
            words.extend(["-H", media, "-d", body]);
        }
        words.push(&url);
        Ok(self.world.host.curl(&words)?)
    }

    pub(super) fn get(&self, token: &str, path: &str) -> Result<Response> {
        self.ask(token, ("GET", path), "")
    }

    /// The names of the objects of a list.
    pub(super) fn names(&self, token: &str, path: &str) -> Result<Vec<String>> {
        let list = self.get(token, path)?.json();
        let items = list["items"].as_array().cloned().unwrap_or_default();
        Ok(items
            .iter()
            .map(|item| {
                item["metadata"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect())
    }

    /// Watches, and goes on while the test does other things.
    pub(super) fn watch(&self, token: &str, path: &str) -> Result<Running> {
        let url = format!("{SERVER}{path}?watch=true");
        let words = ["curl", "-sS", "-N", "--cacert", AUTHORITY, "-H"];
        Ok(self
            .world
            .host
            .spawn(&[&words[..], &[&bearer(token), &url]].concat())?)
    }

    /// What `cbctl` says to root.
    pub(super) fn cbctl(&self, line: &str) -> Result<String> {
        Ok(self.world.host.sh(&format!("cbctl {line}"))?)
    }
}

pub(super) fn labelled(name: &str, ring: &str) -> String {
    let with = format!("{{name: {name}, labels: {{ring: {ring}}}}}");
    tiny(name, "").replace(&format!("{{name: {name}}}"), &with)
}

/// The events that a watch has printed in full so far: type, name and object.
pub(super) fn events(watch: &Running) -> Vec<(String, String, Value)> {
    let log = watch.log();
    let lines = log
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    let event = |line: &str| {
        let event: Value = serde_json::from_str(line).ok()?;
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = word(&event["object"]["metadata"]["name"]);
        Some((word(&event["type"]), name, event["object"].clone()))
    };
    lines.filter_map(event).collect()
}

fn bearer(token: &str) -> String {
    match token {
        "" => "X-Nothing: here".to_owned(),
        token => format!("Authorization: Bearer {token}"),
    }
}
