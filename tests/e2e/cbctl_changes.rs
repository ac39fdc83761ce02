//! The commands of `cbctl` that change a manifest, restart, measure, check the
//! machine and complete words, with the real operator.

use anyhow::Result;
use cb_testhost::Output;

use crate::world::{TINY, World, tiny};

fn cbctl(world: &World, line: &str) -> Result<Output> {
    Ok(world.host.exec(&["bash", "-c", &format!("cbctl {line}")])?)
}

/// What a command that must succeed prints.
fn good(world: &World, line: &str) -> Result<String> {
    let output = cbctl(world, line)?;
    let said = format!("{}{}", output.stdout, output.stderr);
    assert_eq!(output.code, Some(0), "cbctl {line}: {said}");
    Ok(output.stdout)
}

/// What a command that must fail says.
fn bad(world: &World, line: &str, code: i32) -> Result<String> {
    let output = cbctl(world, line)?;
    let said = format!("{}{}", output.stdout, output.stderr);
    assert_eq!(output.code, Some(code), "cbctl {line}: {said}");
    Ok(said)
}

fn manifest(world: &World) -> Result<String> {
    Ok(world.host.sh("cat /etc/cb/manifests/ky04.yaml")?)
}

/// An editor that does one thing the first time and another the next time.
const EDITOR: &str = "\
#!/bin/sh
cp \"$1\" /root/seen-$(ls /root/seen-* 2>/dev/null | wc -l)
case $(ls /root/seen-* | wc -l) in
1) sed -i 's/version: v1/verson: v1/' \"$1\" ;;
*) sed -i 's/verson: v1/version: v2/' \"$1\" ;;
esac
";

/// Law 12 and a person's own text: what is changed is changed in the manifest,
/// whose comments and order stay; what is refused changes nothing.
#[test]
fn manifests_are_changed_in_place() -> Result<()> {
    let world = World::running("changes")?;
    let text = format!(
        "# ours\n{}",
        tiny(
            "ky04",
            "env: {MODE: loud}  # kept\ndisplayName: Kentucky  # a name"
        )
    );
    world.put("ky04.yaml", &text)?;
    world.put_tiny("oh09", "")?;
    world.wait_ready("ky04")?;
    world.wait_ready("oh09")?;

    let said = good(&world, "label tenant ky04 ring=canary tier=gold")?;
    assert_eq!(said, "tenant.campaignbrain.io/ky04 labeled\n");
    let shown = good(&world, "get tn -l ring=canary -o name")?;
    assert_eq!(shown, "tenant.campaignbrain.io/ky04\n");
    let said = bad(&world, "label tn ky04 ring=stable", 1)?;
    assert!(
        said.contains("'ring' already has a value (canary)"),
        "{said}"
    );
    good(&world, "label tn --all ring=stable --overwrite")?;
    assert_eq!(
        good(&world, "get tn -l ring=stable -o name")?
            .lines()
            .count(),
        2
    );
    let said = good(&world, "label tn ky04 tier-")?;
    assert_eq!(said, "tenant.campaignbrain.io/ky04 unlabeled\n");
    good(&world, "annotate tn/ky04 example.org/contact=ops")?;
    let now = manifest(&world)?;
    for kept in [
        "# ours\n",
        "# kept",
        "# a name",
        "ring: stable",
        "example.org/contact",
    ] {
        assert!(now.contains(kept), "{kept}: {now}");
    }
    assert!(!now.contains("tier"), "{now}");
    let said = bad(&world, "label tn nobody a=b", 1)?;
    assert_eq!(
        said,
        "Error from server (NotFound): tenants \"nobody\" not found\n"
    );

    let merge = r#"'{"spec": {"displayName": "Fourth"}}'"#;
    let dry = good(
        &world,
        &format!("patch tn ky04 --dry-run=server -p {merge}"),
    )?;
    assert!(dry.contains("patched") && dry.contains("dry run"), "{dry}");
    assert_eq!(manifest(&world)?, now);
    good(&world, &format!("patch tn ky04 -p {merge}"))?;
    let json = r#"'[{"op": "replace", "path": "/spec/env/MODE", "value": "quiet"}]'"#;
    good(&world, &format!("patch tenant/ky04 --type json -p {json}"))?;
    let now = manifest(&world)?;
    for kept in ["Fourth", "quiet", "# kept", "# ours"] {
        assert!(now.contains(kept), "{kept}: {now}");
    }
    bad(&world, r#"patch tn ky04 -p '{"spec": {"domans": []}}'"#, 1)?;
    assert_eq!(manifest(&world)?, now);

    let said = good(&world, "suspend ky04")?;
    assert_eq!(said, "tenant.campaignbrain.io/ky04 suspended\n");
    assert!(manifest(&world)?.contains("suspend: true"));
    let said = bad(&world, "rollout restart ky04", 1)?;
    assert!(said.contains("suspended"), "{said}");
    good(&world, "resume ky04")?;
    assert!(good(&world, "resume ky04")?.contains("already"));
    world.wait_ready("ky04")?;

    // Refused once with the reason on top, then taken.
    world.host.push(EDITOR.as_bytes(), "/root/editor", 0o755)?;
    let before = manifest(&world)?;
    let cancelled = world.host.sh("EDITOR=true cbctl edit tn ky04")?;
    assert_eq!(cancelled, "Edit cancelled, no changes made.\n");
    assert_eq!(manifest(&world)?, before);
    let said = world
        .host
        .sh("KUBE_EDITOR=/root/editor EDITOR=false cbctl edit tn/ky04")?;
    assert_eq!(said, "tenant.campaignbrain.io/ky04 edited\n");
    let reopened = world.host.sh("cat /root/seen-1")?;
    assert!(
        reopened.contains("verson") && reopened.contains("# "),
        "{reopened}"
    );
    assert!(
        reopened
            .lines()
            .any(|line| line.starts_with('#') && line.contains("version"))
    );
    let after = manifest(&world)?;
    assert!(
        after.contains("version: v2") && after.contains("# kept"),
        "{after}"
    );
    let failed = world
        .host
        .exec(&["sh", "-c", "EDITOR=false cbctl edit tn ky04"])?;
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert_eq!(manifest(&world)?, after);
    world.wait_ready("ky04")?;

    // Every service of the one tenant, and none of the other.
    let pids = |tenant: &str| -> Result<(String, String)> {
        let of = |service| world.show(&format!("{tenant}-{service}"), "InvocationID");
        Ok((of("api")?, of("frontend")?))
    };
    let (ours, others) = (pids("ky04")?, pids("oh09")?);
    let said = good(&world, "rollout restart tenant/ky04")?;
    assert_eq!(said, "tenant.campaignbrain.io/ky04 restarted\n");
    let now = pids("ky04")?;
    assert!(now.0 != ours.0 && now.1 != ours.1, "{ours:?} {now:?}");
    assert_eq!(pids("oh09")?, others);
    world.wait_ready("ky04")?;

    // What is written from now on is followed.
    let follow = ["cbctl", "logs", "ky04", "-s", "api", "-f", "--tail", "0"];
    let following = world.host.spawn(&follow)?;
    world.waits("a restart is seen in the log", || {
        world.host.sh("systemctl restart ky04-api")?;
        Ok(following.log().contains("ky04-api"))
    })?;
    drop(following);
    world.wait_ready("ky04")?;
    good(&world, "rollout history")?;

    let top = good(&world, "top --services --no-headers")?;
    assert_eq!(top.lines().count(), 4, "{top}");
    assert!(
        top.lines().all(|line| line.split_whitespace().count() == 4),
        "{top}"
    );
    bad(&world, "top nobody", 1)?;
    Ok(())
}

/// Law 8: what is rendered without a host is what the operator writes on one.
/// Contexts, completion and the doctor say what there is.
#[test]
fn a_host_is_started_checked_and_named() -> Result<()> {
    let world = World::installed("doctor")?;
    let said = bad(&world, "get tenants", 1)?;
    assert!(
        said.contains("/run/cb/operator.sock") && said.contains("hint: is the operator running?"),
        "{said}"
    );
    let said = bad(&world, "doctor", 1)?;
    let failed: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("FAIL"))
        .collect();
    assert!(
        failed
            .iter()
            .all(|line| line.contains("operator") || line.contains("socket")),
        "{said}"
    );
    assert!(
        said.contains("systemctl enable --now cb-operator"),
        "{said}"
    );

    // What cannot be asked in a pipe has to be given.
    let said = bad(&world, "init --folder /root/new </dev/null", 2)?;
    assert!(
        said.contains("--release, --service, --tenant, --domain"),
        "{said}"
    );
    let init = "init --folder /root/new --release v1=/srv/tiny/v1 --service api=bin/tinyapp \
                --service frontend=bin/tinyapp --tenant first --domain first.example.org </dev/null";
    good(&world, init)?;
    good(&world, "validate /root/new")?;
    let again = bad(&world, init, 1)?;
    assert!(again.contains("exists; nothing was written"), "{again}");

    let host = String::from_utf8(world.host.read("/etc/cb/host.yaml")?)?;
    let host = format!("{host}  api: {{listen: 127.0.0.1:9645}}\n");
    world
        .host
        .push(host.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
    world.put("tiny.yaml", TINY)?;
    world.put_tiny("ky04", "env: {MODE: loud}")?;
    world.start()?;
    world.wait_ready("ky04")?;
    good(&world, "doctor")?;
    let json: serde_json::Value = serde_json::from_str(&good(&world, "doctor -o json")?)?;
    let checks = json["checks"].as_array().cloned().unwrap_or_default();
    assert!(checks.len() >= 12, "{json}");
    assert!(
        checks.iter().all(|check| check["verdict"] != "FAIL"),
        "{json}"
    );

    let rendered = good(
        &world,
        "render ky04 -f /etc/cb/manifests -f /etc/cb/host.yaml -o json",
    )?;
    let rendered: serde_json::Value = serde_json::from_str(&rendered)?;
    let files = rendered["items"].as_array().cloned().unwrap_or_default();
    assert_eq!(files.len(), 5, "{rendered}");
    for file in files {
        let path = file["path"].as_str().unwrap_or_default();
        let there = String::from_utf8(world.host.read(path)?)?;
        assert_eq!(file["content"], there.as_str(), "{path}");
    }

    let set = "config set-context here --server unix:///run/cb/operator.sock";
    assert_eq!(good(&world, set)?, "Context \"here\" created.\n");
    good(&world, "config set-context gone --server /run/gone.sock")?;
    good(&world, "config use-context gone")?;
    assert_eq!(good(&world, "config current-context")?, "gone\n");
    let said = bad(&world, "get tenants", 1)?;
    assert!(said.contains("/run/gone.sock"), "{said}");
    assert!(good(&world, "--context here get tenants")?.contains("ky04"));
    good(&world, "config delete-context gone")?;
    assert_eq!(good(&world, "config get-contexts -o name")?, "here\n");
    bad(&world, "--context gone get tenants", 2)?;
    good(&world, "config use-context here")?;

    // Over TLS with a token, as far as its role goes.
    good(&world, "kubeconfig ann --role view >/root/ann")?;
    good(&world, "config set-context far --kubeconfig /root/ann")?;
    assert!(good(&world, "--context far get tenants")?.contains("ky04"));
    let said = bad(&world, "--context far label tn ky04 a=b", 1)?;
    assert!(said.contains("(Forbidden)"), "{said}");
    let said = bad(&world, "--context far logs ky04", 2)?;
    assert!(said.contains("ssh 127.0.0.1 cbctl logs ky04"), "{said}");
    let modes = world.host.sh("stat -c %a /root/.config/cbctl/*")?;
    assert!(modes.lines().all(|mode| mode == "600"), "{modes}");
    good(&world, "config delete-context far")?;
    let left = world.host.sh("ls /root/.config/cbctl")?;
    assert_eq!(left, "config.yaml\n");

    // A real shell completes kinds, names and contexts.
    let complete = |words: &str| -> Result<String> {
        let (before, typed) = words.rsplit_once(' ').unwrap_or_default();
        let count = before.split(' ').count();
        let script = format!(
            "source <(cbctl completion bash); COMP_WORDS=({words}); COMP_CWORD={count}; \
             COMP_TYPE=9; _clap_complete_cbctl cbctl '{typed}'; echo \"${{COMPREPLY[@]}}\""
        );
        Ok(world.host.exec(&["bash", "-c", &script])?.stdout)
    };
    assert!(complete("cbctl get ten")?.contains("tenants"));
    assert!(complete("cbctl get tenant ky")?.contains("ky04"));
    assert!(complete("cbctl logs k")?.contains("ky04"));
    assert!(complete("cbctl config use-context h")?.contains("here"));
    // Nothing is coloured that no person looks at.
    let forced = world
        .host
        .sh("NO_COLOR=1 TERM=xterm script -qec 'cbctl doctor' /dev/null")?;
    assert!(!forced.contains("\u{1b}["), "{forced:?}");
    Ok(())
}
