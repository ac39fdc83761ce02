//! Who may do what and who did it, and how contexts, colours and the words of
//! shells are found, with the real operator.

use anyhow::Result;

use crate::world::{TINY, World};

const HOST: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: test}
spec:
  api: {listen: 127.0.0.1:9646}
";

fn ends(world: &World, line: &str, code: i32) -> Result<String> {
    let output = world.host.exec(&["bash", "-c", &format!("cbctl {line}")])?;
    let said = format!("{}{}", output.stdout, output.stderr);
    assert_eq!(output.code, Some(code), "cbctl {line}: {said}");
    Ok(said)
}

fn good(world: &World, line: &str) -> Result<String> {
    ends(world, line, 0)
}

fn running(hint: &str) -> Result<World> {
    let world = World::installed(hint)?;
    world
        .host
        .push(HOST.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
    world.put("tiny.yaml", TINY)?;
    world.put_tiny("ky04", "")?;
    world.put_tiny("oh09", "")?;
    world.start()?;
    world.wait_ready("ky04")?;
    world.wait_ready("oh09")?;
    Ok(world)
}

/// Law 8 and 11: who changed what is shown to administrators, by time, user and
/// object, and nothing secret with it.
#[test]
fn changes_are_shown_with_who_made_them() -> Result<()> {
    let world = running("audit")?;
    good(&world, "label tn ky04 ring=canary")?;
    let secret = good(
        &world,
        "token create ann --role edit --tenants oh09 --expires 1d",
    )?;
    good(
        &world,
        "token create bob --role view --selector ring=canary",
    )?;
    good(
        &world,
        "kubeconfig eve --role edit --tenants oh09 --expires 2h >/root/eve",
    )?;
    good(&world, "kubeconfig sue --selector ring=canary >/root/sue")?;
    let tokens = good(&world, "token list")?;
    for (name, words) in [
        ("ann", ["edit", "oh09"]),
        ("bob", ["view", "ring=canary"]),
        ("eve", ["edit", "oh09"]),
    ] {
        let line = tokens.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_default();
        assert!(words.iter().all(|word| line.contains(word)), "{tokens}");
    }

    // A context of a token and an authority, given apart.
    let token = secret.trim();
    world.host.sh(&format!(
        "umask 077; echo {token} >/root/token\n\
         sed -n 's/.*certificate-authority-data: //p' /root/eve | base64 -d >/root/ca.pem"
    ))?;
    good(
        &world,
        "config set-context far --server https://127.0.0.1:9646 --certificate-authority /root/ca.pem --token-file /root/token",
    )?;
    assert!(good(&world, "config get-contexts --no-headers")?.contains("far"));
    assert!(!good(&world, "config get-contexts --no-headers")?.contains("NAME"));
    good(&world, "--context far label tn oh09 ring=stable")?;
    let said = ends(&world, "--context far rollout restart ky04", 1)?;
    assert!(said.contains("(Forbidden)"), "{said}");
    // Whoever is no administrator does not read the log.
    let said = ends(&world, "--context far audit", 1)?;
    assert!(said.contains("(Forbidden)"), "{said}");
    good(&world, "config set-context sue --kubeconfig /root/sue")?;
    let seen = good(&world, "--context sue get tn -o name")?;
    assert_eq!(seen, "tenant.campaignbrain.io/ky04\n");

    assert!(good(&world, "source status")?.contains("/etc/cb/manifests"));

    let all = good(&world, "audit")?;
    assert!(all.starts_with("TIME"), "{all}");
    assert!(
        all.contains("user:root") && all.contains("token:ann"),
        "{all}"
    );
    assert!(all.contains("socket, process"), "{all}");
    assert!(!all.contains(token) && !all.contains("cbt_"), "{all}");
    let ann = good(&world, "audit --user ann --no-headers")?;
    let rows: Vec<&str> = ann.lines().collect();
    assert_eq!(rows.len(), 2, "{ann}");
    assert!(
        rows[0].contains("/tenants/oh09") && rows[0].contains("200"),
        "{ann}"
    );
    assert!(
        rows[1].contains("/tenants/ky04") && rows[1].contains("403"),
        "{ann}"
    );
    assert!(rows.iter().all(|row| row.contains("127.0.0.1:")), "{ann}");
    let about = good(&world, "audit --for tenant/ky04 -o json")?;
    let about: serde_json::Value = serde_json::from_str(&about)?;
    let users: Vec<_> = about["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| &item["user"])
        .collect();
    assert_eq!(users, ["user:root", "token:ann"]);
    let last = good(&world, "audit --tail 1 --no-headers --since 1h")?;
    assert_eq!(last.lines().count(), 1, "{last}");
    let later = "--now 2030-01-01T00:00:00Z audit --since 1s";
    assert!(good(&world, later)?.contains("No changes found"));
    let yaml = good(&world, "audit --user token:ann --since 1h -o yaml")?;
    assert!(
        yaml.contains("user: token:ann") && !yaml.contains("user:root"),
        "{yaml}"
    );
    Ok(())
}

/// Law 8: real shells complete kinds, options and the names that the operator
/// has at that moment.
#[test]
fn shells_complete_the_names_of_tenants() -> Result<()> {
    let world = running("shells")?;
    let tries = [
        ("cbctl get ten", "tenants"),
        ("cbctl get tenant ky", "ky04"),
        ("cbctl logs o", "oh09"),
    ];
    for (typed, wanted) in tries {
        let (before, last) = typed.rsplit_once(' ').unwrap_or_default();
        let count = before.split(' ').count();
        let bash = format!(
            "source <(cbctl completion bash); COMP_WORDS=({typed}); COMP_CWORD={count}; \
             COMP_TYPE=9; _clap_complete_cbctl cbctl '{last}'; echo \"${{COMPREPLY[@]}}\""
        );
        let said = world.host.exec(&["bash", "-c", &bash])?;
        assert!(said.stdout.contains(wanted), "bash, {typed}: {said:?}");

        let fish = format!("cbctl completion fish | source; complete -C '{typed}'");
        let said = world.host.exec(&["fish", "-c", &fish])?;
        assert!(said.stdout.contains(wanted), "fish, {typed}: {said:?}");

        // zsh completes at a terminal alone: a key is pressed at one, and what
        // stands on the line then is echoed by Enter.
        let zsh = format!(
            "zmodload zsh/zpty\n\
             zpty -b z 'zsh -f -i'\n\
             zpty -w z 'PS1=; autoload -Uz compinit; compinit -u; source <(cbctl completion zsh); print -r -- rea\"dy\"'\n\
             zpty -r z out '*ready*'\n\
             zpty -n -w z $'{typed}\\t'\n\
             zpty -r z out '*{wanted}*' && print -r -- \"$out\"\n"
        );
        let said = world
            .host
            .exec(&["timeout", "30", "zsh", "-f", "-c", &zsh])?;
        assert!(said.stdout.contains(wanted), "zsh, {typed}: {said:?}");
    }
    for line in [
        "completion zsh",
        "completion fish",
        "completion elvish",
        "completion powershell",
    ] {
        assert!(good(&world, line)?.contains("cbctl"), "{line}");
    }
    Ok(())
}

/// Colours are for a person at a terminal who wants them.
#[test]
fn colours_are_for_a_terminal_alone() -> Result<()> {
    let world = running("colours")?;
    let at_terminal = |words: &str| {
        let script = format!("env {words} TERM=xterm script -qec 'cbctl doctor' /dev/null");
        world.host.sh(&script)
    };
    let escape = '\u{1b}';
    assert!(
        at_terminal("")?.contains(escape),
        "no colours at a terminal"
    );
    assert!(!at_terminal("NO_COLOR=1")?.contains(escape));
    assert!(!good(&world, "doctor")?.contains(escape));
    let dumb = world
        .host
        .sh("TERM=dumb script -qec 'cbctl doctor' /dev/null")?;
    assert!(!dumb.contains(escape), "{dumb}");
    Ok(())
}
