//! Bad input is refused whole, with the place and the field; the host stays as
//! it is.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::world::{SOON, World, tiny};

/// A wrong manifest.
struct Wrong {
    text: String,
    /// The name in the URL of the PUT.
    name: String,
    /// What the answer says: the place, the field, what would be right.
    says: Vec<&'static str>,
    code: u16,
}

/// A manifest for `bad` with one thing replaced.
fn with(old: &str, new: &str, code: u16, says: &[&'static str]) -> Wrong {
    let text = tiny("bad", "env: {A: b}\nresources: {tasks: 9}");
    assert!(text.contains(old), "{old}");
    Wrong {
        text: text.replacen(old, new, 1),
        name: "bad".to_owned(),
        says: says.to_vec(),
        code,
    }
}

/// A manifest with this name, in its YAML form and as it is in a URL.
fn named(yaml: &str, url: &str, says: &[&'static str]) -> Wrong {
    let name = format!("metadata: {{name: {yaml}}}");
    Wrong {
        name: url.to_owned(),
        ..with("metadata: {name: bad}", &name, 422, says)
    }
}

fn wrongs() -> Vec<Wrong> {
    let long = "x".repeat(254);
    let domain = |domain: &str| format!("domains: [{domain}]");
    vec![
        with("spec:", "spec: [", 400, &["line ", "column "]),
        with(
            "tasks: 9",
            "tasks: lots",
            422,
            &[":9:22:", "spec.resources.tasks", "number"],
        ),
        with(
            "domains: [bad.example.org]",
            "domains: 7",
            422,
            &[":7:12:", "spec.domains"],
        ),
        with(
            "version:",
            "verison:",
            422,
            &[":6:3:", "no field `verison`", "`version`"],
        ),
        with(
            "env: {A: b}",
            "suspended: true",
            422,
            &[":8:3:", "no field `suspended`", "`suspend`"],
        ),
        with(
            "env: {A: b}",
            "status: {}",
            422,
            &[":8:3:", "no field `status`"],
        ),
        with("{A: b}", "{A: \"x\\ny\"}", 422, &[":8:12:", "spec.env.A"]),
        with("{A: b}", "{\"A;B\": x}", 422, &[":8:9:", "spec.env"]),
        with(
            "{A: b}",
            "{CB_TENANT: x}",
            422,
            &[":8:9:", "spec.env.CB_TENANT", "is set by"],
        ),
        with(
            "domains: [bad.example.org]",
            &domain("\"a.org; include /etc/shadow\""),
            422,
            &[":7:13:", "spec.domains[0]"],
        ),
        with(
            "domains: [bad.example.org]",
            &domain("good.example.org"),
            422,
            &[":7:13:", "spec.domains[0]", "tenant `good`"],
        ),
        with(
            "application: tiny",
            "application: \"../tiny\"",
            422,
            &[":5:16:", "spec.application"],
        ),
        with(
            "version: v1",
            "version: \"../../etc\"",
            422,
            &[":6:12:", "spec.version"],
        ),
        named("../x", "..%2Fx", &[":3:18:", "metadata.name"]),
        named("a b", "a%20b", &[":3:18:", "metadata.name"]),
        named("-x", "-x", &[":3:18:", "metadata.name"]),
        named("\"a\\nb\"", "a%0Ab", &[":3:18:", "metadata.name"]),
        named(&long, &long, &[":3:18:", "metadata.name", "254"]),
    ]
}

impl World {
    pub(crate) fn put_over_api(&self, name: &str, text: &str) -> Result<(u16, Value)> {
        self.host.push(text.as_bytes(), "/root/body.yaml", 0o600)?;
        let path = format!("/apis/campaignbrain.io/v1alpha1/tenants/{name}");
        let yaml = "Content-Type: application/yaml";
        let body = ["--data-binary", "@/root/body.yaml"];
        let how = ["--path-as-is", "-X", "PUT", "-H", yaml];
        let answer = self.ask(&path, &[&how[..], &body].concat())?;
        Ok((answer.status, answer.json()))
    }
}

/// Whether a message has a word. A place `:3:18:` may be written out, where the
/// text has no file.
fn said(message: &str, word: &str) -> bool {
    let place = word
        .strip_prefix(':')
        .and_then(|word| word.strip_suffix(':'));
    let written_out = place
        .and_then(|place| place.split_once(':'))
        .map(|(line, column)| format!("line {line}, column {column}:"));
    message.contains(word) || written_out.is_some_and(|place| message.contains(&place))
}

/// Without the status files: they are there to tell.
fn managed(world: &World) -> Result<String> {
    let all = world.fingerprint()?;
    let lines = all.lines().filter(|l| !l.contains("/etc/cb/manifests/"));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// Law 12 and 10, over the API.
#[test]
fn the_api_refuses_bad_input_and_changes_nothing() -> Result<()> {
    let world = World::running("badapi")?;
    world.put_tiny("good", "")?;
    world.wait_ready("good")?;
    let before = world.fingerprint()?;
    for wrong in wrongs() {
        let (code, answer) = world.put_over_api(&wrong.name, &wrong.text)?;
        let shown = format!("{}\n{answer:#}", wrong.text);
        assert_eq!(code, wrong.code, "{shown}");
        assert_eq!(
            (&answer["kind"], &answer["code"]),
            (&"Status".into(), &code.into())
        );
        let message = answer["message"].as_str().unwrap_or_default();
        let causes = answer["details"]["causes"].to_string();
        for word in wrong.says {
            assert!(said(message, word), "{word} is not in {message}\n{shown}");
            let field = word.starts_with("spec.") || word.starts_with("metadata.");
            assert!(!field || causes.contains(word), "{word} is not in {causes}");
        }
    }
    let good = tiny("good", "");
    let bodies: [(&str, &str, u16, &str); 5] = [
        ("other", &good, 400, "`other`"),
        ("good", &format!("{good}---\n{good}"), 400, "one object"),
        ("good", "", 400, "one object"),
        ("good", "just text", 400, "apiVersion"),
        (
            "good",
            &good.replace("kind: Tenant", "kind: Host"),
            400,
            "kind: Tenant",
        ),
    ];
    for (name, text, wanted, word) in bodies {
        let (code, answer) = world.put_over_api(name, text)?;
        assert_eq!(code, wanted, "{text}\n{answer:#}");
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(said(message, word), "{message}");
    }
    let path = "/apis/campaignbrain.io/v1alpha1/tenants/good";
    let form = world.ask(path, &["-X", "PUT", "-d", "a=b"])?;
    assert_eq!(form.status, 415, "{}", form.body);
    assert_eq!(world.fingerprint()?, before);
    assert!(world.condition("good", "Ready")?.starts_with("True"));
    Ok(())
}

/// Law 12, 2 and 4, through files.
#[test]
fn bad_files_are_told_and_the_last_good_state_stays() -> Result<()> {
    let world = World::running("badfiles")?;
    world.put_tiny("good", "")?;
    world.wait_ready("good")?;
    let before = managed(&world)?;
    let wrongs = wrongs();
    for (number, wrong) in wrongs.iter().enumerate() {
        let name = format!("metadata: {{name: bad{number}}}");
        let text = wrong.text.replace("metadata: {name: bad}", &name);
        world.put(&format!("wrong-{number}.yaml"), &text)?;
    }
    for (number, wrong) in wrongs.iter().enumerate() {
        let path = format!("/etc/cb/manifests/wrong-{number}.status.yaml");
        let told = world.host.wait_until("the file's error is told", SOON, || {
            let text = world.host.read(&path).map_err(|error| error.to_string())?;
            let status: Value = serde_yaml::from_slice(&text).map_err(|error| error.to_string())?;
            let line = crate::world::condition_in(&status["status"], "ManifestAccepted");
            match line.starts_with("False Refused ") {
                true => Ok(line),
                false => Err(line),
            }
        });
        let told = told.with_context(|| world.host.journal("cb-operator"))?;
        assert!(told.contains(&format!("wrong-{number}.yaml:")), "{told}");
        for word in &wrong.says {
            // Syntax errors of a file are told with its place like the others.
            if !["line ", "column "].contains(word) {
                assert!(said(&told, word), "{word} is not in {told}");
            }
        }
    }
    assert_eq!(managed(&world)?, before);

    // The last good version of a tenant goes on, and the next one is taken.
    world.put(
        "good.yaml",
        &tiny("good", "").replace("version: v1", "version: [v1"),
    )?;
    let seen = world.wait_condition("good", "ManifestAccepted", "False Refused")?;
    assert!(seen.contains("good.yaml:"), "{seen}");
    assert_eq!(managed(&world)?, before);
    assert_eq!(world.page("good")?, "good v1 on /\n");
    world.put(
        "good.yaml",
        &tiny("good", "").replace("version: v1", "version: v2"),
    )?;
    world.wait_ready("good")?;
    assert_eq!(world.page("good")?, "good v2 on /\n");

    // Files that are gone take their reports with them.
    world.host.sh("rm /etc/cb/manifests/wrong-*[0-9].yaml")?;
    world.host.wait_until("the reports are gone", SOON, || {
        let left = world
            .host
            .sh("ls /etc/cb/manifests")
            .map_err(|error| error.to_string())?;
        if left.contains("wrong") {
            Err(left)
        } else {
            Ok(())
        }
    })?;
    if managed(&world)?.contains("bad") {
        bail!("something of a refused tenant is on the host");
    }
    Ok(())
}
