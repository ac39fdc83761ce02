//! Statuses say what is, and are left alone while that stays so.

use anyhow::Result;

use crate::world::{TINY, World, condition_in, tiny};

/// Looks at everything once a second.
const HOST: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: test}
spec:
  resync: {periodSeconds: 1}
";

/// A host whose operator logs every pass.
fn watched(hint: &str) -> Result<World> {
    let world = World::installed(hint)?;
    world.put("tiny.yaml", TINY)?;
    world
        .host
        .push(HOST.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
    world.host.push(
        b"[Service]\nEnvironment=CB_LOG=info,cb_operator=debug\n",
        "/etc/systemd/system/cb-operator.service.d/test.conf",
        0o644,
    )?;
    world.host.sh("systemctl daemon-reload")?;
    world.start()?;
    Ok(world)
}

impl World {
    /// How many entries of the operator's log have all these words, in the
    /// message or in a field.
    fn logged(&self, words: &[&str]) -> usize {
        let log = self.host.sh("journalctl -u cb-operator -o json --no-pager");
        let has = |line: &&str| words.iter().all(|word| line.contains(word));
        log.unwrap_or_default().lines().filter(has).count()
    }

    fn status_files(&self) -> Result<String> {
        let find = "find /etc/cb/manifests -name '*.status.yaml' -printf '%p %i %T@ %C@\\n' | sort";
        Ok(self.host.sh(find)?)
    }

    fn invocation(&self, tenant: &str) -> Result<String> {
        let status = self.status_file(tenant)?["status"].clone();
        let api = status["services"][0].clone();
        assert_eq!(api["unit"], format!("{tenant}-api.service"));
        Ok(api["invocationId"].as_str().unwrap_or_default().to_owned())
    }

    fn many(&self, count: usize) -> Result<Vec<String>> {
        let names: Vec<String> = (0..count).map(|n| format!("t{n:02}")).collect();
        let template = tiny("NAME", "");
        self.host
            .push(template.as_bytes(), "/root/tenant.yaml", 0o644)?;
        self.host.sh(&format!(
            "for n in {}; do sed s/NAME/$n/ /root/tenant.yaml >/etc/cb/manifests/$n.yaml; done",
            names.join(" ")
        ))?;
        for name in &names {
            self.wait_ready(name)?;
        }
        Ok(names)
    }
}

/// Law 8: no heartbeat, no churn, no loop on its own writes; and what a person
/// does to a service is seen.
#[test]
fn a_status_changes_with_its_meaning_alone() -> Result<()> {
    let world = watched("status")?;
    for name in ["ky04", "oh09"] {
        world.put_tiny(name, "")?;
        world.wait_ready(name)?;
        assert_eq!(
            world.invocation(name)?,
            world.show(&format!("{name}-api.service"), "InvocationID")?
        );
    }
    let passes = |world: &World| world.logged(&["pass", "ky04", "Resync"]);
    let before = (world.status_files()?, world.fingerprint()?);
    let seen = passes(&world);
    world.reconcile("ky04")?;
    world.waits("four more resyncs", || Ok(passes(&world) >= seen + 4))?;
    assert_eq!((world.status_files()?, world.fingerprint()?), before);

    let readings = world.logged(&["the manifests were read"]);
    let run = world.invocation("ky04")?;
    world.host.sh("systemctl restart ky04-api.service")?;
    world.waits("the new run is in the status", || {
        let now = world.invocation("ky04")?;
        Ok(now != run && now == world.show("ky04-api.service", "InvocationID")?)
    })?;
    world.wait_ready("ky04")?;
    // A person's hand on a status file is no change of a manifest either.
    world.host.sh("touch /etc/cb/manifests/ky04.status.yaml")?;
    let seen = passes(&world);
    world.waits("two more resyncs", || Ok(passes(&world) >= seen + 2))?;
    assert_eq!(world.logged(&["the manifests were read"]), readings);
    let after = world.status_files()?;
    let line = |text: &str| text.lines().find(|l| l.contains("oh09")).map(str::to_owned);
    assert_eq!(
        line(&after),
        line(&before.0),
        "another tenant's status was written"
    );
    Ok(())
}

/// Law 1: a pass with nothing to do asks systemd nothing.
#[test]
fn a_pass_without_work_makes_no_call_on_the_bus() -> Result<()> {
    let world = World::running("quiet")?;
    let names = world.many(20)?;
    let pid = world.show("cb-operator", "MainPID")?;
    let listed = world.host.sh("busctl list --no-legend --no-pager")?;
    let bus: Vec<&str> = listed
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.get(1) == Some(&pid.as_str()) && words[0].starts_with(':'))
        .map(|words| words[0])
        .collect();
    assert!(!bus.is_empty(), "{listed}");
    let monitor = world
        .host
        .spawn(&["dbus-monitor", "--system", "type='method_call'"])?;
    let calls = |log: &str| {
        let from = |line: &&str| {
            bus.iter()
                .any(|name| line.contains(&format!("sender={name} ")))
        };
        log.lines().filter(from).count()
    };
    // The monitor sees everything before a marker once it has seen the marker.
    let mark = |member: &str| -> Result<String> {
        let call = format!(
            "busctl call org.freedesktop.DBus /mark org.freedesktop.DBus.Introspectable {member} || :"
        );
        let mut seen = String::new();
        world.waits("the monitor has seen the marker", || {
            world.host.sh(&call)?;
            seen = monitor.log();
            Ok(seen.contains(&format!("member={member}")))
        })?;
        Ok(seen)
    };
    let before = calls(&mark("MarkBefore")?);
    for name in &names {
        world.reconcile(name)?;
    }
    let log = mark("MarkAfter")?;
    assert_eq!(calls(&log), before, "{log}");

    // The monitor does see the operator's calls when there is work.
    world.host.sh("systemctl stop t00-api.service || :")?;
    world.waits("the service runs again", || {
        Ok(world.show("t00-api.service", "ActiveState")? == "active")
    })?;
    let log = mark("MarkWork")?;
    assert!(calls(&log) > before, "{log}");
    Ok(())
}

/// `suspend` means hands off; `Detect` means look and tell.
#[test]
fn a_suspended_tenant_is_left_and_a_watched_one_reported() -> Result<()> {
    let world = watched("hold")?;
    for name in ["ky04", "oh09"] {
        world.put_tiny(name, "")?;
        world.wait_ready(name)?;
    }
    let passes = |name: &str| world.logged(&["pass", name, "Resync"]);
    let harm = |name: &str| {
        world.host.sh(&format!(
            "systemctl stop {name}-api.service\n\
             sed -i s/RestartSec=2/RestartSec=9/ /etc/systemd/system/{name}-api.service\n\
             rm /etc/nginx/conf.d/cb-{name}.conf"
        ))
    };

    world.put_tiny("ky04", "suspend: true")?;
    world.wait_condition("ky04", "Ready", "Unknown Suspended")?;
    harm("ky04")?;
    let before = world.fingerprint()?;
    let seen = passes("ky04");
    world.reconcile("ky04")?;
    world.waits("two more resyncs", || Ok(passes("ky04") >= seen + 2))?;
    let unchanged = |now: &str, before: &str| {
        // The status tells what is seen; all else is as it was.
        let rest = |text: &str| {
            let lines = text.lines().filter(|line| !line.contains(".status.yaml"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(rest(now), rest(before));
    };
    unchanged(&world.fingerprint()?, &before);
    assert_eq!(world.show("ky04-api", "ActiveState")?, "inactive");
    let line = world.condition("ky04", "Ready")?;
    assert!(line.starts_with("Unknown Suspended"), "{line}");
    world.put_tiny("ky04", "")?;
    world.wait_ready("ky04")?;
    assert_eq!(world.page("ky04")?, "ky04 v1 on /\n");

    world.put_tiny("oh09", "driftPolicy: Detect")?;
    world.waits("the policy is taken", || {
        Ok(world.tenant("oh09")?["status"]["observedGeneration"] == 2)
    })?;
    world.wait_ready("oh09")?;
    harm("oh09")?;
    let before = world.fingerprint()?;
    let seen = passes("oh09");
    let line = world.wait_condition("oh09", "Drifted", "True Detected")?;
    world.reconcile("oh09")?;
    world.waits("two more resyncs", || Ok(passes("oh09") >= seen + 2))?;
    let line = world
        .condition("oh09", "Drifted")
        .map(|now| format!("{line}\n{now}"))?;
    for word in ["/etc/nginx/conf.d/cb-oh09.conf", "oh09-api.service"] {
        assert!(line.contains(word), "{line}");
    }
    unchanged(&world.fingerprint()?, &before);
    assert_eq!(world.show("oh09-api", "ActiveState")?, "inactive");
    let status = world.status_file("oh09")?["status"].clone();
    assert!(condition_in(&status, "Drifted").starts_with("True"));

    let second = tiny("oh09", "driftPolicy: Detect").replace("version: v1", "version: v2");
    world.put("oh09.yaml", &second)?;
    world.wait_condition("oh09", "Drifted", "False InSync")?;
    world.wait_ready("oh09")?;
    assert_eq!(world.page("oh09")?, "oh09 v2 on /\n");
    assert_eq!(world.show("oh09-api", "RestartUSec")?, "2s");
    Ok(())
}

/// Host-wide work is shared: many tenants cost a handful of reloads.
#[test]
fn thirty_tenants_share_their_reloads() -> Result<()> {
    let world = World::running("batch")?;
    let reloads = || -> Result<(usize, usize)> {
        let count = |what: &str| -> Result<usize> { Ok(world.host.sh(what)?.trim().parse()?) };
        Ok((
            count("journalctl -q --no-pager _PID=1 | grep -c ': Reloading\\.$' || :")?,
            count("journalctl -q --no-pager _PID=1 | grep -c 'Reloaded nginx.service' || :")?,
        ))
    };
    let before = reloads()?;
    world.many(30)?;
    let after = reloads()?;
    let (units, nginx) = (after.0 - before.0, after.1 - before.1);
    assert!((1..=6).contains(&units), "{units} daemon-reloads");
    assert!((1..=6).contains(&nginx), "{nginx} reloads of nginx");
    Ok(())
}

/// Law 8: systemd takes every unit away and brings it back when it reads its
/// files again; nobody is told of stopped services for that.
#[test]
fn a_daemon_reload_is_not_taken_for_stopped_services() -> Result<()> {
    let world = World::running("reload")?;
    let names = world.many(8)?;
    world.put_tiny("t00", "driftPolicy: Detect")?;
    world.waits("the policy is taken", || {
        Ok(world.tenant("t00")?["status"]["observedGeneration"] == 2)
    })?;
    let told = |world: &World| {
        let words = ["it does not run", "Drifted", "NotRunning", "driftPolicy"];
        words.map(|word| world.logged(&[word]))
    };
    let (before, files) = (told(&world), world.status_files()?);
    let mut reloads = world.host.spawn(&[
        "sh",
        "-c",
        "for i in 1 2 3 4 5 6 7 8 9 10; do systemctl daemon-reload; done",
    ])?;
    while reloads.pid().is_some() && reloads.wait(std::time::Duration::ZERO).is_none() {
        for name in &names {
            world.reconcile(name)?;
        }
    }
    for name in &names {
        world.reconcile(name)?;
    }
    assert_eq!(told(&world), before);
    assert_eq!(world.status_files()?, files);
    Ok(())
}
