//! What `cbctl` says of what is not there and of an operator that does not
//! answer: kubectl's words, where it looked, and what to do (law 12).

use anyhow::Result;

use crate::world::World;

/// Every command that names one tenant, with `NAME` for it, and the code that it
/// ends with if there is none.
const OF_A_TENANT: [(&str, i32); 25] = [
    ("get tenant NAME", 1),
    ("get tn/NAME -o yaml", 1),
    ("describe tenant NAME", 1),
    ("delete tenant NAME", 1),
    ("delete tn/NAME --dry-run=server", 1),
    ("edit tenant NAME", 1),
    ("patch tenant NAME -p {}", 1),
    ("label tenant NAME a=b", 1),
    ("annotate tn/NAME a=b", 1),
    ("suspend NAME", 1),
    ("resume tenant/NAME", 1),
    ("wait tenant/NAME --for=condition=Ready", 1),
    ("logs NAME", 1),
    ("top NAME", 1),
    ("diff NAME", 2),
    ("drift NAME", 2),
    ("upgrade NAME --to v2", 1),
    ("upgrade retry NAME", 1),
    ("rollout start NAME --to v2", 1),
    ("rollout restart NAME", 1),
    ("backup create NAME", 1),
    ("backup list NAME", 1),
    ("backup verify NAME b1", 1),
    ("backup delete NAME b1", 1),
    ("restore NAME b1", 1),
];

/// The other commands that ask the operator.
const OTHERS: [&str; 21] = [
    "get tenants",
    "get applications -o json",
    "get hosts -w",
    "describe application tiny",
    "delete application tiny",
    "label application tiny a=b",
    "apply -f /root/tiny.yaml",
    "delete -f /root/tiny.yaml",
    "wait tenants --all --for=condition=Ready",
    "events",
    "top",
    "ports",
    "alerts",
    "audit",
    "rollout list",
    "rollout status",
    "source status",
    "token list",
    "kubeconfig ann",
    "api-resources",
    "version",
];

#[test]
fn what_is_not_there_is_told_in_kubectls_words() -> Result<()> {
    let world = World::running("notfound")?;
    world.put_tiny("ky04", "")?;
    world.wait_ready("ky04")?;
    let ends = |line: &str, code: i32| -> Result<(String, String)> {
        let output = world
            .host
            .exec(&["sh", "-c", &format!("EDITOR=true cbctl {line}")])?;
        assert_eq!(output.code, Some(code), "cbctl {line}: {output:?}");
        Ok((output.stdout, output.stderr))
    };
    let mut wrong = Vec::new();
    for (line, code) in OF_A_TENANT {
        let line = line.replace("NAME", "nobody");
        let output = world
            .host
            .exec(&["sh", "-c", &format!("EDITOR=true cbctl {line}")])?;
        let said = output.stderr.lines().next().unwrap_or_default();
        let is_said = match line.starts_with("rollout start") {
            // There may be several.
            true => said.contains("there is no tenant `nobody`"),
            false => said == "Error from server (NotFound): tenants \"nobody\" not found",
        };
        if !is_said || output.code != Some(code) || !output.stdout.is_empty() {
            wrong.push((line, output));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for verb in ["get", "describe", "delete"] {
        let (_, stderr) = ends(&format!("{verb} application none"), 1)?;
        assert_eq!(
            stderr, "Error from server (NotFound): applications \"none\" not found\n",
            "{verb}"
        );
    }
    // What is there is shown beside what is not.
    let (stdout, stderr) = ends("get tenants ky04 nobody -o name", 1)?;
    assert_eq!(stdout, "tenant.campaignbrain.io/ky04\n");
    assert!(stderr.contains("tenants \"nobody\" not found"), "{stderr}");
    let (stdout, stderr) = ends("describe tn nobody ky04", 1)?;
    assert!(stdout.contains("ky04-api.service"), "{stdout}");
    assert!(stderr.contains("tenants \"nobody\" not found"), "{stderr}");
    // A name that is none, and a kind that is none, are errors of the words.
    let (_, stderr) = ends("get tennants", 2)?;
    assert!(
        stderr.contains("the server doesn't have a resource type \"tennants\""),
        "{stderr}"
    );
    world.wait_ready("ky04")
}

#[test]
fn an_operator_that_is_down_is_told_with_the_next_step() -> Result<()> {
    let world = World::installed("down")?;
    world
        .host
        .push(crate::world::TINY.as_bytes(), "/root/tiny.yaml", 0o644)?;
    let mut lines: Vec<String> = OF_A_TENANT
        .iter()
        .map(|(line, _)| line.replace("NAME", "ky04"))
        .collect();
    lines.extend(OTHERS.map(str::to_owned));
    let next = "hint: is the operator running? `systemctl status cb-operator` tells";
    let mut wrong = Vec::new();
    for line in lines {
        let output = world
            .host
            .exec(&["sh", "-c", &format!("EDITOR=true cbctl {line}")])?;
        let code = match line.split(' ').next() {
            Some("diff" | "drift") => 2,
            _ => 1,
        };
        let said = &output.stderr;
        let begins = "error: cannot reach the operator at /run/cb/operator.sock: ";
        if output.code != Some(code) || !said.starts_with(begins) || !said.contains(next) {
            wrong.push((line, output));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Where else it was looked for is told too.
    let said = world
        .host
        .exec(&["cbctl", "--server", "/run/other.sock", "get", "tn"])?;
    assert_eq!(said.code, Some(1), "{said:?}");
    let begins = "error: cannot reach the operator at /run/other.sock: ";
    assert!(said.stderr.starts_with(begins), "{said:?}");
    Ok(())
}
