//! Upgrades of a real application with a real database (laws 5, 6 and 9). What
//! a test ends with is compared row by row with what was there before.

mod damage;
mod faults;
mod good;
mod kills;
mod options;
mod power;

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use cb_testhost::Options;
use cb_testhost::cache::Artifacts;
use serde_json::Value;

use crate::world::{SOON, World};

/// How many rows a tenant begins with.
const ROWS: usize = 20;

/// A host with `cbapp` in its good versions v0.1.0, v0.2.0 and v0.3.0, with 1,
/// 2 and 3 migrations, and odd ones that a test makes.
pub(crate) struct Upgrades {
    pub(crate) world: World,
}

/// The Host: short waits, and room for many operations at once.
pub(crate) const HOST: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: test}
spec:
  resync: {periodSeconds: 5}
  operations: {parallelism: 16, settleSeconds: 1}
";

/// The Application with these versions beside the good ones, each in
/// `/srv/odd/NAME`.
fn application(odd: &[&str]) -> String {
    let mut versions = String::new();
    for version in ["v0.1.0", "v0.2.0", "v0.3.0"] {
        let _ = writeln!(
            versions,
            "  - {{name: {version}, folder: {{path: /srv/cbapp/{version}}}}}"
        );
    }
    for name in odd {
        let _ = writeln!(
            versions,
            "  - {{name: {name}, folder: {{path: /srv/odd/{name}}}}}"
        );
    }
    format!(
        "apiVersion: campaignbrain.io/v1alpha1\nkind: Application\nmetadata: {{name: cbapp}}\nspec:\n  versions:\n{versions}\
         \x20 services:\n\
         \x20 - {{name: api, command: bin/cbapp-api, portOffset: 1, healthCheck: {{path: /health, startTimeoutSeconds: 5}}}}\n\
         \x20 - {{name: frontend, command: bin/cbapp-frontend, portOffset: 0, healthCheck: {{path: /health, startTimeoutSeconds: 5}}}}\n\
         \x20 routes:\n  - {{path: /, service: frontend}}\n  - {{path: /api/, service: api}}\n\
         \x20 database:\n    migrations: {{folder: migrations}}\n    timeoutSeconds: 10\n    memory: 256Mi\n"
    )
}

/// A tenant's manifest, with a comment that nothing may touch.
fn manifest(name: &str, version: &str) -> String {
    format!(
        "# {name}, by hand\napiVersion: campaignbrain.io/v1alpha1\nkind: Tenant\nmetadata: {{name: {name}}}\nspec:\n  \
         application: cbapp\n  version: {version} # pinned\n  domains: [{name}.example.org]\n"
    )
}

impl Upgrades {
    /// A host with the operator and tenants at v0.1.0, each with rows.
    pub(crate) fn running(hint: &str, odd: &[&str], tenants: &[&str]) -> Result<Upgrades> {
        Upgrades::running_with(hint, odd, tenants, |options| options)
    }

    /// As [`Upgrades::running`], with further options for the host.
    pub(crate) fn running_with(
        hint: &str,
        odd: &[&str],
        tenants: &[&str],
        more: impl FnOnce(Options) -> Options,
    ) -> Result<Upgrades> {
        let releases = Artifacts::of_this_checkout()?.releases;
        let world = World::installed_with(hint, |options| {
            more(options.bind_ro(releases.display(), "/srv/cbapp"))
        })?;
        world
            .host
            .push(HOST.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
        world.put("cbapp.yaml", &application(odd))?;
        let upgrades = Upgrades { world };
        for name in tenants {
            upgrades.put(name, "v0.1.0")?;
        }
        upgrades.world.start()?;
        for name in tenants {
            upgrades.world.wait_ready(name)?;
            upgrades.add_rows(name)?;
        }
        Ok(upgrades)
    }

    /// Makes an odd version out of a good one: `change` is a shell script that
    /// runs in its folder.
    pub(crate) fn odd(&self, name: &str, from: &str, change: &str) -> Result<()> {
        let script = format!(
            "mkdir -p /srv/odd && cp -r /srv/cbapp/{from} /srv/odd/{name} && cd /srv/odd/{name} && echo {name} >VERSION && {{ {change}\n}}"
        );
        self.world
            .host
            .sh(&script)
            .map(drop)
            .context("an odd version")
    }

    /// Writes a tenant's manifest.
    pub(crate) fn put(&self, name: &str, version: &str) -> Result<()> {
        self.world
            .put(&format!("{name}.yaml"), &manifest(name, version))
    }

    fn add_rows(&self, name: &str) -> Result<()> {
        let port = self.port(name)?;
        self.world.host.sh(&format!(
            "for n in $(seq {ROWS}); do curl -sSf -H 'Content-Type: application/json' -d '{{\"name\": \"row '$n' of {name}\"}}' http://127.0.0.1:{port}/api/contacts >/dev/null; done"
        ))?;
        Ok(())
    }

    fn port(&self, name: &str) -> Result<u64> {
        let ports = self.world.tenant(name)?["status"]["ports"].clone();
        ports["api"].as_u64().context("the api's port")
    }

    /// Every row that the tenant's api has, as text.
    pub(crate) fn rows(&self, name: &str) -> Result<String> {
        self.rows_on(name, self.port(name)?)
    }

    /// As [`Upgrades::rows`], from the api on this port.
    fn rows_on(&self, name: &str, port: u64) -> Result<String> {
        let url = format!("http://127.0.0.1:{port}/api/contacts");
        let answer = self.world.host.curl(&[&url])?;
        anyhow::ensure!(
            answer.status == 200,
            "{name}: {} {}",
            answer.status,
            answer.body
        );
        let all = answer.json();
        let mut rows: Vec<String> = all
            .as_array()
            .context("rows")?
            .iter()
            .map(|row| format!("{} {}", row["id"], row["name"]))
            .collect();
        anyhow::ensure!(rows.len() >= ROWS, "{name} has {} rows", rows.len());
        rows.sort();
        Ok(rows.join("\n"))
    }

    /// The operation that is under way, or the last.
    pub(crate) fn operation(&self, name: &str) -> Result<Value> {
        Ok(self.world.tenant(name)?["status"]["operation"].clone())
    }

    /// Waits until the operation to a version has come to this state.
    pub(crate) fn wait_operation(&self, name: &str, version: &str, state: &str) -> Result<Value> {
        let what = format!("the operation of {name} to {version} is {state}");
        // Two services that have to be killed take a minute to stop.
        let seen = self.world.host.wait_until(&what, 2 * SOON, || {
            let operation = self.operation(name).map_err(|error| format!("{error:#}"))?;
            match operation["toVersion"] == version && operation["state"] == state {
                true => Ok(operation),
                false => Err(format!("{operation:#}")),
            }
        });
        seen.with_context(|| self.world.host.journal("cb-operator"))
    }

    /// That a tenant runs this version with this schema and these rows, and
    /// nothing else of it is left of another version.
    pub(crate) fn is_at(&self, name: &str, version: &str, schema: i64, rows: &str) -> Result<()> {
        for (service, port) in [
            ("api", self.port(name)?),
            ("frontend", self.port(name)? - 1),
        ] {
            let url = format!("http://127.0.0.1:{port}/health");
            let health = self.world.host.wait_until("it answers", SOON, || {
                let answer = self.world.host.curl(&[&url]).map_err(|e| e.to_string())?;
                if answer.status == 200 {
                    Ok(answer.json())
                } else {
                    Err(answer.body)
                }
            })?;
            assert_eq!(health["version"], version, "{name}-{service}");
            if service == "api" {
                assert_eq!(health["schemaVersion"], schema, "{name}");
            }
            let unit = self
                .world
                .host
                .sh(&format!("systemctl cat {name}-{service}.service"))?;
            let release = format!("/releases/cbapp/{version}");
            assert!(unit.contains(&release), "{name}: {unit}");
        }
        assert_eq!(self.rows(name)?, rows, "{name}");
        let env = self
            .world
            .host
            .sh(&format!("cat /etc/cb/tenants/{name}/.env"))?;
        assert!(env.contains(version), "{env}");
        let enabled = self
            .world
            .host
            .sh(&format!("systemctl is-enabled {name}-api {name}-frontend"))?;
        assert_eq!(enabled.trim(), "enabled\nenabled", "{name}");
        Ok(())
    }

    /// The names of the phases of an operation.
    pub(crate) fn phases(operation: &Value) -> Vec<String> {
        let phases = operation["phases"].as_array().cloned().unwrap_or_default();
        phases
            .iter()
            .map(|phase| phase["name"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// What the folder of a tenant's backups holds.
    pub(crate) fn backups(&self, name: &str) -> Result<String> {
        Ok(self.world.host.sh(&format!(
            "cd /var/lib/cb/backups/{name} 2>/dev/null && find . -type f | sort || :"
        ))?)
    }
}
