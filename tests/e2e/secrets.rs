//! Secrets, environments and the shared services.

mod credentials;
mod named;
mod repository;

use anyhow::Result;
use serde_json::json;

use crate::world::{TINY, World};

/// A Host with the shared services.
const HOST: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: test}
spec:
  resync: {periodSeconds: 2}
  sharedServices:
    i360: {path: /srv/i360/voters.duckdb}
    ollama: {url: 'http://127.0.0.1:11434'}
";

/// Hard to quote, in every language that is between a manifest and a process.
const ODD: &str = "q\"u'o\\t$HOME ${PATH} $(id) `id` %n %% ü漢🗳 a=b;c #d \\\\ \\n \\\" ! ~ * <&>| ";

impl World {
    /// A variable of a service's process, as the kernel has it.
    fn variable(&self, unit: &str, name: &str) -> Result<String> {
        let pid = self.show(unit, "MainPID")?;
        let all = self.host.read(&format!("/proc/{pid}/environ"))?;
        let prefix = format!("{name}=");
        let found = all
            .split(|byte| *byte == 0)
            .filter_map(|entry| std::str::from_utf8(entry).ok()?.strip_prefix(&prefix));
        Ok(found.map(str::to_owned).collect::<Vec<_>>().join("\n"))
    }

    /// Where on the host a text is found, without it being in any argument; but
    /// for what systemd gives running services.
    fn found(&self, text: &str) -> Result<String> {
        self.host.push(text.as_bytes(), "/root/pattern", 0o600)?;
        Ok(self.host.sh(
            "{ grep -D skip -rlF -f /root/pattern --exclude=pattern /etc /home /opt/cb/manifests /root \
                 $(ls -d /run/* | grep -vx /run/credentials) /srv /tmp /usr/local /var 2>/dev/null || :\n\
             journalctl --no-pager -o export | grep -qaF -f /root/pattern && echo journal || :\n\
             grep -lF -f /root/pattern /proc/[0-9]*/cmdline || :\n\
             for u in ky04-api ky04-frontend; do systemctl show $u; systemctl cat $u; done | grep -qF -f /root/pattern && echo systemctl || :\n\
             } | LC_ALL=C sort",
        )?)
    }
}

/// Law 11: a secret is in the tenant's `.env` and its processes, and nowhere
/// else, whatever happens to its file.
#[test]
fn a_secret_is_where_it_belongs_and_nowhere_else() -> Result<()> {
    let world = World::running("secret")?;
    let first = format!("hunter2-first {ODD}");
    let files = "/etc/cb/secrets/ky04";
    world
        .host
        .push(format!("{first}\n").as_bytes(), files, 0o600)?;
    let refs = format!("secretRefs: [{{name: API_TOKEN, file: {files}, delivery: Environment}}]");
    world.put_tiny("ky04", &refs)?;
    world.wait_ready("ky04")?;
    assert_eq!(world.variable("ky04-api", "API_TOKEN")?, first);
    let port = world.tenant("ky04")?["status"]["ports"]["api"].clone();
    let told = world
        .host
        .curl(&[&format!("http://127.0.0.1:{port}/env")])?;
    assert!(
        told.body.contains(&format!("API_TOKEN={first}\n")),
        "{}",
        told.body
    );
    let env = "/etc/cb/tenants/ky04/.env";
    assert_eq!(
        world.host.sh(&format!("stat -c '%a %U:%G' {env}"))?,
        "600 root:root\n"
    );

    // In a plan that changes it too: "changed" is all that is said.
    let second = "hunter2-second";
    let plan = |text: Option<String>| -> Result<String> {
        let manifests = text.map(|text| json!({"name": "ky04.yaml", "text": text}));
        let body = json!({"manifests": manifests.into_iter().collect::<Vec<_>>()}).to_string();
        let answer = world.post("/operator/v1/plan", &body)?;
        assert_eq!(answer.status, 200, "{}", answer.body);
        Ok(answer.body)
    };
    let mut told = plan(None)?;
    told += &plan(Some(crate::world::tiny(
        "ky04",
        &format!("{refs}\nenv: {{NEW: x}}"),
    )))?;
    assert!(told.contains("WriteFile"), "{told}");
    for path in [
        "tenants",
        "tenants/ky04",
        "tenants/ky04/status",
        "applications",
        "hosts",
    ] {
        told += &world
            .api(&format!("/apis/campaignbrain.io/v1alpha1/{path}"))?
            .to_string();
    }
    assert!(!told.contains("hunter2"), "{told}");
    assert!(told.contains("API_TOKEN"), "{told}");
    assert_eq!(world.found("hunter2")?, format!("{files}\n{env}\n"));

    // A new value is taken up, and the old one is gone.
    let run = world.show("ky04-api", "InvocationID")?;
    world.host.push(second.as_bytes(), files, 0o600)?;
    world.reconcile("ky04")?;
    world.wait_ready("ky04")?;
    assert_eq!(world.variable("ky04-api", "API_TOKEN")?, second);
    assert_eq!(world.variable("ky04-frontend", "API_TOKEN")?, second);
    assert_ne!(world.show("ky04-api", "InvocationID")?, run);
    assert_eq!(world.found("hunter2-first")?, "");
    assert_eq!(world.found(second)?, format!("{files}\n{env}\n"));

    // A missing or unusable file is told by file and variable; services go on.
    let run = world.show("ky04-api", "InvocationID")?;
    world.host.sh(&format!("rm {files}"))?;
    world.reconcile("ky04")?;
    let line = world.wait_condition("ky04", "SecretsReady", "False")?;
    for word in [files, "API_TOKEN"] {
        assert!(line.contains(word), "{line}");
    }
    world.host.push(b"hunter2-third\nline\n", files, 0o600)?;
    world.reconcile("ky04")?;
    world.waits("the condition names the line break", || {
        let line = world.condition("ky04", "SecretsReady")?;
        Ok(line.contains("one line") && line.contains(files) && !line.contains("hunter2"))
    })?;
    assert_eq!(world.found("hunter2-third")?, format!("{files}\n"));
    assert_eq!(world.show("ky04-api", "InvocationID")?, run);
    assert_eq!(world.page("ky04")?, "ky04 v1 on /\n");
    world.host.push(second.as_bytes(), files, 0o600)?;
    world.wait_ready("ky04")?;
    assert_eq!(
        world.show("ky04-api", "InvocationID")?,
        run,
        "nothing had changed"
    );
    assert_eq!(world.found("hunter2-third")?, "");
    Ok(())
}

/// Law 10: what is written in a manifest is what the process gets.
#[test]
fn an_environment_arrives_as_it_was_written() -> Result<()> {
    let world = World::running("env")?;
    let values = [
        ODD, "", " ", "$", "\\", "'", "\"", "a\u{a0}b", "#", "x=y", "%i", "line\\", "-",
    ];
    let spec: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(n, value)| format!("  V{n}: {}", json!(value)))
        .collect();
    let more = format!(
        "displayName: {}\nenv:\n{}",
        json!("O'Neill \"$x\" 100%"),
        spec.join("\n")
    );
    world.put_tiny("ky04", &more)?;
    world.wait_ready("ky04")?;
    for (n, value) in values.iter().enumerate() {
        assert_eq!(
            world.variable("ky04-api", &format!("V{n}"))?,
            *value,
            "V{n}"
        );
    }
    let name = world.variable("ky04-api", "CB_DISPLAY_NAME")?;
    assert_eq!(name, "O'Neill \"$x\" 100%");
    Ok(())
}

/// The shared voter database is read-only for those that ask for it and hidden
/// from the others; while it is missing, only those that ask are not ready
/// (law 4). The LLM's address is in every environment.
#[test]
fn shared_services_reach_the_tenants_that_use_them() -> Result<()> {
    let world = World::installed("shared")?;
    let file = "/srv/i360/voters.duckdb";
    world.put("tiny.yaml", TINY)?;
    world
        .host
        .push(HOST.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
    world.host.push(b"voters", file, 0o644)?;
    world.start()?;
    world.put_tiny("ky04", "database: {i360: true}")?;
    world.put_tiny("oh09", "")?;
    for name in ["ky04", "oh09"] {
        world.wait_ready(name)?;
        let url = world.variable(&format!("{name}-api"), "OLLAMA_URL")?;
        assert!(url.starts_with("http://127.0.0.1:11434"), "{url}");
    }
    let as_tenant = |name: &str, script: &str| -> Result<Option<i32>> {
        let pid = world.show(&format!("{name}-api"), "MainPID")?;
        let user = format!("cb-{name}");
        Ok(world
            .host
            .exec(&[
                "nsenter",
                "-t",
                &pid,
                "-m",
                "setpriv",
                "--reuid",
                &user,
                "--regid",
                &user,
                "--clear-groups",
                "sh",
                "-c",
                script,
            ])?
            .code)
    };
    let read = format!("grep -q voters {file}");
    let harm = format!("echo x >>{file} || rm {file}");
    assert_eq!(world.variable("ky04-api", "I360_DATABASE_PATH")?, file);
    assert_eq!(world.variable("oh09-api", "I360_DATABASE_PATH")?, "");
    assert_eq!(as_tenant("ky04", &read)?, Some(0));
    assert_ne!(as_tenant("oh09", &read)?, Some(0));
    world
        .host
        .sh(&format!("chmod 666 {file}; chmod 777 /srv/i360"))?;
    assert_ne!(as_tenant("ky04", &harm)?, Some(0), "it is not read-only");
    assert_ne!(as_tenant("oh09", &read)?, Some(0));
    let shared = "SharedDatabaseReady";
    assert!(world.condition("ky04", shared)?.starts_with("True"));
    assert_eq!(world.condition("oh09", shared)?, "");

    let run = |name: &str| world.show(&format!("{name}-api"), "InvocationID");
    let before = (run("ky04")?, run("oh09")?);
    world.host.sh(&format!("mv {file} {file}.away"))?;
    let line = world.wait_condition("ky04", shared, "False Missing")?;
    assert!(line.contains(file), "{line}");
    assert!(world.condition("oh09", "Ready")?.starts_with("True"));
    assert_eq!(
        (run("ky04")?, run("oh09")?),
        before,
        "a missing file is no reason to restart"
    );
    assert_eq!(world.page("ky04")?, "ky04 v1 on /\n");

    // A service that was started without it gets it when it is there.
    world.host.sh("systemctl restart ky04-api ky04-frontend")?;
    world.wait_condition("ky04", "ServicesReady", "True")?;
    assert_ne!(as_tenant("ky04", &read)?, Some(0));
    world.host.sh(&format!("mv {file}.away {file}"))?;
    world.wait_condition("ky04", shared, "True")?;
    world.wait_ready("ky04")?;
    world.waits("the database can be read", || {
        Ok(as_tenant("ky04", &read)? == Some(0))
    })?;
    assert_eq!(run("oh09")?, before.1);
    Ok(())
}
