//! `cargo xtask bench --get N`: how long `cbctl get tenants` takes over N tenants,
//! as a ratio to `kubectl get --raw` of the same table in the same run.
//!
//! The tenants are suspended from the start, so that no service of theirs runs.
//! `kubectl get --raw` cannot say that it wants a table; an nginx of the host
//! says it, and leads kubectl from TCP to the operator's socket.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cb_testhost::TestHost;

use crate::artifacts::{self, Profile};
use crate::bench;
use crate::setup;
use crate::workspace::Workspace;

const TIMER: &str = include_str!("bench_get.pl");

/// How often each command is run.
const ROUNDS: usize = 51;

const CBCTL: &str = "cbctl get tenants";
const KUBECTL: &str = "kubectl --server=http://127.0.0.1:8001 get --raw \
                       /apis/campaignbrain.io/v1alpha1/tenants";

const RELAY: &str = "\
cat >/etc/nginx/conf.d/relay.conf <<'END'
server {
    listen 127.0.0.1:8001;
    location / {
        proxy_pass http://unix:/run/cb/operator.sock:;
        proxy_set_header Accept 'application/json;as=Table;v=v1;g=meta.k8s.io';
        proxy_buffering off;
    }
}
END
sed -i 's/^user .*/user root;/' /etc/nginx/nginx.conf
systemctl restart nginx
";

/// Runs the benchmark with this many tenants.
pub(crate) fn run(workspace: &Workspace, tenants: usize, profile: Profile) -> Result<()> {
    setup::run(workspace)?;
    let artifacts = artifacts::build_small(workspace, profile)?;
    let host = bench::with_operator(workspace, &artifacts, "bench-get")?;
    host.sh("install -m 755 /opt/cb/bin/cbctl /usr/local/bin/")?;
    host.sh(RELAY)?;
    for name in bench::names(tenants) {
        let text = bench::manifest(&name) + "  suspend: true\n";
        host.push(text.as_bytes(), &format!("/etc/cb/new/{name}.yaml"), 0o644)?;
    }
    host.sh("mv /etc/cb/new/*.yaml /etc/cb/manifests/")?;
    let all = host.wait_until("every tenant is shown", Duration::from_secs(300), || {
        shown(&host, tenants).map_err(|error| format!("{error:#}"))
    });
    all.with_context(|| host.journal("cb-operator"))?;

    host.push(TIMER.as_bytes(), "/root/timer.pl", 0o755)?;
    let lines = host.sh(&format!(
        "perl /root/timer.pl {ROUNDS} '{CBCTL}' '{KUBECTL}'"
    ))?;
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    for line in lines.lines() {
        let (first, second) = line.split_once(' ').context("a line has two times")?;
        ours.push(Duration::from_micros(first.parse()?));
        raw.push(Duration::from_micros(second.parse()?));
    }
    ensure!(ours.len() == ROUNDS, "{lines}");
    let (ours, raw) = (bench::median(ours), bench::median(raw));
    println!("\n{tenants} tenants, {profile:?} build, medians of {ROUNDS} in turn");
    let row = |what: &str, text: String| println!("  {what:<58} {text}");
    row("`cbctl get tenants`", millis(ours));
    row("`kubectl get --raw` of the same table", millis(raw));
    let ratio = ours.as_secs_f64() / raw.as_secs_f64();
    row("  ratio (should be at most 1.5)", format!("{ratio:.2}"));
    Ok(())
}

/// That both commands show every tenant, with its state.
fn shown(host: &TestHost, tenants: usize) -> Result<()> {
    let ours = host.sh(CBCTL)?;
    let rows = ours.lines().filter(|line| !line.contains("Pending"));
    let rows = rows.count().saturating_sub(1);
    ensure!(rows == tenants, "cbctl shows {rows}");
    let table: serde_json::Value = serde_json::from_str(&host.sh(KUBECTL)?)?;
    ensure!(table["kind"] == "Table", "kubectl got no table");
    let rows = table["rows"].as_array().map_or(0, Vec::len);
    ensure!(rows == tenants, "kubectl shows {rows}");
    Ok(())
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
