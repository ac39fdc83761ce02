//! Tokens for some tenants, and the end of a token.

use anyhow::Result;

use super::remote::{Remote, TENANTS, events, labelled};
use crate::world::SOON;

const EVENTS: &str = "/apis/events.k8s.io/v1/events";

/// Law 4: who has a token for some tenants sees and changes these alone, in
/// lists, in watches and by name, also while labels change.
#[test]
fn a_scope_is_all_that_there_is() -> Result<()> {
    let remote = Remote::running("scopes")?;
    let world = &remote.world;
    let named = remote.token("named", "--role edit --tenants oh09")?;
    let canary = remote.token("canary", "--role edit --selector ring=canary")?;
    assert_eq!(remote.names(&named, TENANTS)?, ["oh09"]);
    assert_eq!(remote.names(&canary, TENANTS)?, ["ky04"]);
    // The selector of a request takes away, and does not add.
    let all = format!("{TENANTS}?labelSelector=ring%20in%20(canary,stable)&limit=1");
    assert_eq!(remote.names(&canary, &all)?, ["ky04"]);
    assert!(
        remote
            .names(
                &named,
                &format!("{TENANTS}?fieldSelector=metadata.name%3Dky04")
            )?
            .is_empty()
    );

    let by_name = remote.watch(&named, TENANTS)?;
    let by_label = remote.watch(&canary, TENANTS)?;
    let happenings = remote.watch(&canary, EVENTS)?;
    let has = |watch, kind: &str, name: &str| {
        let all = events(watch);
        all.iter().any(|(is, of, _)| is == kind && of == name)
    };
    world.waits("both have what is theirs", || {
        Ok(has(&by_name, "ADDED", "oh09") && has(&by_label, "ADDED", "ky04"))
    })?;

    // Out of the one scope, with what was hidden before, and into it.
    let moved = r#"{"metadata": {"labels": {"ring": "stable"}}, "spec": {"driftPolicy": "Detect", "env": {"NOTE": "hidden"}}}"#;
    let root = format!("patch tn ky04 -p '{moved}'");
    remote.cbctl(&root)?;
    world.waits("it is gone for who may not see it any more", || {
        Ok(has(&by_label, "DELETED", "ky04"))
    })?;
    let gone = events(&by_label);
    let (_, _, last) = gone
        .iter()
        .rfind(|(kind, ..)| kind == "DELETED")
        .cloned()
        .unwrap_or_default();
    assert_eq!(last["metadata"]["labels"]["ring"], "canary");
    remote.cbctl("wait tn/ky04 --for=condition=Ready --timeout 60s")?;
    world
        .host
        .sh("sed -i 's/^Description=.*/Description=else/' /etc/systemd/system/ky04-api.service")?;
    world.waits("it has an event that is not theirs", || {
        Ok(remote.cbctl("events --for tenant/ky04")?.contains("Drift"))
    })?;
    remote.cbctl("label tn oh09 ring=canary --overwrite")?;
    world.waits("what comes in is there", || {
        Ok(has(&by_label, "ADDED", "oh09"))
    })?;
    world.waits("its events too", || Ok(happenings.log().contains("oh09")))?;
    assert!(!happenings.log().contains("Drift"), "{}", happenings.log());
    assert!(!by_label.log().contains("hidden"), "{}", by_label.log());
    assert!(!by_name.log().contains("ky04"), "{}", by_name.log());
    assert_eq!(remote.names(&canary, TENANTS)?, ["oh09"]);

    // By name, whatever is asked for; and nothing of the host.
    let ky04 = format!("{TENANTS}/ky04");
    let label = r#"{"metadata": {"labels": {"a": "b"}}}"#;
    for token in [&named, &canary] {
        for request in [
            ("GET", ky04.as_str()),
            ("GET", "/api/tenants/ky04/version"),
            ("PATCH", &ky04),
            ("DELETE", &ky04),
            ("POST", "/operator/v1/tenants/ky04/restart"),
            ("GET", "/operator/v1/usage"),
            ("GET", "/operator/v1/rollouts"),
            ("GET", "/metrics"),
            ("GET", "/apis/campaignbrain.io/v1alpha1/hosts"),
            ("POST", "/operator/v1/plan"),
        ] {
            let body = if request.0 == "GET" { "" } else { label };
            let answer = remote.ask(token, request, body)?;
            assert_eq!(answer.status, 403, "{request:?}: {}", answer.body);
        }
        let own = format!("{TENANTS}/oh09");
        let done = remote.ask(token, ("PATCH", &own), label)?;
        assert_eq!(done.status, 200, "{}", done.body);
        let list = remote.get(token, EVENTS)?.json();
        let of = list["items"].as_array().cloned().unwrap_or_default();
        assert!(
            !of.is_empty() && of.iter().all(|event| event["regarding"]["name"] == "oh09"),
            "{list}"
        );
    }
    // Nothing is moved out of a scope or made outside of it.
    let out = r#"{"metadata": {"labels": {"ring": "stable"}}}"#;
    let answer = remote.ask(&canary, ("PATCH", &format!("{TENANTS}/oh09")), out)?;
    assert_eq!(answer.status, 403, "{}", answer.body);
    for (ring, code) in [("stable", 403), ("canary", 201)] {
        let new: serde_json::Value = serde_yaml::from_str(&labelled("wy01", ring))?;
        let answer = remote.ask(&canary, ("POST", TENANTS), &new.to_string())?;
        assert_eq!(answer.status, code, "{ring}: {}", answer.body);
    }
    world.wait_ready("wy01")?;
    Ok(())
}

/// Law 11: a token is good until its end and no longer, and what was let in
/// with it ends with it; a restart makes no difference.
#[test]
fn a_token_ends() -> Result<()> {
    let remote = Remote::running("tokenend")?;
    let world = &remote.world;
    let revoked = remote.token("revoked", "--role view")?;
    let mut open = remote.watch(&revoked, TENANTS)?;
    world.waits("it watches", || Ok(events(&open).len() == 2))?;
    remote.cbctl("token revoke revoked")?;
    assert!(open.wait(SOON).is_some(), "the watch goes on");
    assert_eq!(remote.get(&revoked, TENANTS)?.status, 401);
    let again = world.host.exec(&["cbctl", "token", "revoke", "revoked"])?;
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(
        again.stderr.contains("there is no token `revoked`"),
        "{again:?}"
    );

    let short = remote.token("short", "--role view --expires 15s")?;
    let mut open = remote.watch(&short, TENANTS)?;
    world.waits("it watches", || Ok(events(&open).len() == 2))?;
    let list = remote.cbctl("token list")?;
    let line = list.lines().find(|line| line.starts_with("short"));
    assert!(
        line.is_some_and(|line| line.contains("view") && !line.contains("expired")),
        "{list}"
    );
    world.waits("it has ended", || {
        Ok(remote.get(&short, TENANTS)?.status == 401)
    })?;
    assert!(open.wait(SOON).is_some(), "the watch goes on");
    let list = remote.cbctl("token list")?;
    let line = list.lines().find(|line| line.starts_with("short"));
    assert!(line.is_some_and(|line| line.contains("expired")), "{list}");
    let answer = remote.get(&short, TENANTS)?;
    assert!(answer.body.contains("\"Unauthorized\""), "{}", answer.body);

    world.host.sh("systemctl restart cb-operator")?;
    for token in [&revoked, &short] {
        assert_eq!(remote.get(token, TENANTS)?.status, 401);
    }
    // Its name is taken until it is revoked, so that the log is clear.
    let again = world.host.exec(&["cbctl", "token", "create", "short"])?;
    assert!(
        again.stderr.contains("there is a token `short` already"),
        "{again:?}"
    );
    remote.cbctl("token revoke short")?;
    let longer = remote.token("short", "--role view --expires 12h")?;
    assert_eq!(remote.get(&longer, TENANTS)?.status, 200);
    assert_eq!(remote.get(&short, TENANTS)?.status, 401);

    for (wrong, word) in [
        ("--expires 0d", "good for no time"),
        ("--expires soon", "a number and a unit"),
        ("--role boss", "a role is view, edit or admin"),
        ("--tenants a --selector b=c", "cannot be used with"),
        ("--selector 'a b'", "scope: "),
    ] {
        let line = format!("cbctl token create wrong {wrong}");
        let refused = world.host.exec(&["sh", "-c", &line])?;
        assert!(
            refused.code != Some(0) && refused.stderr.contains(word),
            "{wrong}: {refused:?}"
        );
    }
    assert!(!remote.cbctl("token list")?.contains("wrong"));
    Ok(())
}
