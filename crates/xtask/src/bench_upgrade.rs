//! `cargo xtask bench --upgrade MEGABYTES`: how long a tenant with a database of
//! this size is down in an upgrade, as a multiple of the same by hand in the
//! same run: stop the services, copy the file and sync it, verify the copy,
//! start them. The time by hand without the verification is printed too.
//!
//! The upgrade does more: it checkpoints, migrates, changes the units and waits
//! for the new version. Downtime is what a visitor of the tenant's page sees,
//! from the last answer before to the first answer after.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cb_testhost::{Options, TestHost};

use crate::artifacts::{self, Profile, RELEASES};
use crate::setup;
use crate::workspace::Workspace;

const PATIENCE: Duration = Duration::from_secs(300);
const FILE: &str = "/var/lib/cb/tenants/ky04/db/tenant.duckdb";

const TENANT: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Tenant
metadata: {name: ky04}
spec:
  application: cbapp
  version: VERSION
  domains: [ky04.example.org]
";

/// Asks for the page all the time and writes down when it answered, in
/// nanoseconds.
const VISITOR: &str = "\
while :; do
    [ \"$(curl -s -m 2 -o /dev/null -w '%{http_code}' -H 'Host: ky04.example.org' http://127.0.0.1/)\" = 200 ] && date +%s%N
done";

/// A folder of the tenant's user, who can so read the copy.
const COPY: &str = "/var/lib/cb/by-hand";

/// By hand, with the copy verified as the upgrade does it: its bytes, and its
/// content by a program of the tenant's user.
fn by_hand(host: &TestHost, verified: bool) -> Result<()> {
    let verify = format!(
        "cmp {FILE} {COPY}/copy && sha256sum {COPY}/copy >{COPY}/sum && setpriv --reuid=cb-ky04 --regid=cb-ky04 --clear-groups cb-duckdb digest {COPY}/copy >/dev/null"
    );
    let verify = if verified { verify.as_str() } else { ":" };
    host.sh(&format!(
        "set -e\n\
         install -d -o cb-ky04 -g cb-ky04 {COPY}\n\
         systemctl stop ky04-frontend.service ky04-api.service\n\
         cp --preserve=ownership {FILE} {COPY}/copy && sync {COPY}/copy\n\
         {verify}\n\
         systemctl start ky04-api.service ky04-frontend.service"
    ))?;
    Ok(())
}

/// Runs the benchmark with a database of about this size.
pub(crate) fn run(workspace: &Workspace, megabytes: u64, profile: Profile) -> Result<()> {
    setup::run(workspace)?;
    let artifacts = artifacts::build(workspace, profile, &RELEASES)?;
    let bind = |options: Options| {
        options
            .bind_ro(
                workspace.root.join("manifests").display(),
                "/opt/cb/manifests",
            )
            .bind_ro(
                workspace.root.join("examples/manifests").display(),
                "/opt/cb/examples",
            )
            .bind_ro(artifacts.releases.display(), "/srv/cbapp")
            // What is written goes to a disk, as on a server.
            .keep_disk()
    };
    let options = Options::new("bench-upgrade").artifacts(&artifacts);
    let host = TestHost::boot(bind(options))?;
    install(&host)?;
    fill(&host, megabytes)?;
    let bytes: f64 = host.sh(&format!("stat -c %s {FILE}"))?.trim().parse()?;

    let [mut plain, mut verified, mut upgrades] = [const { Vec::new() }; 3];
    for version in ["v0.2.0", "v0.3.0"] {
        for (with, times) in [(false, &mut plain), (true, &mut verified)] {
            // It would start the services again at once.
            host.sh("systemctl stop cb-operator")?;
            times.push(downtime(&host, || by_hand(&host, with))?);
            host.sh(&format!("rm -r {COPY}; systemctl start cb-operator"))?;
        }
        upgrades.push(downtime(&host, || upgrade(&host, version))?);
    }
    println!("\na database of {:.2} GB, {profile:?} build", bytes / 1e9);
    let row = |what: &str, times: &[f64]| {
        let times: Vec<String> = times.iter().map(|time| format!("{time:.2} s")).collect();
        println!("  {what:<44} {}", times.join(", "));
    };
    row("down by hand: stop, copy, start", &plain);
    row("down by hand: stop, copy, verify, start", &verified);
    row("down for an upgrade", &upgrades);
    let mean = |times: &[f64]| times.iter().sum::<f64>() / 2.0;
    for (what, times) in [("verified", &verified), ("unverified", &plain)] {
        let ratio = mean(&upgrades) / mean(times);
        println!("  {:<44} {ratio:.2}", format!("ratio to the {what} copy"));
    }
    let phases = host.sh("journalctl -u cb-operator -o short-precise --no-pager | grep -E 'upgrade from .*: [A-Z][A-Za-z]+$' | grep -v 'not ready' | cut -d' ' -f3,6-")?;
    println!("\n{phases}");
    Ok(())
}

fn install(host: &TestHost) -> Result<()> {
    host.sh(
        "install -m 755 /opt/cb/bin/cb-operator /opt/cb/bin/cbctl /opt/cb/bin/cb-duckdb /usr/local/bin/\n\
         install -m 644 /opt/cb/bin/libduckdb.so /usr/local/lib/\n\
         install -D -m 644 /opt/cb/manifests/host.yaml /etc/cb/host.yaml\n\
         install -D -m 644 /opt/cb/examples/cbapp.yaml /etc/cb/manifests/cbapp.yaml\n\
         sed -i '/  - name: v0.2.0/i\\  - name: v0.3.0\\n    folder: {path: /srv/cbapp/v0.3.0}' /etc/cb/manifests/cbapp.yaml\n\
         install -m 644 /opt/cb/manifests/systemd/cb-operator.service /etc/systemd/system/\n\
         systemctl daemon-reload",
    )?;
    put(host, "v0.1.0")?;
    host.sh("systemctl start cb-operator")
        .with_context(|| host.journal("cb-operator"))?;
    wait_version(host, "v0.1.0")
}

fn put(host: &TestHost, version: &str) -> Result<()> {
    let text = TENANT.replace("VERSION", version);
    Ok(host.push(text.as_bytes(), "/etc/cb/manifests/ky04.yaml", 0o644)?)
}

/// Grows the tenant's database, while its services and the operator rest.
fn fill(host: &TestHost, megabytes: u64) -> Result<()> {
    // Hexadecimal digits take about half a byte each.
    let rows = megabytes * 1_000_000 / 34;
    let sql = format!(
        "CREATE TABLE bulk AS SELECT range AS id, md5(range::VARCHAR) || md5((range + 7)::VARCHAR) AS x FROM range({rows});"
    );
    host.push(sql.as_bytes(), "/srv/fill/0001_fill.sql", 0o644)?;
    host.sh(&format!(
        "systemctl stop cb-operator ky04-frontend.service ky04-api.service\n\
         setpriv --reuid=cb-ky04 --regid=cb-ky04 --clear-groups cb-duckdb migrate {FILE} --migrations /srv/fill --table fill --memory-limit 2GB --threads 2 >/dev/null\n\
         systemctl start ky04-api.service ky04-frontend.service cb-operator"
    ))?;
    wait_version(host, "v0.1.0")
}

fn upgrade(host: &TestHost, version: &str) -> Result<()> {
    put(host, version)?;
    wait_version(host, version)
}

fn wait_version(host: &TestHost, version: &str) -> Result<()> {
    let waited = host.wait_until(&format!("ky04 is ready at {version}"), PATIENCE, || {
        let url = "http://operator/apis/campaignbrain.io/v1alpha1/tenants/ky04";
        let tenant = host.curl(&["--unix-socket", "/run/cb/operator.sock", url]);
        let status = tenant.map_err(|error| error.to_string())?.json()["status"].clone();
        let ready = status["conditions"].as_array().is_some_and(|all| {
            all.iter()
                .any(|c| c["type"] == "Ready" && c["status"] == "True")
        });
        match ready && status["version"] == version {
            true => Ok(()),
            false => Err(format!("{status:#}")),
        }
    });
    waited.with_context(|| host.journal("cb-operator"))
}

/// For how long the page did not answer while `work` was done, in seconds.
fn downtime(host: &TestHost, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let visitor = host.spawn(&["bash", "-c", VISITOR])?;
    let answers = || -> Vec<f64> {
        let log = visitor.log();
        let times = log.lines().filter_map(|line| line.parse::<f64>().ok());
        times.map(|nanoseconds| nanoseconds / 1e9).collect()
    };
    let more_than = |count: usize| {
        host.wait_until("the page answers", PATIENCE, || {
            match answers().len() > count {
                true => Ok(()),
                false => Err("it does not".to_owned()),
            }
        })
    };
    more_than(10)?;
    work()?;
    more_than(answers().len() + 10)?;
    let times = answers();
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    let longest = gaps.fold(0.0, f64::max);
    ensure!(longest > 0.1, "the page never was down");
    Ok(longest)
}
