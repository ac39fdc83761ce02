//! The API over TCP: with the real `kubectl` and a kubeconfig of `cbctl`, and
//! what roles, scopes and the end of a token mean there.

mod remote;
mod roles;
mod scopes;

use anyhow::Result;
use cb_testhost::Output;
use serde_json::Value;

use crate::world::World;

const HOST: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: test}
spec:
  api: {listen: 127.0.0.1:9644}
  prune: {delaySeconds: 1, maxPercent: 34}
  resync: {periodSeconds: 5}
";

fn kubectl(world: &World, config: &str, arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let config = format!("--kubeconfig=/root/{config}");
    let Output {
        code,
        stdout,
        stderr,
    } = world
        .host
        .exec(&[&["kubectl", &config], arguments].concat())?;
    Ok((code, format!("{stdout}{stderr}")))
}

/// Law 4, 11 and 12: a token does what its role and scope say and no more,
/// until it is revoked; what was changed is in the log, and no secret is.
#[test]
fn tokens_let_kubectl_in_as_far_as_they_say() -> Result<()> {
    let world = World::installed("access")?;
    world
        .host
        .push(HOST.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
    world.put("tiny.yaml", crate::world::TINY)?;
    world.put_tiny("ky04", "")?;
    world.put_tiny("oh09", "")?;
    world.start()?;
    let config = |name: &str, grant: &str| {
        world.host.sh(&format!(
            "umask 077; cbctl kubeconfig {name} {grant} >/root/{name}"
        ))
    };
    config("ann", "--role edit --expires 1d")?;
    config("eve", "--role edit --tenants oh09")?;
    config("joe", "")?;

    let (code, text) = kubectl(&world, "ann", &["get", "tenants"])?;
    assert!(
        code == Some(0) && text.contains("ky04") && text.contains("oh09"),
        "{text}"
    );
    let (code, text) = kubectl(&world, "eve", &["get", "tenants", "-o", "name"])?;
    assert_eq!(
        (code, text.as_str()),
        (Some(0), "tenant.campaignbrain.io/oh09\n")
    );
    let (code, text) = kubectl(&world, "eve", &["label", "tenant", "ky04", "a=b"])?;
    assert!(code == Some(1) && text.contains("(Forbidden)"), "{text}");
    let (code, text) = kubectl(&world, "joe", &["label", "tenant", "ky04", "a=b"])?;
    assert!(
        code == Some(1) && text.contains("cannot patch resource \"tenants\""),
        "{text}"
    );
    let (_, text) = kubectl(&world, "joe", &["auth", "can-i", "patch", "tenants"])?;
    assert!(text.starts_with("no"), "{text}");
    let (_, text) = kubectl(&world, "ann", &["auth", "can-i", "patch", "tenants"])?;
    assert!(text.starts_with("yes"), "{text}");
    let (code, text) = kubectl(&world, "ann", &["label", "tenant", "ky04", "a=b"])?;
    assert_eq!(code, Some(0), "{text}");
    let again = world.host.exec(&["cbctl", "token", "create", "ann"])?;
    assert_eq!(again.code, Some(1));
    assert!(
        again.stderr.contains("there is a token `ann` already"),
        "{}",
        again.stderr
    );
    let list = world.host.sh("cbctl token list")?;
    assert!(list.contains("ann") && list.contains("oh09"), "{list}");

    // What was signed stays good over a restart, and what was revoked does not.
    world
        .host
        .sh("cbctl token revoke ann && systemctl restart cb-operator")?;
    let (code, text) = kubectl(&world, "ann", &["get", "tenants"])?;
    assert!(code == Some(1) && text.contains("Unauthorized"), "{text}");
    let (code, text) = kubectl(&world, "joe", &["get", "tenants"])?;
    assert_eq!(code, Some(0), "{text}");

    let secrets = world
        .host
        .sh("sed -n 's/.*token: //p' /root/ann /root/eve /root/joe")?;
    assert_eq!(secrets.matches("cbt_").count(), 3, "{secrets}");
    let kept = world
        .host
        .sh("cat /var/lib/cb/tokens/* /var/lib/cb/audit/*; journalctl -u cb-operator --no-pager")?;
    assert!(
        secrets.lines().all(|secret| !kept.contains(secret)),
        "a secret is kept"
    );
    let mode = world.host.sh("stat -c %a /var/lib/cb/audit/audit.log")?;
    assert_eq!(mode.trim(), "600");
    let log = String::from_utf8(world.host.read("/var/lib/cb/audit/audit.log")?)?;
    let log: Vec<Value> = log
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let word = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let did = |user: &str, method: &str| {
        let is_it = |entry: &&Value| word(entry, "user") == user && word(entry, "method") == method;
        log.iter()
            .filter(is_it)
            .map(|entry| entry["code"].as_u64())
            .collect::<Vec<_>>()
    };
    assert_eq!(did("token:ann", "PATCH"), [Some(200)]);
    assert_eq!(did("token:joe", "PATCH"), [Some(403)]);
    assert_eq!(did("user:root", "DELETE"), [Some(200)]);
    Ok(())
}
