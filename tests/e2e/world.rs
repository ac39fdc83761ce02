//! A host with the operator on it, as `docs/operations.md` tells a user to set
//! it up, and words for what tests do with it.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use cb_testhost::cache::Artifacts;
use cb_testhost::{Options, Response, TestHost};
use serde_json::Value;

/// How long a change may take to be brought about on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A host with the operator.
pub(crate) struct World {
    pub(crate) host: TestHost,
}

/// The small application: one version after the other, two services.
pub(crate) const TINY: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Application
metadata: {name: tiny}
spec:
  versions:
  - {name: v1, folder: {path: /srv/tiny/v1}}
  - {name: v2, folder: {path: /srv/tiny/v2}}
  services:
  - name: api
    command: bin/tinyapp
    args: [$(PORT)]
    portOffset: 1
    healthCheck: {path: /health, startTimeoutSeconds: 10}
  - name: frontend
    command: bin/tinyapp
    args: [$(PORT)]
    portOffset: 0
    healthCheck: {path: /health, startTimeoutSeconds: 10}
  routes:
  - {path: /, service: frontend}
  - {path: /api/, service: api}
";

/// A Host whose waits are short.
const HOST: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: test}
spec:
  prune: {delaySeconds: 1, maxPercent: 34}
  resync: {periodSeconds: 5}
";

/// A tenant of the small application; `more` are further lines of its spec.
pub(crate) fn tiny(name: &str, more: &str) -> String {
    let mut text = format!(
        "apiVersion: campaignbrain.io/v1alpha1\nkind: Tenant\nmetadata: {{name: {name}}}\nspec:\n  \
         application: tiny\n  version: v1\n  domains: [{name}.example.org]\n"
    );
    for line in more.lines() {
        let _ = writeln!(text, "  {line}");
    }
    text
}

impl World {
    /// Boots a host and installs the operator, without starting it.
    pub(crate) fn installed(hint: &str) -> Result<World> {
        World::installed_with(hint, |options| options)
    }

    /// As [`World::installed`], with further options for the host.
    pub(crate) fn installed_with(
        hint: &str,
        more: impl FnOnce(Options) -> Options,
    ) -> Result<World> {
        let artifacts = Artifacts::of_this_checkout()?;
        let options = Options::new(hint).artifacts(&artifacts).bind_ro(
            cb_testhost::cache::checkout().join("manifests").display(),
            "/opt/cb/manifests",
        );
        let world = World {
            host: TestHost::boot(more(options))?,
        };
        world.host.sh(
            "install -m 755 /opt/cb/bin/cb-operator /opt/cb/bin/cbctl /opt/cb/bin/cb-duckdb /usr/local/bin/\n\
             install -m 644 /opt/cb/bin/libduckdb.so /usr/local/lib/\n\
             install -m 644 /opt/cb/manifests/systemd/cb-operator.service /etc/systemd/system/\n\
             install -d /etc/cb/manifests\n\
             for v in v1 v2; do install -D -m 755 /opt/cb/bin/tinyapp /srv/tiny/$v/bin/tinyapp; echo $v >/srv/tiny/$v/VERSION; done\n\
             systemctl daemon-reload",
        )?;
        world
            .host
            .push(HOST.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
        Ok(world)
    }

    /// Boots a host with the operator running and the small application known.
    pub(crate) fn running(hint: &str) -> Result<World> {
        let world = World::installed(hint)?;
        world.put("tiny.yaml", TINY)?;
        world.start()?;
        Ok(world)
    }

    /// Starts the operator; it is ready when this returns.
    pub(crate) fn start(&self) -> Result<()> {
        let started = self.host.sh("systemctl start cb-operator");
        started
            .map(drop)
            .with_context(|| self.host.journal("cb-operator"))
    }

    /// Writes a manifest file, as an editor would.
    pub(crate) fn put(&self, file: &str, text: &str) -> Result<()> {
        Ok(self
            .host
            .push(text.as_bytes(), &format!("/etc/cb/manifests/{file}"), 0o644)?)
    }

    /// Writes a tenant of the small application.
    pub(crate) fn put_tiny(&self, name: &str, more: &str) -> Result<()> {
        self.put(&format!("{name}.yaml"), &tiny(name, more))
    }

    /// The API's answer.
    pub(crate) fn api(&self, path: &str) -> Result<Value> {
        Ok(self.ask(path, &[])?.json())
    }

    /// The API's answer to a request with these further arguments of `curl`.
    pub(crate) fn ask(&self, path: &str, arguments: &[&str]) -> Result<Response> {
        let url = format!("http://operator{path}");
        let socket = ["--unix-socket", "/run/cb/operator.sock", &url];
        Ok(self.host.curl(&[arguments, &socket].concat())?)
    }

    /// The API's answer to JSON that is sent to it.
    pub(crate) fn post(&self, path: &str, json: &str) -> Result<Response> {
        self.ask(path, &["-H", "Content-Type: application/json", "-d", json])
    }

    /// A tenant as the API shows it.
    pub(crate) fn tenant(&self, name: &str) -> Result<Value> {
        self.api(&format!("/apis/campaignbrain.io/v1alpha1/tenants/{name}"))
    }

    /// One of a tenant's conditions as `STATUS REASON MESSAGE`; empty if it is
    /// not there.
    pub(crate) fn condition(&self, tenant: &str, kind: &str) -> Result<String> {
        Ok(condition_in(&self.tenant(tenant)?["status"], kind))
    }

    /// Waits until a condition's line starts with `wanted`.
    pub(crate) fn wait_condition(&self, tenant: &str, kind: &str, wanted: &str) -> Result<String> {
        let what = format!("{kind} of {tenant} is {wanted}");
        let found = self.host.wait_until(&what, SOON, || {
            let line = self
                .condition(tenant, kind)
                .map_err(|error| format!("{error:#}"))?;
            if line.starts_with(wanted) {
                Ok(line)
            } else {
                Err(line)
            }
        });
        found.with_context(|| self.host.journal("cb-operator"))
    }

    /// Waits until a tenant is ready with its newest manifest.
    pub(crate) fn wait_ready(&self, tenant: &str) -> Result<()> {
        self.wait_condition(tenant, "Ready", "True").map(drop)
    }

    /// Waits until `look` sees what is waited for.
    pub(crate) fn waits(&self, what: &str, mut look: impl FnMut() -> Result<bool>) -> Result<()> {
        let waited = self.host.wait_until(what, SOON, || match look() {
            Ok(true) => Ok(()),
            Ok(false) => Err("not yet".to_owned()),
            Err(error) => Err(format!("{error:#}")),
        });
        waited.with_context(|| self.host.journal("cb-operator"))
    }

    /// Waits until just these alerts are about the host itself.
    pub(crate) fn wait_host_alerts(&self, reasons: &[&str]) -> Result<()> {
        self.waits(&format!("the host's alerts are {reasons:?}"), || {
            let text = self.host.sh("cbctl alerts -o json")?;
            let overview: Value = serde_json::from_str(&text)?;
            let alerts = overview["alerts"].as_array();
            let of_host = alerts.into_iter().flatten();
            let of_host = of_host.filter(|alert| alert["tenant"].is_null());
            let firing: Vec<_> = of_host.map(|alert| &alert["reason"]).collect();
            Ok(firing == reasons)
        })
    }

    /// The status file beside a manifest.
    pub(crate) fn status_file(&self, stem: &str) -> Result<Value> {
        let text = self
            .host
            .read(&format!("/etc/cb/manifests/{stem}.status.yaml"))?;
        Ok(serde_yaml::from_slice(&text)?)
    }

    /// What nginx serves on a tenant's domain.
    pub(crate) fn page(&self, tenant: &str) -> Result<String> {
        let host = format!("Host: {tenant}.example.org");
        let answer = self.host.curl(&["-H", &host, "http://127.0.0.1/"])?;
        if answer.status != 200 {
            bail!("{tenant} answers {}: {}", answer.status, answer.body);
        }
        Ok(answer.body)
    }

    /// The words of a unit, as `systemctl show` has them.
    pub(crate) fn show(&self, unit: &str, property: &str) -> Result<String> {
        let text = self
            .host
            .sh(&format!("systemctl show -P {property} {unit}"))?;
        Ok(text.trim().to_owned())
    }

    /// Every managed file with its content's checksum, inode and time: equal
    /// texts mean that nothing was written.
    pub(crate) fn fingerprint(&self) -> Result<String> {
        Ok(self.host.sh(
            "find /etc/systemd/system /etc/nginx/conf.d /etc/cb /etc/sysusers.d /var/lib/cb/records \
             -type f -printf '%p %i %T@ %C@ %m %U\\n' | sort",
        )?)
    }

    /// Waits for a pass over a tenant that was asked for now.
    pub(crate) fn reconcile(&self, tenant: &str) -> Result<()> {
        let path = format!("/operator/v1/tenants/{tenant}/reconcile");
        let answer = self.ask(&path, &["-X", "POST"])?;
        if answer.status != 200 {
            bail!("reconcile {tenant}: {} {}", answer.status, answer.body);
        }
        Ok(())
    }
}

/// One of the conditions of a status as `STATUS REASON MESSAGE`.
pub(crate) fn condition_in(status: &Value, kind: &str) -> String {
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions
        .iter()
        .find(|condition| condition["type"] == kind);
    found.map_or_else(String::new, |c| {
        let word = |key: &str| c[key].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", word("status"), word("reason"), word("message"))
    })
}
