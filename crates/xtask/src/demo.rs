//! `cargo xtask demo`: the operator at work on a throwaway host, from
//! installing it to putting changes by hand right.

use std::fmt::Display;
use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cb_testhost::{Options, TestHost};

use crate::artifacts::{self, Profile, RELEASES};
use crate::setup;
use crate::workspace::Workspace;

/// How long each thing that is shown may take.
const PATIENCE: Duration = Duration::from_secs(120);
const TENANTS: [&str; 3] = ["ky04", "oh09", "tx28"];

/// Runs the demo; with `keep` the host stays until Ctrl-C.
pub(crate) fn run(workspace: &Workspace, keep: bool) -> Result<()> {
    title("Set up and build");
    setup::run(workspace)?;
    let artifacts = artifacts::build(workspace, Profile::Dev, &RELEASES)?;

    title("Boot a throwaway host (systemd, D-Bus, nginx)");
    let options = Options::new("demo")
        .artifacts(&artifacts)
        .bind_ro(artifacts.releases.display(), "/srv/cbapp")
        .bind_ro(
            workspace.root.join("manifests").display(),
            "/opt/cb/manifests",
        )
        .bind_ro(
            workspace.root.join("examples/manifests").display(),
            "/opt/cb/examples",
        );
    let demo = Demo {
        host: TestHost::boot(options)?,
        colour: std::io::stdout().is_terminal(),
    };

    title("Install the operator, as docs/operations.md says");
    for command in [
        "install -m 755 /opt/cb/bin/cb-operator /opt/cb/bin/cbctl /opt/cb/bin/cb-duckdb /usr/local/bin/",
        "install -m 644 /opt/cb/bin/libduckdb.so /usr/local/lib/",
        "install -D -m 644 /opt/cb/manifests/host.yaml /etc/cb/host.yaml",
        "install -d /etc/cb/manifests",
        "install -m 644 /opt/cb/manifests/systemd/cb-operator.service /etc/systemd/system/",
        "systemctl daemon-reload",
        "systemctl enable --now cb-operator",
    ] {
        demo.shown(command)?;
    }

    title("Apply an Application and three tenants");
    demo.shown("cbctl apply -f /opt/cb/examples --wait --timeout 120s")?;
    demo.shown("cbctl get tenants -o wide")?;

    title("Each tenant's page, through nginx");
    for tenant in TENANTS {
        let page = demo.shown(&format!(
            "curl -sS -H 'Host: {tenant}.example.org' http://localhost/ | grep -E '<h1>|<strong>|<footer>'"
        ))?;
        let footer = format!("Campaign Brain v0.1.0, tenant {tenant}");
        ensure!(page.contains(&footer), "{tenant} does not serve its page");
    }

    title("A second apply changes nothing");
    let again = demo.shown("cbctl apply -f /opt/cb/examples")?;
    ensure!(
        again.lines().all(|line| line.ends_with("unchanged")),
        "something changed"
    );
    demo.shown("cbctl diff")?;

    title("Stop a service by hand: it is started again");
    demo.shown("systemctl stop ky04-api.service")?;
    demo.until(
        "the service runs again",
        "systemctl is-active --quiet ky04-api.service",
    )?;
    demo.shown("systemctl status --no-pager --lines 0 ky04-api.service | head -n 3")?;

    title("Edit a unit by hand: it is put right");
    demo.shown("sed -i 's/^Restart=always/Restart=no/' /etc/systemd/system/oh09-api.service")?;
    demo.until(
        "the unit is as it was",
        "grep -q ^Restart=always /etc/systemd/system/oh09-api.service",
    )?;
    demo.shown("journalctl -u cb-operator -o cat --no-pager | grep -i drift | tail -n 4 || true")?;

    title("Upgrade a tenant: back up and verify, migrate, switch, verify");
    demo.shown("curl -sSf -H 'Host: ky04.example.org' -H 'Content-Type: application/json' -d '{\"name\": \"Ada Lovelace\"}' http://localhost/api/contacts; echo")?;
    demo.shown("cbctl upgrade ky04 --to v0.2.0")?;
    demo.shown("cbctl backup list ky04")?;
    let page = demo
        .shown("curl -sS -H 'Host: ky04.example.org' http://localhost/ | grep -E 'Ada|<footer>'")?;
    ensure!(
        page.contains("Ada Lovelace") && page.contains("v0.2.0"),
        "ky04 lost something"
    );

    title("Upgrade to a version that does not work: it is rolled back");
    demo.shown(
        "cp -r /srv/cbapp/v0.3.0 /srv/broken && echo v0.3.0-broken >/srv/broken/VERSION && echo unhealthy >/srv/broken/FAULT",
    )?;
    // With less than a minute for its services to answer.
    demo.shown("sed -e '/^  services:/i\\  - name: v0.3.0-broken\\n    folder: {path: /srv/broken}' -e 's|path: /health|&\\n      startTimeoutSeconds: 10|' /opt/cb/examples/cbapp.yaml | cbctl apply -f -")?;
    demo.shown("cbctl upgrade ky04 --to v0.3.0-broken 2>&1 || echo \"exit code $?\"")?;
    demo.shown("cbctl get tenants")?;
    let page = demo
        .shown("curl -sS -H 'Host: ky04.example.org' http://localhost/ | grep -E 'Ada|<footer>'")?;
    ensure!(
        page.contains("Ada Lovelace") && page.contains("v0.2.0"),
        "ky04 is not as before"
    );
    demo.shown("cbctl upgrade ky04 --to v0.2.0")?;
    demo.until(
        "ky04 is ready again",
        "cbctl get tenant ky04 | grep -q True",
    )?;

    title("Stop the operator: the tenants go on");
    demo.shown("systemctl stop cb-operator")?;
    demo.shown("systemctl is-active ky04-api ky04-frontend oh09-api tx28-api")?;
    demo.shown("systemctl start cb-operator")?;

    if keep {
        title("The host stays until Ctrl-C");
        println!("enter it with: nsenter -t {} -a bash", demo.host.init_pid());
        loop {
            std::thread::park();
        }
    }
    title("Done; the host is removed");
    Ok(())
}

struct Demo {
    host: TestHost,
    colour: bool,
}

impl Demo {
    /// Runs a command in the host and shows it with what it prints.
    fn shown(&self, command: &str) -> Result<String> {
        if self.colour {
            println!("\x1b[1;32m#\x1b[0m \x1b[1m{command}\x1b[0m");
        } else {
            println!("# {command}");
        }
        let output = self
            .host
            .sh(command)
            .with_context(|| self.host.journal("cb-operator"))?;
        for line in output.lines() {
            println!("  {line}");
        }
        Ok(output)
    }

    /// Waits until a command succeeds in the host.
    fn until(&self, what: &str, command: &str) -> Result<()> {
        let begun = std::time::Instant::now();
        self.host
            .wait_until(what, PATIENCE, || self.host.sh(command).map(drop))?;
        println!("  {what}, after {:.1} s", begun.elapsed().as_secs_f32());
        Ok(())
    }
}

fn title(text: impl Display) {
    println!("\n== {text}");
}
