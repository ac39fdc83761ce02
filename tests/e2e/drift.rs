//! What somebody changes on a host is named, and put right or left, as the
//! policy says; what the operator changes itself is no drift.
//!
//! Every tamper has a tenant of its own, so all are done at once.

mod host;
mod own;
mod release;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::world::{TINY, World};

/// Looks at everything once a second: some tampers have no event.
const HOST: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: test}
spec:
  resync: {periodSeconds: 1}
";

/// Tells of each drift.
const ALERTS: &str = "  \
  alerts: {groupSeconds: 1, maxPerHour: 3600, sinks: [{name: hook, webhook: {url: 'http://127.0.0.1:9999/'}}]}
";

/// What somebody does to a tenant.
struct Tamper {
    /// The kind of drift that it is.
    kind: &'static str,
    /// The shell script; `$t` is the tenant, `$unit` and `$site` are files of
    /// it, `$env` is its `.env`.
    does: &'static str,
    /// A shell condition that holds once it is undone; empty for what is only
    /// reported.
    undone: &'static str,
}

const fn tamper(kind: &'static str, does: &'static str, undone: &'static str) -> Tamper {
    Tamper { kind, does, undone }
}

const ACTIVE: &str = "systemctl is-active -q $t-api";

const TAMPERS: &[Tamper] = &[
    tamper("ServiceStopped", "systemctl stop $t-api", ACTIVE),
    tamper("ServiceKilled", "systemctl kill -s KILL $t-api", ACTIVE),
    tamper("ServiceKilled", "systemctl kill -s TERM $t-api", ACTIVE),
    tamper("ServiceCrashed", "systemctl kill -s ABRT $t-api", ACTIVE),
    tamper(
        "UnitChanged",
        "sed -i s/RestartSec=2/RestartSec=9/ $unit",
        "grep -q RestartSec=2 $unit",
    ),
    tamper(
        "UnitMode",
        "chmod 666 $unit",
        "[ \"$(stat -c %a $unit)\" = 644 ]",
    ),
    tamper(
        "UnitOwner",
        "chown 1:1 $unit",
        "[ \"$(stat -c %u:%g $unit)\" = 0:0 ]",
    ),
    tamper("UnitDeleted", "rm $unit", "[ -f $unit ]"),
    tamper(
        "UnitReplaced",
        "cp $unit /root/$t.unit; ln -sf /root/$t.unit $unit",
        "[ ! -L $unit ] && [ -f $unit ] && ls /var/lib/cb/set-aside/$t | grep -q $t-api",
    ),
    tamper(
        "UnitDropIn",
        "mkdir -p $unit.d; printf '[Service]\\nRestartSec=8\\n' >$unit.d/x.conf",
        "[ ! -e $unit.d/x.conf ] && grep -q RestartSec=8 /var/lib/cb/set-aside/$t/*",
    ),
    tamper(
        "UnitDropIn",
        "systemctl set-property $t-api TasksMax=77",
        "[ \"$(systemctl show -P TasksMax $t-api)\" != 77 ]",
    ),
    tamper(
        "UnitDropIn",
        "d=/run/systemd/system/$t-.service.d; mkdir -p $d; printf '[Unit]\\nDescription=x\\n' >$d/x.conf",
        "[ ! -e /run/systemd/system/$t-.service.d/x.conf ]",
    ),
    tamper(
        "UnitMasked",
        "ln -sf /dev/null $unit; systemctl daemon-reload",
        "[ \"$(systemctl show -P LoadState $t-api)\" = loaded ]",
    ),
    tamper(
        "UnitMasked",
        "ln -s /dev/null /run/systemd/system/$t-api.service",
        "[ ! -L /run/systemd/system/$t-api.service ]",
    ),
    tamper(
        "UnitDisabled",
        "systemctl disable $t-api",
        "systemctl is-enabled -q $t-api",
    ),
    tamper("FileChanged", "echo X=1 >>$env", "! grep -q X=1 $env"),
    tamper(
        "FileChanged",
        "echo '# x' >>/etc/sysusers.d/cb-$t.conf",
        "! grep -q '# x' /etc/sysusers.d/cb-$t.conf",
    ),
    tamper(
        "FileMode",
        "chmod 644 $env",
        "[ \"$(stat -c %a $env)\" = 600 ]",
    ),
    tamper(
        "FileOwner",
        "chown 1 $env",
        "[ \"$(stat -c %u $env)\" = 0 ]",
    ),
    tamper("FileDeleted", "rm $env", "[ -f $env ]"),
    tamper(
        "FileReplaced",
        "cp $env /root/$t.env; ln -sf /root/$t.env $env",
        "[ ! -L $env ] && [ -f $env ]",
    ),
    tamper(
        "SiteChanged",
        "sed -i 's/server_name /server_name other.example.org /' $site",
        "! grep -q other.example.org $site",
    ),
    tamper(
        "SiteMode",
        "chmod 600 $site",
        "[ \"$(stat -c %a $site)\" = 644 ]",
    ),
    tamper(
        "SiteOwner",
        "chown 1 $site",
        "[ \"$(stat -c %u $site)\" = 0 ]",
    ),
    tamper("SiteDeleted", "rm $site", "[ -f $site ]"),
    tamper(
        "SiteReplaced",
        "cp $site /root/$t.site; ln -sf /root/$t.site $site",
        "[ ! -L $site ] && [ -f $site ]",
    ),
    tamper(
        "PortTaken",
        "setsid -f perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Listen => 1, LocalAddr => \"127.0.0.2\", LocalPort => $ARGV[0]) or die; sleep 600' $port >/dev/null 2>&1",
        "",
    ),
    tamper(
        "UserMissing",
        "sed -i /^cb-$t:/d /etc/passwd /etc/shadow /etc/group /etc/gshadow",
        "grep -q ^cb-$t: /etc/passwd",
    ),
    tamper(
        "UserShell",
        "usermod -s /bin/bash cb-$t",
        "grep -q ^cb-$t:.*nologin$ /etc/passwd",
    ),
    tamper(
        "UserHome",
        "sed -i \"s#^\\(cb-$t:.*:\\)/var/lib/cb/tenants/$t:#\\1/root:#\" /etc/passwd",
        "",
    ),
    tamper(
        "FolderMode",
        "chmod 777 /var/lib/cb/tenants/$t/uploads",
        "[ \"$(stat -c %a /var/lib/cb/tenants/$t/uploads)\" = 700 ]",
    ),
    tamper(
        "FolderOwner",
        "chown 0:0 /var/lib/cb/tenants/$t/uploads",
        "[ \"$(stat -c %U /var/lib/cb/tenants/$t/uploads)\" = cb-$t ]",
    ),
    tamper(
        "FolderMissing",
        "mv /etc/cb/tenants/$t /root/$t.gone",
        "[ -f $env ]",
    ),
];

fn name(index: usize) -> String {
    format!("t{index:02}")
}

impl World {
    /// A host with one tenant for each tamper.
    fn tampered(hint: &str, more: &str) -> Result<World> {
        let world = World::installed(hint)?;
        world.tell_a_receiver(HOST)?;
        world.put("tiny.yaml", TINY)?;
        for index in 0..TAMPERS.len() {
            world.put_tiny(&name(index), more)?;
        }
        world.start()?;
        for index in 0..TAMPERS.len() {
            world.wait_ready(&name(index))?;
        }
        Ok(world)
    }

    /// A script with the variables of a tenant.
    fn script(&self, index: usize, script: &str) -> Result<String> {
        let t = name(index);
        let port = self.tenant(&t)?["status"]["ports"]["frontend"].clone();
        Ok(format!(
            "t={t}; port={port}; unit=/etc/systemd/system/$t-api.service; \
             site=/etc/nginx/conf.d/cb-$t.conf; env=/etc/cb/tenants/$t/.env\n{script}\n"
        ))
    }

    fn tamper_all(&self) -> Result<()> {
        let mut all = "set -e\n".to_owned();
        for (index, tamper) in TAMPERS.iter().enumerate() {
            all.push_str(&self.script(index, tamper.does)?);
        }
        self.host.sh(&all).map(drop).map_err(Into::into)
    }

    /// The notes of a tenant's events of this reason.
    fn told(&self, tenant: &str, reason: &str) -> Result<Vec<String>> {
        let events = self.api("/apis/events.k8s.io/v1/events")?;
        let events = events["items"].as_array().cloned().unwrap_or_default();
        let of = |event: &&Value| event["reason"] == reason && event["regarding"]["name"] == tenant;
        let note = |event: &Value| event["note"].as_str().unwrap_or_default().to_owned();
        Ok(events.iter().filter(of).map(note).collect())
    }

    /// Writes the Host, with a receiver that runs here and is told of alerts.
    fn tell_a_receiver(&self, host: &str) -> Result<()> {
        let host = format!("{host}{ALERTS}");
        self.host
            .push(host.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
        self.prepare_receiver()?;
        self.receive()
    }

    /// Waits until the receiver was told of a tenant, or of the host.
    fn wait_received(&self, tenant: Option<&str>, reason: &str) -> Result<()> {
        self.waits(&format!("the receiver is told of {reason}"), || {
            let received = self.received("accepted")?;
            let mut firing = received
                .iter()
                .flat_map(|(_, message)| message["firing"].as_array().into_iter().flatten());
            Ok(firing.any(|alert| {
                alert["tenant"] == serde_json::json!(tenant) && alert["reason"] == reason
            }))
        })
    }

    /// Waits until a receiver of alerts was told of every tamper, by its kind.
    fn wait_alerted(&self) -> Result<()> {
        let alerted = |message: &Value, index: usize| {
            let firing = message["firing"].as_array().into_iter().flatten();
            let of = |alert: &Value| {
                alert["tenant"] == name(index).as_str() && alert["reason"] == TAMPERS[index].kind
            };
            firing.into_iter().any(of)
        };
        self.waits("every tamper was told to the receiver of alerts", || {
            let received = self.received("accepted")?;
            let told = |index: &usize| received.iter().any(|(_, message)| alerted(message, *index));
            let missing: Vec<String> = (0..TAMPERS.len())
                .filter(|index| !told(index))
                .map(|index| format!("{} of {}", TAMPERS[index].kind, name(index)))
                .collect();
            match missing.is_empty() {
                true => Ok(true),
                false => bail!("not told: {missing:?}"),
            }
        })
    }

    fn drift(&self, tenant: &str) -> Result<Vec<Value>> {
        let drift = self.tenant(tenant)?["status"]["drift"].clone();
        Ok(drift.as_array().cloned().unwrap_or_default())
    }
}

/// Each tamper is named correctly, recorded, and undone; what nobody can undo
/// is reported.
#[test]
fn what_is_tampered_with_is_named_and_undone() -> Result<()> {
    let world = World::tampered("correct", "")?;
    world.tamper_all()?;
    for (index, tamper) in TAMPERS.iter().enumerate() {
        let tenant = name(index);
        let begins = format!("{} of ", tamper.kind);
        world.waits(&format!("{tenant}: {begins}is told"), || {
            let mut notes = world.told(&tenant, "DriftCorrected")?;
            notes.extend(world.told(&tenant, "DriftDetected")?);
            match notes.iter().any(|note| note.starts_with(&begins)) {
                true => Ok(true),
                false => bail!("{notes:?}"),
            }
        })?;
        if tamper.undone.is_empty() {
            world.wait_condition(&tenant, "Drifted", "True Detected")?;
            assert!(!world.drift(&tenant)?.is_empty());
            continue;
        }
        let script = world.script(index, &format!("if {}; then echo yes; fi", tamper.undone))?;
        world.waits(&format!("{tenant}: {begins}is undone"), || {
            Ok(world.host.sh(&script)? == "yes\n")
        })?;
        world.wait_condition(&tenant, "Drifted", "False InSync")?;
        world.wait_ready(&tenant)?;
        assert_eq!(world.page(&tenant)?, format!("{tenant} v1 on /\n"));
    }
    world.wait_alerted()
}

/// With `Detect` each tamper is reported and left, and a person can look.
#[test]
fn what_is_tampered_with_is_reported_and_left() -> Result<()> {
    let world = World::tampered("detect", "driftPolicy: Detect\nenv: {HUSH: s3cret}")?;
    world.tamper_all()?;
    for (index, tamper) in TAMPERS.iter().enumerate() {
        let tenant = name(index);
        let begins = format!("{} of ", tamper.kind);
        world.waits(&format!("{tenant}: {begins}is told"), || {
            let notes = world.told(&tenant, "DriftDetected")?;
            match notes.iter().any(|note| note.starts_with(&begins)) {
                true => Ok(true),
                false => bail!("{notes:?}"),
            }
        })?;
        assert_eq!(world.told(&tenant, "DriftCorrected")?, [""; 0], "{tenant}");
        // systemd restarts what ended by itself, whatever the operator does.
        if tamper.kind == "ServiceKilled" || tamper.kind == "ServiceCrashed" {
            continue;
        }
        world.reconcile(&tenant)?;
        let drift = world.drift(&tenant)?;
        assert!(drift.iter().any(|d| d["kind"] == tamper.kind), "{drift:?}");
        if !tamper.undone.is_empty() {
            let script = format!("if {}; then echo undone; fi", tamper.undone);
            let script = world.script(index, &script)?;
            assert_eq!(world.host.sh(&script)?, "", "{tenant}: {}", tamper.kind);
        }
    }
    world.wait_alerted()?;
    let shown = world.host.exec(&["cbctl", "drift"])?;
    assert_eq!(shown.code, Some(1), "{}", shown.stderr);
    for tamper in TAMPERS {
        let told = shown.stdout.contains(tamper.kind);
        assert!(
            told || tamper.kind.starts_with("Service"),
            "{}",
            shown.stdout
        );
    }
    for line in ["+RestartSec=9", "+X=(hidden)"] {
        assert!(shown.stdout.contains(line), "{}", shown.stdout);
    }
    assert!(!shown.stdout.contains("s3cret"), "{}", shown.stdout);
    Ok(())
}

/// What was done while the operator was away is found when it comes back, and
/// what is undone again and again is not fought at full speed.
#[test]
fn drift_is_found_later_and_a_fight_is_calm() -> Result<()> {
    let world = World::running("fight")?;
    world.put_tiny("ky04", "")?;
    world.wait_ready("ky04")?;
    let unit = "/etc/systemd/system/ky04-api.service";
    world.host.sh(&format!(
        "systemctl stop cb-operator\n\
         sed -i s/RestartSec=2/RestartSec=9/ {unit}\n\
         touch /etc/nginx/conf.d/cb-ky04.conf\n\
         systemctl daemon-reload\nsystemctl restart ky04-api"
    ))?;
    world.start()?;
    for kind in ["UnitChanged", "ServiceRestarted", "SiteNotLoaded"] {
        world.waits(kind, || {
            let notes = world.told("ky04", "DriftCorrected")?;
            Ok(notes.iter().any(|note| note.starts_with(kind)))
        })?;
    }
    assert_eq!(world.show("ky04-api", "RestartUSec")?, "2s");
    world.wait_ready("ky04")?;

    for _ in 0..3 {
        world.host.sh(&format!("chmod 600 {unit}"))?;
        world.waits("it is put right", || {
            Ok(world.host.sh(&format!("stat -c %a {unit}"))? == "644\n")
        })?;
    }
    // A restart begins no new fight.
    world.host.sh("systemctl restart cb-operator")?;
    world.host.sh(&format!("chmod 600 {unit}"))?;
    let line = world.wait_condition("ky04", "Drifted", "True Fought")?;
    assert!(line.contains("3 times"), "{line}");
    assert_eq!(world.told("ky04", "DriftFought")?.len(), 1);
    world.wait_condition("ky04", "Drifted", "False InSync")?;
    assert_eq!(world.host.sh(&format!("stat -c %a {unit}"))?, "644\n");
    Ok(())
}

/// Who changed a file is named where Linux tells: the program and its user.
#[test]
fn who_changed_a_file_is_named() -> Result<()> {
    // An overlay, as a test host's disk is, names its folders in one way when
    // they are marked and in another when something happens in them.
    let world = World::installed_with("who", |options| {
        options
            .tmpfs("/etc/nginx/conf.d", 1 << 20)
            .tmpfs("/var/lib/cb/releases", 1 << 24)
    })?;
    world.put("tiny.yaml", crate::world::TINY)?;
    world.start()?;
    world.put_tiny("ky04", "driftPolicy: Detect")?;
    world.wait_ready("ky04")?;
    // Linux tells of a process for as long as it lives.
    world.host.sh("mkfifo /root/seen")?;
    for (kind, file) in [
        ("SiteChanged", "/etc/nginx/conf.d/cb-ky04.conf"),
        ("ReleaseChanged", "/var/lib/cb/releases/tiny/v1/VERSION"),
    ] {
        let edit = format!(
            "open(F, '>>', '{file}'); print F '#edited'; close F; open(F, '<', '/root/seen')"
        );
        world
            .host
            .sh(&format!("perl -e \"{edit}\" >/dev/null 2>&1 &"))?;
        let found = || -> Result<Option<Value>> {
            let drift = world.drift("ky04")?;
            Ok(drift.into_iter().find(|drift| drift["kind"] == kind))
        };
        world.waits(&format!("{kind} is seen"), || Ok(found()?.is_some()))?;
        world.host.sh(": >/root/seen")?;
        let by = found()?.unwrap_or_default()["by"].clone();
        assert_eq!(
            (&by["command"], &by["uid"]),
            (&"perl".into(), &0.into()),
            "{kind}"
        );
        let told = world.told("ky04", "DriftDetected")?;
        let named = |note: &String| note.starts_with(kind) && note.contains("perl, user 0");
        assert!(told.iter().any(named), "{told:?}");
    }
    Ok(())
}
