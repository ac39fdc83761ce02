//! `cargo xtask bench`: what the operator takes, as a ratio to the same work
//! done by hand with everything batched, in the same run.
//!
//! Two hosts, one after the other, with the same tenants of a small
//! application: on the first the operator makes them, on the second a script
//! with the very files that the operator made: one systemd-sysusers, one
//! daemon-reload, one `systemctl enable`, one `systemctl start`, one reload of
//! nginx.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cb_testhost::cache::Artifacts;
use cb_testhost::{Options, Running, TestHost};
use serde_json::Value;

use crate::artifacts::{self, Profile};
use crate::setup;
use crate::workspace::Workspace;

const PATIENCE: Duration = Duration::from_secs(300);

const HOST: &str = "{apiVersion: campaignbrain.io/v1alpha1, kind: Host, metadata: {name: bench}}\n";

const APPLICATION: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Application
metadata: {name: tiny}
spec:
  versions: [{name: v1, folder: {path: /srv/tiny/v1}}]
  services:
  - {name: api, command: bin/tinyapp, args: [$(PORT)], portOffset: 1, healthCheck: {path: /health}}
  - {name: frontend, command: bin/tinyapp, args: [$(PORT)], portOffset: 0, healthCheck: {path: /health}}
  routes:
  - {path: /, service: frontend}
  - {path: /api/, service: api}
";

/// What the script does by hand; `/tmp/made.tar` has the files, `/tmp/names`
/// the tenants.
const BY_HAND: &str = "\
tar -C / -xpf /tmp/made.tar
install -d /var/lib/cb/releases/tiny /var/lib/cb/tenants
cp -r /srv/tiny/v1 /var/lib/cb/releases/tiny/v1
systemd-sysusers
while read -r n; do
    install -d -m 711 /var/lib/cb/tenants/$n
    install -d -m 700 -o cb-$n -g cb-$n /var/lib/cb/tenants/$n/db /var/lib/cb/tenants/$n/uploads
done </tmp/names
systemctl daemon-reload
units=$(sed 's/.*/&-api.service &-frontend.service/' /tmp/names)
systemctl --quiet enable $units
systemctl start $units
nginx -t -q
systemctl reload nginx
";

/// Runs the benchmark with this many tenants.
pub(crate) fn run(workspace: &Workspace, tenants: usize, profile: Profile) -> Result<()> {
    setup::run(workspace)?;
    let artifacts = artifacts::build_small(workspace, profile)?;
    let (made, by_operator) = by_operator(workspace, &artifacts, tenants)?;
    let by_hand = by_hand(&artifacts, tenants, &made)?;

    println!(
        "\n{tenants} tenants, {} services, {profile:?} build",
        tenants * 2
    );
    let row = |what: &str, text: String| println!("  {what:<58} {text}");
    row("created by hand, everything batched", seconds(by_hand));
    row(
        "created by the operator, until every tenant is Ready",
        seconds(by_operator.created),
    );
    let ratio = by_operator.created.as_secs_f64() / by_hand.as_secs_f64();
    row("  ratio (should be at most 2)", format!("{ratio:.2}"));
    row(
        "  daemon-reloads (at most 5)",
        by_operator.daemon_reloads.to_string(),
    );
    row(
        "  nginx reloads (at most 5)",
        by_operator.nginx_reloads.to_string(),
    );
    row(
        "a look at every tenant with nothing to do",
        seconds(by_operator.nothing),
    );
    row(
        "`systemctl is-active` of the same units",
        seconds(by_operator.is_active),
    );
    let ratio = by_operator.nothing.as_secs_f64() / by_operator.is_active.as_secs_f64();
    row("  ratio", format!("{ratio:.2}"));
    row("  files written meanwhile", by_operator.written.to_string());
    row("  D-Bus calls meanwhile", by_operator.bus_calls.to_string());
    row("the operator's memory (resident)", by_operator.memory);
    Ok(())
}

struct Measured {
    created: Duration,
    daemon_reloads: usize,
    nginx_reloads: usize,
    nothing: Duration,
    is_active: Duration,
    written: usize,
    bus_calls: usize,
    memory: String,
}

fn by_operator(
    workspace: &Workspace,
    artifacts: &Artifacts,
    tenants: usize,
) -> Result<(Vec<u8>, Measured)> {
    let host = with_operator(workspace, artifacts, "bench-operator")?;
    for name in names(tenants) {
        let text = manifest(&name);
        host.push(text.as_bytes(), &format!("/etc/cb/new/{name}.yaml"), 0o644)?;
    }
    let count = |unit: &str, word: &str| -> Result<usize> {
        let lines = host.sh(&format!(
            "journalctl -o cat {unit} | grep -c '{word}' || true"
        ))?;
        Ok(lines.trim().parse()?)
    };
    let (daemon_before, nginx_before) = (
        count("_PID=1", "^Reloading\\.")?,
        count("_PID=1", "Reloaded nginx")?,
    );
    let begun = Instant::now();
    host.sh("mv /etc/cb/new/*.yaml /etc/cb/manifests/")?;
    wait_ready(&host, tenants)?;
    let created = begun.elapsed();
    let daemon_reloads = count("_PID=1", "^Reloading\\.")? - daemon_before;
    let nginx_reloads = count("_PID=1", "Reloaded nginx")? - nginx_before;

    host.sh("touch /tmp/mark")?;
    let monitor = host.spawn(&["dbus-monitor", "--system", "type='method_call'"])?;
    let before = bus_calls(&host, &monitor, "Before")?;
    let (mut nothing, mut is_active) = (Vec::new(), Vec::new());
    let units: Vec<String> = names(tenants)
        .flat_map(|n| [format!("{n}-api.service"), format!("{n}-frontend.service")])
        .collect();
    for _ in 0..5 {
        nothing.push(look(&host, tenants)?);
        let begun = Instant::now();
        host.sh(&format!(
            "systemctl is-active {} >/dev/null",
            units.join(" ")
        ))?;
        is_active.push(begun.elapsed());
    }
    let bus_calls = bus_calls(&host, &monitor, "After")? - before;
    let written =
        host.sh("find /etc /var/lib/cb -newer /tmp/mark -type f -not -path '*/.git/*' | wc -l")?;
    let memory = host.sh("grep VmRSS /proc/$(systemctl show -P MainPID cb-operator)/status")?;
    let memory = memory.trim_start_matches("VmRSS:").trim().to_owned();
    host.sh(
        "cd / && tar -cpf /tmp/made.tar etc/cb/tenants etc/sysusers.d etc/nginx/conf.d \
         $(grep -l '^# cb-operator' etc/systemd/system/*.service)",
    )?;
    let made = host.read("/tmp/made.tar")?;
    let (nothing, is_active) = (median(nothing), median(is_active));
    let written = written.trim().parse()?;
    Ok((
        made,
        Measured {
            created,
            daemon_reloads,
            nginx_reloads,
            nothing,
            is_active,
            written,
            bus_calls,
            memory,
        },
    ))
}

/// A host with the operator running, the small application known and a folder
/// for manifests that are to come together.
pub(crate) fn with_operator(
    workspace: &Workspace,
    artifacts: &Artifacts,
    hint: &str,
) -> Result<TestHost> {
    let manifests = workspace.root.join("manifests");
    let host = boot(hint, artifacts, |o| {
        o.bind_ro(manifests.display(), "/opt/cb/manifests")
    })?;
    host.sh("install -m 755 /opt/cb/bin/cb-operator /usr/local/bin/\n\
         install -m 644 /opt/cb/manifests/systemd/cb-operator.service /etc/systemd/system/\n\
         install -d /etc/cb/manifests /etc/cb/new\n\
         systemctl daemon-reload")?;
    host.push(HOST.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
    host.push(APPLICATION.as_bytes(), "/etc/cb/manifests/tiny.yaml", 0o644)?;
    host.sh("systemctl start cb-operator")
        .with_context(|| host.journal("cb-operator"))?;
    Ok(host)
}

/// A tenant of the small application.
pub(crate) fn manifest(name: &str) -> String {
    format!(
        "apiVersion: campaignbrain.io/v1alpha1\nkind: Tenant\nmetadata: {{name: {name}}}\nspec:\n  \
         application: tiny\n  version: v1\n  domains: [{name}.example.org]\n"
    )
}

/// Waits until so many tenants are ready.
pub(crate) fn wait_ready(host: &TestHost, tenants: usize) -> Result<()> {
    let ready = host.wait_until("every tenant is ready", PATIENCE, || {
        let list = get(host, "/apis/campaignbrain.io/v1alpha1/tenants")
            .map_err(|error| error.to_string())?;
        let ready = ready(&list);
        if ready == tenants {
            Ok(())
        } else {
            Err(format!("{ready} are ready"))
        }
    });
    ready.with_context(|| host.journal("cb-operator"))
}

/// How many calls of the operator the monitor has seen, up to a call of ours
/// that marks the place.
fn bus_calls(host: &TestHost, monitor: &Running, mark: &str) -> Result<usize> {
    let pid = host.sh("systemctl show -P MainPID cb-operator")?;
    let listed = host.sh("busctl list --no-legend --no-pager")?;
    let names: Vec<&str> = listed
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.get(1) == Some(&pid.trim()) && words[0].starts_with(':'))
        .map(|words| words[0])
        .collect();
    ensure!(
        !names.is_empty(),
        "the operator is not on the bus: {listed}"
    );
    let interface = "org.freedesktop.DBus.Introspectable";
    let call = format!("busctl call org.freedesktop.DBus /mark {interface} {mark} || :");
    let count = host.wait_until("the monitor has seen the mark", PATIENCE, || {
        host.sh(&call).map_err(|error| error.to_string())?;
        let log = monitor.log();
        if !log.contains(&format!("member={mark}")) {
            return Err("it has not".to_owned());
        }
        let sent_by = |line: &str, name: &&str| line.contains(&format!("sender={name} "));
        let ours = |line: &&str| names.iter().any(|name| sent_by(line, name));
        Ok(log.lines().filter(ours).count())
    });
    Ok(count?)
}

/// Looks at every tenant, plans, and finds nothing to do.
fn look(host: &TestHost, tenants: usize) -> Result<Duration> {
    let begun = Instant::now();
    let arguments = [
        "-X",
        "POST",
        "-H",
        "Content-Type: application/json",
        "-d",
        "{}",
        "--unix-socket",
        "/run/cb/operator.sock",
    ];
    let answer = host.curl(&[&arguments[..], &["http://operator/operator/v1/plan"]].concat())?;
    let took = begun.elapsed();
    let plans = answer.json()["plans"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let empty = plans
        .iter()
        .filter(|plan| plan["steps"] == Value::Array(vec![]))
        .count();
    ensure!(
        empty == tenants,
        "{empty} of {tenants} plans are empty: {}",
        answer.body
    );
    Ok(took)
}

fn by_hand(artifacts: &Artifacts, tenants: usize, made: &[u8]) -> Result<Duration> {
    let host = boot("bench-by-hand", artifacts, |options| options)?;
    host.push(made, "/tmp/made.tar", 0o644)?;
    let names: String = names(tenants).map(|name| name + "\n").collect();
    host.push(names.as_bytes(), "/tmp/names", 0o644)?;
    let begun = Instant::now();
    host.sh(BY_HAND)?;
    Ok(begun.elapsed())
}

fn boot(
    hint: &str,
    artifacts: &Artifacts,
    more: impl FnOnce(Options) -> Options,
) -> Result<TestHost> {
    let host = TestHost::boot(more(Options::new(hint).artifacts(artifacts)))?;
    host.sh("install -D -m 755 /opt/cb/bin/tinyapp /srv/tiny/v1/bin/tinyapp; echo v1 >/srv/tiny/v1/VERSION")?;
    Ok(host)
}

pub(crate) fn names(tenants: usize) -> impl Iterator<Item = String> {
    (0..tenants).map(|n| format!("t{n:04}"))
}

fn get(host: &TestHost, path: &str) -> Result<Value> {
    let url = format!("http://operator{path}");
    Ok(host
        .curl(&["--unix-socket", "/run/cb/operator.sock", &url])?
        .json())
}

fn ready(list: &Value) -> usize {
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let is_ready = |item: &&Value| {
        let conditions = item["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        conditions
            .iter()
            .any(|c| c["type"] == "Ready" && c["status"] == "True")
    };
    items.iter().filter(is_ready).count()
}

pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}
