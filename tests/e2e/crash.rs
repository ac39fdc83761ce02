//! Kills, full disks, a bus that goes away, and a host without the operator.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};

use crate::world::{TINY, World, tiny};

/// Where the operator writes; `-xdev` is not given: these may be mounts.
const WRITTEN: &str = "/etc/cb /etc/systemd/system /etc/nginx/conf.d /etc/sysusers.d /var/lib/cb";

/// When to kill the operator: shell conditions that come true one after the
/// other while tenants are created, and while they change to v2.
const CREATING: [&str; 6] = [
    "set -- /var/lib/cb/records/*.yaml; [ $# -ge 3 ]",
    "[ -e /etc/sysusers.d/cb-t05.conf ]",
    "set -- /etc/systemd/system/t*-*.service; [ $# -ge 7 ]",
    "[ -e /var/lib/cb/pending/daemon-reload ]",
    "set -- /etc/systemd/system/multi-user.target.wants/t*; [ $# -ge 9 ]",
    "set -- /etc/nginx/conf.d/cb-*.conf; [ -e \"$1\" ]",
];
const CHANGING: [&str; 3] = [
    "grep -q 'version: v2' /var/lib/cb/records/t1*.yaml",
    "grep -q v2 /etc/cb/tenants/t0*/.env",
    "grep -q v2 /etc/systemd/system/t00-api.service",
];

impl World {
    /// Has systemd restart a killed operator at once, however often.
    fn restarts_at_once(&self) -> Result<()> {
        self.host.push(
            b"[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestartSec=100ms\n",
            "/etc/systemd/system/cb-operator.service.d/test.conf",
            0o644,
        )?;
        self.host.sh("systemctl daemon-reload")?;
        Ok(())
    }

    fn main_pid(&self) -> Result<String> {
        self.show("cb-operator.service", "MainPID")
    }

    /// Writes many tenants in one go.
    fn put_twenty(&self, names: &[String]) -> Result<()> {
        let template = tiny("NAME", "");
        self.host
            .push(template.as_bytes(), "/root/tenant.yaml", 0o644)?;
        self.host.sh(&format!(
            "for n in {}; do sed s/NAME/$n/ /root/tenant.yaml >/etc/cb/manifests/$n.yaml; done",
            names.join(" ")
        ))?;
        Ok(())
    }

    /// Writes tenants of a version and kills the operator at each of these
    /// moments; the processes that were killed. Looks in a loop of its own, as
    /// the moments are short.
    fn killed_while(
        &self,
        version: &str,
        names: &[String],
        moments: &[&str],
    ) -> Result<BTreeSet<String>> {
        let kills: String = moments
            .iter()
            .map(|moment| {
                format!(
                    "until pid=$(systemctl show -P MainPID cb-operator); [ \"$pid\" != 0 ] && [ \"$pid\" != \"$last\" ]; do :; done\n\
                     until {moment}; do :; done\n\
                     kill -KILL $pid; last=$pid; echo $pid\n"
                )
            })
            .collect();
        let killed = self.host.sh(&format!(
            "last=\nfor n in {}; do sed \"s/NAME/$n/; s/version: v1/version: {version}/\" /root/tenant.yaml >/etc/cb/manifests/$n.yaml; done\n{kills}",
            names.join(" ")
        ))?;
        let killed: BTreeSet<String> = killed.lines().map(str::to_owned).collect();
        assert_eq!(killed.len(), moments.len(), "{killed:?}");
        Ok(killed)
    }

    /// Fills the file system of a folder to its last byte.
    fn fill(&self, folder: &str) -> Result<()> {
        self.host.sh(&format!(
            "dd if=/dev/zero of={folder}/.fill bs=4k 2>/dev/null || :\n\
             ! echo more >{folder}/.more 2>/dev/null\nrm -f {folder}/.more"
        ))?;
        Ok(())
    }
}

/// Law 5: killed at any instruction, the operator finishes what it began.
#[test]
fn killed_again_and_again_it_finishes_twenty_tenants() -> Result<()> {
    let world = World::running("kill")?;
    world.restarts_at_once()?;
    let names: Vec<String> = (0..20).map(|n| format!("t{n:02}")).collect();
    let before = world.main_pid()?;
    world
        .host
        .push(tiny("NAME", "").as_bytes(), "/root/tenant.yaml", 0o644)?;
    let killed = world.killed_while("v1", &names, &CREATING)?;
    assert!(killed.contains(&before), "{killed:?} {before}");

    let mut ports = BTreeSet::new();
    for name in &names {
        world.waits("the API is back", || {
            Ok(!world.tenant(name)?["status"].is_null())
        })?;
        world.wait_ready(name)?;
        assert_eq!(world.page(name)?, format!("{name} v1 on /\n"));
        let given = world.tenant(name)?["status"]["ports"].clone();
        for port in given.as_object().context("ports")?.values() {
            assert!(ports.insert(port.as_u64()), "{port} is given twice");
        }
    }
    assert_eq!(ports.len(), 40);
    let left = world.host.sh(&format!(
        "find {WRITTEN} -name '.cb-tmp-*'; ls -A /var/lib/cb/pending"
    ))?;
    assert_eq!(left, "", "leftovers");
    let reload = world.host.sh(
        "cd /etc/systemd/system; set -- t*.service; echo $#; systemctl show -P NeedDaemonReload \"$@\" | grep -v '^$' | sort | uniq -c; systemctl show -P UnitFileState \"$@\" | grep -v '^$' | sort | uniq -c",
    )?;
    let words: Vec<&str> = reload.split_whitespace().collect();
    assert_eq!(words, ["40", "40", "no", "40", "enabled"]);

    world.killed_while("v2", &names, &CHANGING)?;
    for name in &names {
        world.waits("the new version serves", || {
            Ok(world.page(name)? == format!("{name} v2 on /\n"))
        })?;
        world.waits("the tenant is ready", || {
            let status = world.tenant(name)?["status"].clone();
            let ready = crate::world::condition_in(&status, "Ready");
            Ok(status["observedGeneration"] == 2 && ready.starts_with("True"))
        })?;
        for service in ["api", "frontend"] {
            let port = world.tenant(name)?["status"]["ports"][service].clone();
            assert!(ports.contains(&port.as_u64()), "{name} has another port");
            let url = format!("http://127.0.0.1:{port}/");
            assert_eq!(world.host.curl(&[&url])?.body, format!("{name} v2 on /\n"));
        }
    }
    let left = world.host.sh(&format!(
        "find {WRITTEN} -name '.cb-tmp-*'; ls -A /var/lib/cb/pending"
    ))?;
    assert_eq!(left, "", "leftovers");
    Ok(())
}

/// Law 5 and 12: a full disk is a clear condition; nothing is half-written, and
/// nobody has to do more than make room.
#[test]
fn a_full_disk_is_reported_and_passes() -> Result<()> {
    let world = World::installed_with("full", |options| {
        options
            .tmpfs("/var/lib/cb", 32 << 20)
            .tmpfs("/etc/nginx/conf.d", 1 << 20)
            .tmpfs("/etc/cb/manifests", 1 << 20)
    })?;
    let often = "startTimeoutSeconds: 10, periodSeconds: 2";
    world.put("tiny.yaml", &TINY.replace("startTimeoutSeconds: 10", often))?;
    // No full pass comes to help.
    let host =
        "apiVersion: campaignbrain.io/v1alpha1\nkind: Host\nmetadata: {name: test}\nspec: {}\n";
    world
        .host
        .push(host.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
    world.start()?;
    let pid = world.main_pid()?;
    world.put_tiny("ky04", "")?;
    world.wait_ready("ky04")?;
    let left = format!("find {WRITTEN} -name '.cb-tmp-*'");

    // The records.
    let record = "/var/lib/cb/records/ky04.yaml";
    let before = world.host.read(record)?;
    world.fill("/var/lib/cb")?;
    let second = tiny("ky04", "").replace("version: v1", "version: v2");
    world.put("ky04.yaml", &second)?;
    world.put_tiny("oh09", "")?;
    world.put(
        "second.yaml",
        &TINY.replace("{name: tiny}", "{name: second}"),
    )?;
    let of_second = tiny("nv02", "").replace("application: tiny", "application: second");
    world.put("nv02.yaml", &of_second)?;
    for name in ["ky04", "oh09", "nv02"] {
        let line = world.wait_condition(name, "Ready", "False RecordNotSaved")?;
        assert!(
            line.contains(&format!("/var/lib/cb/records/{name}.yaml")),
            "{line}"
        );
        assert!(line.contains("No space left"), "{line}");
        let status = world.status_file(name)?["status"].clone();
        assert_eq!(crate::world::condition_in(&status, "Ready"), line);
    }
    assert_eq!(world.page("ky04")?, "ky04 v1 on /\n");
    assert_eq!(world.host.read(record)?, before);
    world.host.sh(
        "[ ! -e /var/lib/cb/records/oh09.yaml ]; [ ! -e /etc/systemd/system/oh09-api.service ]; ! id cb-oh09 2>/dev/null",
    )?;
    assert_eq!(world.host.sh(&left)?, "");
    world.host.sh("rm /var/lib/cb/.fill")?;
    for (name, version) in [("ky04", "v2"), ("oh09", "v1"), ("nv02", "v1")] {
        world.wait_ready(name)?;
        assert_eq!(world.page(name)?, format!("{name} {version} on /\n"));
    }

    // The sites.
    world.fill("/etc/nginx/conf.d")?;
    world.put_tiny("tx28", "")?;
    let line = world.wait_condition("tx28", "ProxyReady", "False DiskFull")?;
    assert!(line.contains("/etc/nginx/conf.d"), "{line}");
    world.wait_condition("tx28", "ServicesReady", "True")?;
    assert!(world.condition("ky04", "Ready")?.starts_with("True"));
    let sites = world.host.sh("ls -A /etc/nginx/conf.d; nginx -t 2>&1")?;
    assert!(
        !sites.contains("tx28") && !sites.contains("cb-tmp"),
        "{sites}"
    );
    world.host.sh("rm /etc/nginx/conf.d/.fill")?;
    world.wait_ready("tx28")?;
    assert_eq!(world.page("tx28")?, "tx28 v1 on /\n");

    // The status files: nothing waits for them, and they come when they can.
    world.host.sh("cp /etc/cb/manifests/tx28.yaml /root/")?;
    world
        .host
        .sh("sed 's/tx28/wa01/g' /root/tx28.yaml >/etc/cb/manifests/.wa01")?;
    world.fill("/etc/cb/manifests")?;
    let before = world.host.read("/etc/cb/manifests/ky04.yaml")?;
    let (code, answer) = world.put_over_api("ky04", &tiny("ky04", "env: {A: b}"))?;
    assert_eq!(code, 500, "{answer}");
    let message = answer["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("no space left") && message.contains("/etc/cb/manifests/ky04.yaml"),
        "{message}"
    );
    assert_eq!(world.host.read("/etc/cb/manifests/ky04.yaml")?, before);
    world
        .host
        .sh("mv /etc/cb/manifests/.wa01 /etc/cb/manifests/wa01.yaml")?;
    world.wait_ready("wa01")?;
    assert_eq!(world.page("wa01")?, "wa01 v1 on /\n");
    world
        .host
        .sh("[ ! -e /etc/cb/manifests/wa01.status.yaml ]; rm /etc/cb/manifests/.fill")?;
    world.waits("the status file is written", || {
        let status = world.status_file("wa01")?["status"].clone();
        Ok(crate::world::condition_in(&status, "Ready").starts_with("True"))
    })?;
    assert_eq!(world.host.sh(&left)?, "");
    assert_eq!(world.main_pid()?, pid, "the operator was restarted");
    Ok(())
}

/// Law 5 and 4: the same for the units, which may be in another of systemd's
/// folders.
#[test]
fn a_full_disk_of_units_is_reported_and_passes() -> Result<()> {
    let folder = "/usr/local/lib/systemd/system";
    let world = World::installed_with("units", |options| options.tmpfs(folder, 1 << 20))?;
    let host = format!(
        "apiVersion: campaignbrain.io/v1alpha1\nkind: Host\nmetadata: {{name: test}}\nspec: {{paths: {{units: {folder}}}}}\n"
    );
    world
        .host
        .push(host.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
    world.put("tiny.yaml", TINY)?;
    world.start()?;
    world.put_tiny("ky04", "")?;
    world.wait_ready("ky04")?;
    assert_eq!(world.show("ky04-api", "UnitFileState")?, "enabled");
    assert_eq!(
        world.show("ky04-api", "FragmentPath")?,
        format!("{folder}/ky04-api.service")
    );
    world.fill(folder)?;
    world.put_tiny("oh09", "")?;
    let line = world.wait_condition("oh09", "ServicesReady", "False DiskFull")?;
    assert!(
        line.contains(&format!("{folder}/oh09-api.service")),
        "{line}"
    );
    let there = world.host.sh(&format!("ls -A {folder}"))?;
    assert!(
        !there.contains("oh09") && !there.contains("cb-tmp"),
        "{there}"
    );
    assert!(world.condition("ky04", "Ready")?.starts_with("True"));
    world.host.sh(&format!("rm {folder}/.fill"))?;
    world.wait_ready("oh09")?;
    assert_eq!(world.page("oh09")?, "oh09 v1 on /\n");
    Ok(())
}

/// Law 1: what changed while the bus was away is brought about when it is back.
#[test]
fn the_operator_outlives_the_bus() -> Result<()> {
    let world = World::running("bus")?;
    for name in ["ky04", "oh09"] {
        world.put_tiny(name, "")?;
        world.wait_ready(name)?;
    }
    let pid = world.main_pid()?;
    world
        .host
        .sh("kill -KILL $(systemctl show -P MainPID dbus.service)")?;
    world.host.sh("systemctl stop dbus.socket dbus.service")?;
    let second = tiny("ky04", "").replace("version: v1", "version: v2");
    world.put("ky04.yaml", &second)?;
    world.put_tiny("tx28", "")?;
    world.host.sh("systemctl stop oh09-api.service")?;
    let line = world.wait_condition("ky04", "Ready", "False HostUnreachable")?;
    assert!(line.contains("D-Bus") || line.contains("systemd"), "{line}");
    assert_eq!(world.page("ky04")?, "ky04 v1 on /\n");

    world.host.sh("systemctl start dbus.socket dbus.service")?;
    for (name, version) in [("ky04", "v2"), ("oh09", "v1"), ("tx28", "v1")] {
        world.waits("the page is the manifest's", || {
            Ok(world.page(name)? == format!("{name} {version} on /\n"))
        })?;
        world.wait_ready(name)?;
    }
    world.waits("the stopped service runs", || {
        Ok(world.show("oh09-api.service", "ActiveState")? == "active")
    })?;
    // Events arrive again, not only the relisting that followed the outage.
    let before = world.show("tx28-api.service", "InvocationID")?;
    world.host.sh("systemctl restart tx28-api.service")?;
    world.waits("the new run is in the status", || {
        let status = world.tenant("tx28")?["status"].clone();
        let seen = status["services"][0]["invocationId"].clone();
        Ok(seen != before.as_str() && seen == world.show("tx28-api.service", "InvocationID")?)
    })?;
    assert_eq!(world.main_pid()?, pid, "the operator was restarted");
    Ok(())
}

/// Law 7: stopped, disabled or removed, the operator is not missed.
#[test]
fn tenants_need_no_operator() -> Result<()> {
    let mut world = World::installed_with("without", cb_testhost::Options::keep_disk)?;
    world.put("tiny.yaml", TINY)?;
    world.start()?;
    for name in ["ky04", "oh09"] {
        world.put_tiny(name, "")?;
        world.wait_ready(name)?;
    }
    let run = |unit: &str| world.show(unit, "InvocationID");
    let before = (run("ky04-api")?, run("oh09-frontend")?);
    world.host.sh("systemctl stop cb-operator")?;
    assert_eq!((run("ky04-api")?, run("oh09-frontend")?), before);
    assert_eq!(world.page("ky04")?, "ky04 v1 on /\n");
    world
        .host
        .sh("systemctl status ky04-api | grep 'active (running)'\n\
         systemctl stop ky04-api; ! systemctl is-active ky04-api\n\
         systemctl start ky04-api; systemctl is-active ky04-api")?;
    world.host.sh(
        "systemctl disable cb-operator; rm /usr/local/bin/cb-operator /usr/local/bin/cbctl; sync",
    )?;
    world.host.power_cycle()?;
    for name in ["ky04", "oh09"] {
        world.waits("nginx serves after the boot", || {
            Ok(world.page(name)? == format!("{name} v1 on /\n"))
        })?;
        for service in ["api", "frontend"] {
            let state = world.show(&format!("{name}-{service}"), "ActiveState")?;
            assert_eq!(state, "active");
        }
    }
    assert_eq!(world.show("cb-operator", "ActiveState")?, "inactive");
    Ok(())
}

/// Stands before nginx when a configuration is tested, and waits to go on.
const HELD: &[u8] = b"#!/bin/sh
: >/run/tested
[ ! -p /run/hold ] || cat /run/hold >/dev/null
exec /usr/sbin/nginx \"$@\"
";

/// Law 7: a stop of the operator lets it have nginx reloaded, and does not wait
/// for that in vain, although the operator is ordered after nginx.
#[test]
fn a_stop_does_not_keep_a_reload_of_nginx_back() -> Result<()> {
    let world = World::running("stop-reload")?;
    world.host.push(HELD, "/usr/local/sbin/nginx", 0o755)?;
    world.host.sh("mkfifo /run/hold")?;
    world.put_tiny("ky04", "")?;
    world.waits("the site is tested", || {
        Ok(world.host.exec(&["test", "-e", "/run/tested"])?.code == Some(0))
    })?;
    world.host.sh("systemctl stop --no-block cb-operator")?;
    world.waits("the operator is asked to stop", || {
        Ok(world.show("cb-operator", "SubState")? == "stop-sigterm")
    })?;
    world.host.sh("echo >/run/hold; rm /run/hold")?;
    world.waits("the operator has stopped", || {
        Ok(world.show("cb-operator", "ActiveState")? == "inactive")
    })?;
    let log = world.host.journal("cb-operator");
    let live = "put site /etc/nginx/conf.d/cb-ky04.conf live";
    assert!(log.contains(live), "{log}");
    Ok(())
}

/// Law 5 and 8: one operator at a time, which systemd knows to be ready and
/// alive, and which ends in peace in the middle of its work.
#[test]
fn systemd_runs_the_operator() -> Result<()> {
    let world = World::running("service")?;
    world.restarts_at_once()?;
    assert_eq!(world.show("cb-operator", "Type")?, "notify");
    assert_eq!(world.show("cb-operator", "WatchdogUSec")?, "1min");
    assert_ne!(
        world.show("cb-operator", "WatchdogTimestampMonotonic")?,
        "0"
    );

    let pid = world.main_pid()?;
    let second = world.host.exec(&["/usr/local/bin/cb-operator"])?;
    assert_eq!(second.code, Some(1), "{second:?}");
    let said = second.stdout + &second.stderr;
    assert!(
        said.contains("another cb-operator runs") && said.contains(&pid),
        "{said}"
    );
    assert!(
        !world.api("/version")?.is_null(),
        "the first one's socket is gone"
    );
    assert_eq!(world.main_pid()?, pid);

    let names: Vec<String> = (0..20).map(|n| format!("t{n:02}")).collect();
    world.put_twenty(&names)?;
    let took = world.host.sh(
        "until [ -e /etc/systemd/system/t00-api.service ]; do :; done\n\
         a=$(date +%s%N); systemctl stop cb-operator; b=$(date +%s%N); echo $(((b - a) / 1000000))",
    )?;
    let log = world.host.journal("cb-operator");
    let peace = "cb-operator.service: Deactivated successfully.";
    assert!(
        log.contains("stopping; tenants go on") && log.contains(peace),
        "{log}"
    );
    let took: u64 = took.trim().parse().with_context(|| took.clone())?;
    assert!(took < 10_000, "it took {took} ms to stop");
    world.start()?;
    for name in &names {
        world.wait_ready(name)?;
    }

    // One that hangs is replaced.
    world.host.push(
        b"[Service]\nWatchdogSec=2\nTimeoutAbortSec=500ms\n",
        "/etc/systemd/system/cb-operator.service.d/watchdog.conf",
        0o644,
    )?;
    world
        .host
        .sh("systemctl daemon-reload; systemctl restart cb-operator")?;
    let pid = world.main_pid()?;
    world.host.sh(&format!("kill -STOP {pid}"))?;
    world.waits("another operator is ready", || {
        let now = world.main_pid()?;
        Ok(now != pid && now != "0" && world.show("cb-operator", "ActiveState")? == "active")
    })?;
    let log = world
        .host
        .sh("journalctl -u cb-operator -g 'Watchdog timeout'")?;
    assert!(log.contains("Watchdog timeout"), "{log}");
    Ok(())
}
