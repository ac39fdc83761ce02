//! Every option of `cbctl` that concerns objects, with the real operator: each
//! does what it says. `cb_cbctl`'s own tests find the options that no test here
//! gives.

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
    Ok(said)
}

/// What a command that must end with this code prints.
fn ends(world: &World, line: &str, code: i32) -> Result<String> {
    let output = cbctl(world, line)?;
    let said = format!("{}{}", output.stdout, output.stderr);
    assert_eq!(output.code, Some(code), "cbctl {line}: {said}");
    Ok(said)
}

fn labelled(name: &str, ring: &str) -> String {
    let with = format!("{{name: {name}, labels: {{ring: {ring}}}}}");
    tiny(name, "").replace(&format!("{{name: {name}}}"), &with)
}

/// Two tenants of two rings, and a folder in a folder with two more.
fn fleet(hint: &str) -> Result<World> {
    let world = World::running(hint)?;
    world.put("ky04.yaml", &labelled("ky04", "canary"))?;
    world.put("oh09.yaml", &labelled("oh09", "stable"))?;
    world.wait_ready("ky04")?;
    world.wait_ready("oh09")?;
    let push = |path: &str, text: &str| world.host.push(text.as_bytes(), path, 0o644);
    push("/root/tree/aa01.yaml", &labelled("aa01", "canary"))?;
    push("/root/tree/deep/bb02.yaml", &labelled("bb02", "stable"))?;
    Ok(world)
}

/// Law 8: what is shown is what was asked for.
#[test]
fn options_choose_what_is_shown() -> Result<()> {
    let world = fleet("shown")?;
    let all = good(&world, "get tn")?;
    assert!(all.starts_with("NAME"), "{all}");
    let bare = good(&world, "get tn --no-headers")?;
    assert!(bare.starts_with("ky04"), "{bare}");
    let labels = good(&world, "get tn --show-labels")?;
    assert!(
        labels.contains("ring=canary") && !all.contains("ring"),
        "{labels}"
    );
    let yaml = good(&world, "get tn ky04 -o yaml")?;
    let yaml: serde_json::Value = serde_yaml::from_str(&yaml)?;
    assert_eq!(yaml["spec"]["version"], "v1");
    let described = good(&world, "describe tn -l ring=canary")?;
    assert!(
        described.contains("ky04") && !described.contains("oh09"),
        "{described}"
    );
    let ports = good(&world, "ports -l ring=stable")?;
    assert!(ports.contains("oh09") && !ports.contains("ky04"), "{ports}");
    let kinds = good(&world, "api-resources --no-headers")?;
    assert!(
        kinds.contains("tenants") && !kinds.contains("NAME"),
        "{kinds}"
    );

    let plain = good(&world, "explain tenant.spec")?;
    let deep = good(&world, "explain tenant.spec --recursive")?;
    assert!(plain.contains("driftPolicy"), "{plain}");
    assert!(
        deep.contains("onCalendar") || deep.contains("hostSelector"),
        "{deep}"
    );
    assert!(!plain.contains("hostSelector"), "{plain}");
    let own = good(&world, "--server /run/gone.sock version --client")?;
    assert!(own.contains("Client") && !own.contains("Server"), "{own}");
    let both = good(&world, "version")?;
    assert!(both.contains("Server Version"), "{both}");

    for line in [
        "top --no-headers --sort-by cpu",
        "top --no-headers --sort-by memory",
    ] {
        assert_eq!(good(&world, line)?.lines().count(), 2, "{line}");
    }
    let write = "head -c 9000000 /dev/zero >/var/lib/cb/tenants/oh09/uploads/big";
    world.host.sh(write)?;
    good(
        &world,
        "patch tn oh09 -p '{\"spec\": {\"resources\": {\"disk\": \"40Mi\"}}}'",
    )?;
    world.waits("what it has on disk is shown, the most first", || {
        let top = good(&world, "top --sort-by=disk --no-headers")?;
        let first = top.lines().next().unwrap_or_default();
        Ok(first.starts_with("oh09")
            && first.ends_with("40Mi")
            && !first.contains("<unknown>   40Mi"))
    })?;
    let described = good(&world, "describe tn oh09")?;
    let disk = described.lines().find(|line| line.starts_with("Disk:"));
    assert!(
        disk.is_some_and(|line| line.ends_with("Mi of 40Mi")),
        "{described}"
    );

    // Events by type, and as they happen.
    let normal = good(&world, "events --types Normal --no-headers")?;
    assert!(
        !normal.contains("Warning") && !normal.contains("LAST SEEN"),
        "{normal}"
    );
    assert!(normal.contains("Normal"), "{normal}");
    let watching = world
        .host
        .spawn(&["cbctl", "events", "-w", "--types", "Warning"])?;
    good(
        &world,
        "patch tn ky04 -p '{\"spec\": {\"driftPolicy\": \"Detect\"}}'",
    )?;
    world.wait_ready("ky04")?;
    assert_eq!(good(&world, "drift")?, "");
    world
        .host
        .sh("sed -i 's/^Description=.*/Description=else/' /etc/systemd/system/ky04-api.service")?;
    world.waits("the drift is seen by the watch", || {
        Ok(watching.log().contains("Drift") && !watching.log().contains("Normal"))
    })?;
    let drift = ends(&world, "drift ky04", 1)?;
    assert!(drift.contains("ky04-api.service"), "{drift}");
    let warnings = good(&world, "events --types=Warning --for tenant/ky04")?;
    assert!(
        warnings.contains("Drift") && !warnings.contains("Normal "),
        "{warnings}"
    );
    assert_eq!(good(&world, "drift oh09")?, "");
    ends(&world, "drift --server /run/gone.sock", 2)?;
    Ok(())
}

/// Law 2 and 8: what is only to be tried changes nothing, and what is to be
/// changed is what was named.
#[test]
fn options_choose_what_is_changed() -> Result<()> {
    let world = fleet("changed")?;
    let names = |world: &World| {
        good(world, "get tn -o name").map(|all| all.replace("tenant.campaignbrain.io/", ""))
    };
    let flat = good(&world, "apply -f /root/tree --dry-run=client")?;
    assert!(
        flat.contains("aa01 created (dry run)") && !flat.contains("bb02"),
        "{flat}"
    );
    let deep = good(&world, "apply -R -f /root/tree --dry-run=client")?;
    assert!(deep.contains("bb02 created (dry run)"), "{deep}");
    let differs = ends(&world, "diff -R -f /root/tree", 1)?;
    assert!(
        differs.contains("bb02") && differs.contains("aa01"),
        "{differs}"
    );
    assert_eq!(names(&world)?, "ky04\noh09\n");
    let chosen = good(&world, "apply -R -f /root/tree -l ring=stable")?;
    assert!(
        chosen.contains("bb02 created") && !chosen.contains("aa01"),
        "{chosen}"
    );
    good(&world, "apply -f /root/tree/aa01.yaml")?;
    let ready = good(
        &world,
        "wait tn -l ring=canary --for=condition=Ready --timeout 60s",
    )?;
    assert!(
        ready.contains("aa01") && ready.contains("ky04") && !ready.contains("bb02"),
        "{ready}"
    );

    let before = world
        .host
        .sh("cat /etc/cb/manifests/*.yaml | grep -v '^ *lastTransition'")?;
    for what in ["label", "annotate"] {
        for how in ["client", "server"] {
            let said = good(
                &world,
                &format!("{what} tn --all --overwrite --dry-run={how} tried=yes"),
            )?;
            assert_eq!(said.matches("dry run)").count(), 4, "{said}");
        }
    }
    good(&world, "label tn ky04 --dry-run=client tried=yes")?;
    good(&world, "label tn ky04 --dry-run=server tried=yes")?;
    good(&world, "annotate tn ky04 --dry-run=client tried=yes")?;
    good(&world, "annotate tn ky04 --dry-run=server tried=yes")?;
    let patch = r#"{"spec": {"displayName": "tried"}}"#;
    world
        .host
        .push(patch.as_bytes(), "/root/patch.json", 0o644)?;
    good(
        &world,
        "patch tn ky04 --dry-run=client --patch-file /root/patch.json",
    )?;
    for how in ["client", "server"] {
        let said = good(&world, &format!("delete -R -f /root/tree --dry-run={how}"))?;
        assert_eq!(said.matches("dry run)").count(), 2, "{said}");
    }
    good(&world, "delete tn ky04 --dry-run=client")?;
    good(&world, "delete tn ky04 --dry-run=server")?;
    let after = world
        .host
        .sh("cat /etc/cb/manifests/*.yaml | grep -v '^ *lastTransition'")?;
    assert_eq!(after, before);

    good(&world, "label tn -l ring=canary seen=yes")?;
    assert_eq!(
        good(&world, "get tn -l seen=yes --no-headers")?
            .lines()
            .count(),
        2
    );
    good(&world, "annotate tn -l ring=canary example.org/note=one")?;
    ends(&world, "annotate tn ky04 example.org/note=two", 1)?;
    good(&world, "annotate tn --all --overwrite example.org/note=two")?;
    let noted = world
        .host
        .sh("grep -l 'example.org/note: two' /etc/cb/manifests/*.yaml")?;
    assert_eq!(noted.lines().count(), 4, "{noted}");
    good(&world, "patch tn ky04 --patch-file /root/patch.json")?;
    assert!(good(&world, "describe tn ky04")?.contains("tried"));

    let gone = ends(&world, "delete tn nobody", 1)?;
    assert_eq!(
        gone,
        "Error from server (NotFound): tenants \"nobody\" not found\n"
    );
    good(&world, "delete tn nobody --ignore-not-found")?;
    good(
        &world,
        "delete --recursive --filename /root/tree --timeout 60s",
    )?;
    assert_eq!(names(&world)?, "ky04\noh09\n");
    let late = ends(&world, "wait tn/ky04 --for=delete --timeout 1s", 1)?;
    assert!(late.contains("timed out"), "{late}");
    Ok(())
}

/// Law 12: what needs no operator works without one, and what needs one says
/// where it was looked for and what to do.
#[test]
fn options_of_what_needs_no_operator() -> Result<()> {
    let world = World::installed("offline")?;
    let push = |path: &str, text: &str| world.host.push(text.as_bytes(), path, 0o644);
    push("/root/tree/tiny.yaml", TINY)?;
    push(
        "/root/tree/deep/ky04.yaml",
        &tiny("ky04", "env: {MODE: loud}"),
    )?;
    for (only, has, has_not) in [
        ("units", "ExecStart=", "server_name"),
        ("site", "server_name", "ExecStart="),
        ("env", "CB_TENANT=", "ExecStart="),
        ("user", "cb-ky04", "ExecStart="),
    ] {
        let text = good(&world, &format!("render -R -f /root/tree --only {only}"))?;
        assert!(
            text.contains(has) && !text.contains(has_not),
            "{only}: {text}"
        );
    }
    good(&world, "render -R -f /root/tree --only units --only site")?;
    good(&world, "render -R -f /root/tree --only env --only user")?;
    let flat = good(&world, "validate -f /root/tree/tiny.yaml")?;
    let deep = good(&world, "validate -R -f /root/tree")?;
    assert!(
        flat.starts_with('1') && deep.starts_with('2'),
        "{flat}{deep}"
    );

    let init = "init --folder /root/new --host here --application shop --release v1=/srv/tiny/v1 \
                --service api=bin/tinyapp --health /up --tenant first --domain first.example.org </dev/null";
    good(&world, init)?;
    world.host.sh("grep -q 'name: here' /root/new/host.yaml && grep -rq '/up' /root/new/manifests && grep -rq 'name: shop' /root/new/manifests")?;
    // A folder that is not there is found by the Host that says so.
    let said = ends(&world, "doctor --host /root/new/gone.yaml", 1)?;
    assert!(said.contains("/root/new/gone.yaml"), "{said}");
    let said = ends(
        &world,
        "import --services web --host /etc/cb/host.yaml --all",
        1,
    )?;
    assert!(
        said.contains("-web.service") || said.contains("no tenant"),
        "{said}"
    );

    for line in [
        "get tn",
        "top",
        "audit",
        "events",
        "suspend ky04",
        "apply -f /root/tree/tiny.yaml",
    ] {
        let said = ends(&world, line, 1)?;
        assert!(
            said.contains("cannot reach the operator at"),
            "{line}: {said}"
        );
        assert!(said.contains("/run/cb/operator.sock"), "{line}: {said}");
        assert!(
            said.contains("hint: is the operator running? `systemctl status cb-operator` tells"),
            "{line}: {said}"
        );
    }
    let wrong = ends(&world, "get", 2)?;
    assert!(wrong.contains("Usage: cbctl get"), "{wrong}");
    ends(&world, "get tn --no-such", 2)?;
    ends(&world, "diff", 2)?;
    Ok(())
}
