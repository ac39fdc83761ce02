//! Looking at a host from outside, for tests of what goes wrong: words in the
//! log, conditions with certain words in them, runs of services.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::world::{SOON, World, tiny};

impl World {
    /// What the operator has logged so far.
    pub(crate) fn log(&self) -> String {
        self.host.journal("cb-operator")
    }

    /// What the operator has warned of so far.
    pub(crate) fn warnings(&self) -> String {
        let script = "journalctl --no-pager --unit cb-operator --priority warning";
        self.host
            .sh(script)
            .unwrap_or_else(|error| error.to_string())
    }

    /// Waits until the operator has warned with all of `words` in one line.
    pub(crate) fn wait_warned(&self, words: &[&str]) -> Result<String> {
        let what = format!("the log warns {words:?}");
        let line = self.host.wait_until(&what, SOON, || {
            let log = self.warnings();
            let line = log
                .lines()
                .find(|line| words.iter().all(|word| line.contains(word)));
            line.map(str::to_owned).ok_or_else(|| tail(&log))
        })?;
        Ok(line)
    }

    /// Waits until a condition's line starts with `start` and has all of
    /// `words` in it.
    pub(crate) fn wait_words(
        &self,
        (tenant, kind): (&str, &str),
        start: &str,
        words: &[&str],
    ) -> Result<String> {
        let what = format!("{kind} of {tenant} is {start} with {words:?}");
        let found = self.host.wait_until(&what, SOON, || {
            let line = self
                .condition(tenant, kind)
                .map_err(|error| format!("{error:#}"))?;
            let good = line.starts_with(start) && words.iter().all(|word| line.contains(word));
            if good { Ok(line) } else { Err(line) }
        });
        found.with_context(|| tail(&self.log()))
    }

    /// Waits until a shell command succeeds.
    pub(crate) fn wait_sh(&self, what: &str, script: &str) -> Result<()> {
        self.host
            .wait_until(what, SOON, || self.host.sh(script))
            .map(drop)
            .with_context(|| tail(&self.log()))
    }

    /// The current run of a tenant's services.
    pub(crate) fn runs(&self, tenant: &str) -> Result<Vec<String>> {
        let unit = |service| {
            self.host.sh(&format!(
                "systemctl show -P ActiveState -P InvocationID -P MainPID {tenant}-{service}.service"
            ))
        };
        let runs = vec![unit("api")?, unit("frontend")?];
        if let Some(run) = runs.iter().find(|run| !run.contains("active\n")) {
            bail!("a service of {tenant} does not run: {run}");
        }
        Ok(runs)
    }

    /// Writes many tenants at once.
    pub(crate) fn put_many(&self, names: &[&str]) -> Result<()> {
        for name in names {
            self.put_tiny(name, "")?;
        }
        Ok(())
    }

    /// Waits until all of these tenants are ready and serve.
    pub(crate) fn wait_served(&self, names: &[&str]) -> Result<()> {
        for name in names {
            self.wait_ready(name)?;
            let page = self.page(name)?;
            let wanted = format!("{name} v1 on /\n");
            assert!(page == wanted, "{page}\n{}", tail(&self.log()));
        }
        Ok(())
    }

    /// Whether the API knows the tenant.
    pub(crate) fn is_known(&self, tenant: &str) -> Result<bool> {
        Ok(self.tenant(tenant)?["kind"] == "Tenant")
    }

    /// Waits until the API does not know the tenant any more.
    pub(crate) fn wait_gone(&self, tenant: &str) -> Result<()> {
        let what = format!("{tenant} is gone");
        let gone = self
            .host
            .wait_until(&what, SOON, || match self.is_known(tenant) {
                Ok(false) => Ok(()),
                other => Err(format!("{other:?}")),
            });
        gone.with_context(|| tail(&self.log()))
    }

    /// Changes one tenant and waits until the change is brought about: the
    /// operator has read the folder since, and goes on.
    pub(crate) fn goes_on(&self, tenant: &str) -> Result<()> {
        let generation = self.tenant(tenant)?["metadata"]["generation"].clone();
        let text = tiny(tenant, &format!("env: {{SEEN: \"after {generation}\"}}"));
        self.put(&format!("{tenant}.yaml"), &text)?;
        self.host.wait_until("the change is seen", SOON, || {
            let seen = self.tenant(tenant).map_err(|error| format!("{error:#}"))?;
            let later = seen["metadata"]["generation"].as_u64() > generation.as_u64();
            if later && seen["status"]["observedGeneration"] == seen["metadata"]["generation"] {
                Ok(())
            } else {
                Err(seen["metadata"].to_string())
            }
        })?;
        self.wait_ready(tenant)
    }

    /// The ports of a tenant: frontend, api.
    pub(crate) fn ports(&self, tenant: &str) -> Result<(u64, u64)> {
        let ports: Value = self.tenant(tenant)?["status"]["ports"].clone();
        match (ports["frontend"].as_u64(), ports["api"].as_u64()) {
            (Some(frontend), Some(api)) => Ok((frontend, api)),
            _ => bail!("{tenant} has ports {ports}"),
        }
    }

    /// Content and metadata of files, to tell that nobody touched them.
    pub(crate) fn sums(&self, paths: &[&str]) -> Result<String> {
        let paths = paths.join(" ");
        let script = format!(
            "for p in {paths}; do stat -c '%n %i %y %a %U %F' $p; done; cat {paths} | sha256sum"
        );
        Ok(self.host.sh(&script)?)
    }
}

/// The end of a text.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
