//! The real `kubectl` with the real operator: what people know for Kubernetes'
//! objects works on these, with a `kubectl` of today and with one of years ago.
//!
//! kubectl speaks HTTP over TCP, so a relay on the host's loopback address
//! leads it to the operator's socket.

use anyhow::{Context as _, Result};
use cb_testhost::{Output, Running};
use serde_json::Value;

use crate::world::{World, tiny};

/// A relay from TCP to the socket, of systemd itself.
const RELAY: &str = "\
cat >/run/systemd/system/relay.socket <<'END'
[Socket]
ListenStream=127.0.0.1:8001
END
cat >/run/systemd/system/relay.service <<'END'
[Service]
ExecStart=/lib/systemd/systemd-socket-proxyd /run/cb/operator.sock
END
systemctl daemon-reload
systemctl start relay.socket
";

const SERVER: &str = "--server=http://127.0.0.1:8001";

/// The programs that people have: that of the test hosts' own release, 1.20, and
/// a newer one.
const OLD: &str = "kubectl";
const NEW: &str = "kubectl-1.32";

struct Kubectl {
    program: &'static str,
    world: World,
}

impl Kubectl {
    fn start(program: &'static str, hint: &str) -> Result<Self> {
        let world = World::running(hint)?;
        world.host.sh(RELAY)?;
        let kubectl = Self { program, world };
        let version = if program == NEW { "v1.32." } else { "v1.20." };
        has(&kubectl.told(&["version", "--client"])?, &[version]);
        Ok(kubectl)
    }

    fn run(&self, arguments: &[&str], input: &str) -> Result<Output> {
        let command = [&[self.program, SERVER], arguments].concat();
        Ok(self.world.host.exec_with(&command, input.as_bytes())?)
    }

    /// What it prints; it must succeed.
    fn told(&self, arguments: &[&str]) -> Result<String> {
        self.told_with(arguments, "")
    }

    fn told_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = self.run(arguments, input)?;
        let text = format!("{}{}", output.stdout, output.stderr);
        assert_eq!(
            output.code,
            Some(0),
            "{} {arguments:?}: {text}",
            self.program
        );
        Ok(text)
    }

    /// What it complains; it must fail.
    fn refused(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = self.run(arguments, input)?;
        let text = format!("{}{}", output.stdout, output.stderr);
        assert_ne!(
            output.code,
            Some(0),
            "{} {arguments:?}: {text}",
            self.program
        );
        Ok(text)
    }

    fn spawn(&self, arguments: &[&str]) -> Result<Running> {
        let command = [&[self.program, SERVER], arguments].concat();
        Ok(self.world.host.spawn(&command)?)
    }

    fn manifest(&self, name: &str) -> Result<String> {
        let path = format!("/etc/cb/manifests/{name}.yaml");
        Ok(String::from_utf8(self.world.host.read(&path)?)?)
    }
}

fn has(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "no `{wanted}` in:\n{text}");
    }
}

#[test]
fn kubectl_1_20_shows_and_explains_objects() -> Result<()> {
    shows(OLD)
}

#[test]
fn kubectl_1_32_shows_and_explains_objects() -> Result<()> {
    shows(NEW)
}

/// Law 8 and 12: everything that kubectl shows is there, in its own words.
fn shows(program: &'static str) -> Result<()> {
    let kubectl = Kubectl::start(program, "kubectl-get")?;
    let labelled = tiny("ky04", "").replace("{name: ky04}", "{name: ky04, labels: {ring: canary}}");
    kubectl.world.put("ky04.yaml", &labelled)?;
    kubectl.world.put_tiny("oh09", "")?;
    kubectl.world.waits("both are known", || {
        Ok(kubectl
            .told(&["get", "tenants", "-o", "name"])?
            .lines()
            .count()
            == 2)
    })?;
    let wait = [
        "wait",
        "--for=condition=Ready",
        "tenants",
        "--all",
        "--timeout=60s",
    ];
    let text = kubectl.told(&wait)?;
    let met = |name: &str| format!("tenant.campaignbrain.io/{name} condition met");
    has(&text, &[&met("ky04"), &met("oh09")]);

    let text = kubectl.told(&["api-resources"])?;
    has(
        &text,
        &["tenants", "tn", "campaignbrain.io", "Tenant", "events"],
    );
    let text = kubectl.told(&["get", "tenants"])?;
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[0],
        [
            "NAME",
            "APPLICATION",
            "VERSION",
            "RUNNING",
            "READY",
            "REASON",
            "AGE"
        ]
    );
    assert_eq!(rows[1][..6], ["ky04", "tiny", "v1", "v1", "True", "Ready"]);
    assert_eq!(rows.len(), 3);
    has(
        &kubectl.told(&["get", "tn", "ky04", "-o", "wide"])?,
        &["MESSAGE", "ky04"],
    );
    let text = kubectl.told(&["get", "tenants", "-l", "ring=canary", "-o", "name"])?;
    assert_eq!(text, "tenant.campaignbrain.io/ky04\n");
    let text = kubectl.told(&["get", "tenants", "-l", "ring!=canary", "--no-headers"])?;
    assert!(text.starts_with("oh09"), "{text}");
    let text = kubectl.told(&[
        "get",
        "tenants",
        "--field-selector=metadata.name=oh09",
        "-o",
        "name",
    ])?;
    assert_eq!(text, "tenant.campaignbrain.io/oh09\n");
    let json: Value =
        serde_json::from_str(&kubectl.told(&["get", "tenant", "ky04", "-o", "json"])?)?;
    assert_eq!(json["spec"]["version"], "v1");
    let yaml: Value =
        serde_yaml::from_str(&kubectl.told(&["get", "tenant", "ky04", "-o", "yaml"])?)?;
    assert_eq!(yaml["status"], json["status"]);
    let ready = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
    assert_eq!(
        kubectl.told(&["get", "tenant", "ky04", "-o", ready])?,
        "True"
    );
    let columns = "custom-columns=WHO:.metadata.name,WHAT:.spec.version";
    let text = kubectl.told(&["get", "tenants", "-o", columns, "--chunk-size=1"])?;
    assert_eq!(text, "WHO    WHAT\nky04   v1\noh09   v1\n");
    has(
        &kubectl.told(&["get", "applications,hosts"])?,
        &["application", "tiny", "host", "test"],
    );
    has(
        &kubectl.told(&["explain", "tenant.spec.version"])?,
        &["KIND:", "Tenant", "FIELD:", "version", "<string>"],
    );
    has(
        &kubectl.told(&["explain", "tenants.spec"])?,
        &["application", "driftPolicy", "-required-"],
    );
    has(
        &kubectl.told(&["describe", "tenant", "ky04"])?,
        &[
            "Name:",
            "ky04",
            "ring=canary",
            "Status:",
            "Events:",
            "ManifestAccepted",
        ],
    );
    has(
        &kubectl.told(&["get", "events"])?,
        &["LAST SEEN", "tenant/ky04"],
    );
    if program == NEW {
        let text = kubectl.told(&["events", "--for", "tenant/ky04"])?;
        has(&text, &["LAST SEEN", "Tenant/ky04", "Created"]);
        assert!(!text.contains("oh09"), "{text}");
    }
    let text = kubectl.refused(&["get", "tenant", "nobody"], "")?;
    assert_eq!(
        text,
        "Error from server (NotFound): tenants \"nobody\" not found\n"
    );
    Ok(())
}

#[test]
fn kubectl_1_20_changes_objects_and_keeps_manifests() -> Result<()> {
    changes(OLD)
}

#[test]
fn kubectl_1_32_changes_objects_and_keeps_manifests() -> Result<()> {
    changes(NEW)
}

/// Law 5 and 12: every way in which kubectl changes an object changes what it
/// names in the manifest, and nothing else there.
fn changes(program: &'static str) -> Result<()> {
    let kubectl = Kubectl::start(program, "kubectl-put")?;
    let text = format!("# Our first.\n{}", tiny("ky04", "env: {MODE: loud} # kept"));
    kubectl.world.put("ky04.yaml", &text)?;
    kubectl.world.wait_ready("ky04")?;
    let watch = kubectl.spawn(&["get", "tenants", "-w", "--no-headers", "-o", "name"])?;

    has(
        &kubectl.told(&["label", "tenant", "ky04", "ring=canary"])?,
        &["labeled"],
    );
    let labelled = text.replace("{name: ky04}", "{labels: {ring: canary}, name: ky04}");
    assert_eq!(kubectl.manifest("ky04")?, labelled);
    has(
        &kubectl.told(&["annotate", "tenant", "ky04", "note=hello"])?,
        &["annotated"],
    );
    kubectl.told(&["annotate", "tenant", "ky04", "note-"])?;
    kubectl.told(&["label", "tenant", "ky04", "ring-"])?;
    let patch = r#"{"spec":{"env":{"MODE":"quiet"}}}"#;
    has(
        &kubectl.told(&["patch", "tenant", "ky04", "--type=merge", "-p", patch])?,
        &["patched"],
    );
    let manifest = kubectl.manifest("ky04")?;
    has(
        &manifest,
        &["# Our first.\n", "env: {MODE: quiet} # kept\n"],
    );
    let patch = r#"[{"op":"replace","path":"/spec/env/MODE","value":"loud"}]"#;
    has(
        &kubectl.told(&["patch", "tenant", "ky04", "--type=json", "-p", patch])?,
        &["patched"],
    );
    let text = kubectl.refused(
        &["patch", "tenant", "ky04", "--type=strategic", "-p", "{}"],
        "",
    )?;
    has(
        &text,
        &["strategic merge patches are for Kubernetes' own types"],
    );
    let text = kubectl.refused(
        &[
            "patch",
            "tenant",
            "ky04",
            "--type=merge",
            "-p",
            r#"{"spec":{"versoin":"v2"}}"#,
        ],
        "",
    )?;
    has(
        &text,
        &[
            "The Tenant \"ky04\" is invalid",
            "`versoin`",
            "did you mean `version`",
        ],
    );
    // Nothing keeps an object from being removed, so nobody may believe so.
    let patch = r#"{"metadata":{"finalizers":["example.org/mine"]}}"#;
    let text = kubectl.refused(
        &["patch", "tenant", "ky04", "--type=merge", "-p", patch],
        "",
    )?;
    has(&text, &["`finalizers`"]);
    let stale = r#"{"metadata":{"resourceVersion":"5"},"spec":{"suspend":true}}"#;
    let text = kubectl.refused(
        &["patch", "tenant", "ky04", "--type=merge", "-p", stale],
        "",
    )?;
    has(
        &text,
        &[
            "Error from server (Conflict)",
            "Operation cannot be fulfilled on tenants",
        ],
    );

    // An editor that is a script.
    kubectl.world.host.push(
        b"#!/bin/sh\nsed -i 's/MODE: loud/MODE: edited/' \"$1\"\n",
        "/root/editor",
        0o755,
    )?;
    let script = format!("KUBE_EDITOR=/root/editor {program} {SERVER} edit tenant ky04");
    has(&kubectl.world.host.sh(&script)?, &["edited"]);
    has(
        &kubectl.manifest("ky04")?,
        &["env: {MODE: edited} # kept\n"],
    );

    // Apply as kubectl did it first: what it sent is not kept in the manifest.
    let object = tiny("oh09", "env: {A: '1', B: '2'}");
    let apply = ["apply", "-f", "-"];
    has(&kubectl.told_with(&apply, &object)?, &["oh09 created"]);
    has(&kubectl.told_with(&apply, &object)?, &["oh09 unchanged"]);
    let less = object.replace(", B: '2'", "");
    let diff = kubectl.refused(&["diff", "-f", "-"], &less)?;
    has(&diff, &["-    B: \"2\""]);
    has(&kubectl.manifest("oh09")?, &["B:"]);
    has(&kubectl.told_with(&apply, &less)?, &["oh09 configured"]);
    let manifest = kubectl.manifest("oh09")?;
    assert!(
        !manifest.contains("B:") && !manifest.contains("kubectl"),
        "{manifest}"
    );
    let text = kubectl.refused(&apply, &object.replace("version:", "versoin:"))?;
    has(&text, &["versoin"]);

    has(
        &kubectl.told(&["delete", "tenant", "oh09"])?,
        &["\"oh09\" deleted"],
    );
    let text = kubectl.refused(&["delete", "tenant", "oh09"], "")?;
    has(
        &text,
        &["Error from server (NotFound): tenants \"oh09\" not found"],
    );
    kubectl.world.waits("the watch saw both", || {
        let seen = watch.log();
        Ok(seen.contains("tenant.campaignbrain.io/oh09") && seen.matches("ky04").count() > 4)
    })?;
    Ok(())
}

#[test]
fn kubectl_1_20_applies_on_the_servers_side() -> Result<()> {
    applies(OLD)
}

#[test]
fn kubectl_1_32_applies_on_the_servers_side() -> Result<()> {
    applies(NEW)
}

/// Law 3: what another manager has set is not taken from it without a word.
fn applies(program: &'static str) -> Result<()> {
    let kubectl = Kubectl::start(program, "kubectl-ssa")?;
    let apply = |manager: &str, text: &str, more: &[&str]| {
        let manager = format!("--field-manager={manager}");
        // What is not a whole object fails kubectl's own check.
        let fixed = [
            "apply",
            "--server-side",
            "--validate=false",
            "-f",
            "-",
            &manager,
        ];
        kubectl.run(&[&fixed, more].concat(), text)
    };
    let first = apply("platform", &tiny("ky04", ""), &[])?;
    has(&first.stdout, &["ky04 serverside-applied"]);
    let team = |value: &str| {
        format!(
            "apiVersion: campaignbrain.io/v1alpha1\nkind: Tenant\nmetadata: {{name: ky04}}\n\
             spec: {{env: {{MODE: {value}}}}}\n"
        )
    };
    let second = apply("team", &team("loud"), &[])?;
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    has(
        &kubectl.manifest("ky04")?,
        &["application: tiny", "MODE: loud"],
    );
    assert!(!kubectl.manifest("ky04")?.contains("managed"));
    // The newer kubectl shows them only if it is asked to, in words that the older
    // one does not know.
    let path = "/apis/campaignbrain.io/v1alpha1/tenants/ky04";
    let json: Value = serde_json::from_str(&kubectl.told(&["get", "--raw", path])?)?;
    let managers = json["metadata"]["managedFields"]
        .as_array()
        .context("managers")?;
    let names: Vec<_> = managers.iter().map(|m| m["manager"].as_str()).collect();
    assert_eq!(names, [Some("platform"), Some("team")]);

    let refused = apply("other", &team("quiet"), &[])?;
    assert_eq!(refused.code, Some(1));
    has(
        &refused.stderr,
        &["Apply failed with 1 conflict", "\"team\"", ".spec.env.MODE"],
    );
    let forced = apply("other", &team("quiet"), &["--force-conflicts"])?;
    assert_eq!(forced.code, Some(0), "{}", forced.stderr);
    has(&kubectl.manifest("ky04")?, &["MODE: quiet"]);
    let dry = apply("other", &team("shy"), &["--dry-run=server"])?;
    assert_eq!(dry.code, Some(0), "{}", dry.stderr);
    has(&kubectl.manifest("ky04")?, &["MODE: quiet"]);
    // What a manager no longer says goes.
    let none = team("x").replace("spec: {env: {MODE: x}}\n", "");
    let gone = apply("other", &none, &[])?;
    assert_eq!(gone.code, Some(0), "{}", gone.stderr);
    assert!(!kubectl.manifest("ky04")?.contains("MODE"));
    // A person who changes the file takes the field over.
    let edited = kubectl
        .manifest("ky04")?
        .replace("version: v1", "version: v2");
    kubectl.world.put("ky04.yaml", &edited)?;
    kubectl.world.waits("the edit is taken in", || {
        Ok(kubectl.world.tenant("ky04")?["spec"]["version"] == "v2")
    })?;
    let refused = apply("platform", &tiny("ky04", ""), &[])?;
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    has(&refused.stderr, &["\"manifest\"", ".spec.version"]);
    Ok(())
}
