//! What each role may do and what not, over the real port.

use anyhow::Result;

use super::remote::{Remote, TENANTS, labelled};

/// A request, its body, and how far the roles `view`, `edit` and `admin` come:
/// whether they are let in at all.
type Case<'a> = ((&'a str, &'a str), &'a str, [bool; 3]);

const READERS: [bool; 3] = [true, true, true];
const WRITERS: [bool; 3] = [false, true, true];
const ADMINISTRATORS: [bool; 3] = [false, false, true];

/// Law 11 and 12: each role does what it says, is told what it may not do, and
/// without a token there is nothing; what was tried is noted with who tried it.
#[test]
fn each_role_reaches_as_far_as_it_says() -> Result<()> {
    let remote = Remote::running("roles")?;
    let roles = ["view", "edit", "admin"];
    let mut tokens = Vec::new();
    for role in roles {
        tokens.push(remote.token(role, &format!("--role {role}"))?);
    }
    let ky04 = format!("{TENANTS}/ky04");
    let trying = format!("{TENANTS}/ky04?dryRun=All");
    let applications = "/apis/campaignbrain.io/v1alpha1/applications";
    let tiny = format!("{applications}/tiny?dryRun=All");
    let new: serde_json::Value = serde_yaml::from_str(&labelled("wy01", "stable"))?;
    let new = new.to_string();
    let create = format!("{TENANTS}?dryRun=All");
    let host = "/apis/campaignbrain.io/v1alpha1/hosts/test";
    let label = r#"{"metadata": {"labels": {"seen": "yes"}}}"#;
    let cases: &[Case<'_>] = &[
        (("GET", TENANTS), "", READERS),
        (("GET", &ky04), "", READERS),
        (("GET", applications), "", READERS),
        (("GET", host), "", READERS),
        (("GET", "/apis/events.k8s.io/v1/events"), "", READERS),
        (("GET", "/api/tenants/ky04/version"), "", READERS),
        (("GET", "/api/tenants/ky04/backups"), "", READERS),
        (("GET", "/operator/v1/rollouts"), "", READERS),
        (("GET", "/operator/v1/source"), "", READERS),
        (("GET", "/operator/v1/alerts"), "", READERS),
        (("GET", "/operator/v1/usage"), "", READERS),
        (("GET", "/metrics"), "", READERS),
        (("POST", "/operator/v1/plan"), "{}", READERS),
        (("PATCH", &trying), label, WRITERS),
        (("POST", &create), &new, WRITERS),
        (("DELETE", &trying), "", WRITERS),
        (("PATCH", &tiny), label, WRITERS),
        (("POST", "/operator/v1/tenants/ky04/reconcile"), "", WRITERS),
        (("POST", "/operator/v1/tenants/ky04/restart"), "", WRITERS),
        (
            ("POST", "/api/tenants/ky04/upgrade"),
            r#"{"target_version": "v9"}"#,
            WRITERS,
        ),
        (("POST", "/api/tenants/ky04/retry"), "", WRITERS),
        (
            ("POST", "/api/tenants/ky04/restore"),
            r#"{"backup": "none"}"#,
            WRITERS,
        ),
        (("POST", "/operator/v1/rollouts"), "{}", WRITERS),
        (("PATCH", host), label, WRITERS),
        (("GET", "/operator/v1/tokens"), "", ADMINISTRATORS),
        (("POST", "/operator/v1/tokens"), "{}", ADMINISTRATORS),
        (("DELETE", "/operator/v1/tokens/none"), "", ADMINISTRATORS),
        (("GET", "/operator/v1/audit"), "", ADMINISTRATORS),
        (("GET", "/operator/v1/access"), "", ADMINISTRATORS),
        (("POST", "/operator/v1/source/sync"), "", ADMINISTRATORS),
        (("POST", "/operator/v1/source/accept"), "{}", ADMINISTRATORS),
        (("POST", "/operator/v1/alerts/test"), "{}", ADMINISTRATORS),
        (("POST", "/operator/v1/nothing"), "", ADMINISTRATORS),
    ];
    for (request, body, let_in) in cases {
        for (n, role) in roles.iter().enumerate() {
            let answer = remote.ask(&tokens[n], *request, body)?;
            let refused = [401, 403].contains(&answer.status);
            assert_eq!(!refused, let_in[n], "{role}: {request:?}: {}", answer.body);
            if refused {
                let named = format!("User \"token:{role}\" cannot");
                assert!(
                    answer.body.replace('\\', "").contains(&named),
                    "{}",
                    answer.body
                );
            }
        }
        for wrong in ["", "cbt_0000"] {
            let answer = remote.ask(wrong, *request, body)?;
            assert_eq!(answer.status, 401, "{request:?}: {}", answer.body);
        }
    }
    assert_eq!(remote.get("", "/readyz")?.status, 200);
    // Nobody wrote anything that was only tried.
    assert!(!remote.cbctl("get tn --show-labels")?.contains("seen"));
    assert_eq!(remote.cbctl("get tn -o name")?.lines().count(), 2);

    // The same for whoever comes by cbctl.
    let (world, host) = (&remote.world, &remote.world.host);
    host.sh("cbctl kubeconfig jo --role view >/root/jo; cbctl config set-context jo --kubeconfig /root/jo")?;
    for (line, word) in [
        ("label tn ky04 a=b", "cannot patch resource"),
        ("delete tn ky04", "cannot delete resource"),
        ("upgrade ky04 --to v2", "cannot create resource"),
        ("token list", "cannot get path"),
        ("audit", "cannot get path"),
    ] {
        let refused = host.exec(&["sh", "-c", &format!("cbctl --context jo {line}")])?;
        assert_eq!(refused.code, Some(1), "{line}: {refused:?}");
        assert!(
            refused.stderr.contains("(Forbidden)") && refused.stderr.contains(word),
            "{line}: {refused:?}"
        );
    }
    world.wait_ready("ky04")?;

    // Who, what and from where: by token, by process, and by nobody.
    let log = remote.cbctl("audit --tail 1000 --no-headers")?;
    let has = |words: &[&str]| {
        log.lines()
            .any(|line| words.iter().all(|word| line.contains(word)))
    };
    for words in [
        ["token:view", "127.0.0.1:", "/operator/v1/rollouts", "403"],
        ["token:edit", "127.0.0.1:", "/tenants/ky04/reconcile", "200"],
        ["token:edit", "127.0.0.1:", "/operator/v1/tokens", "403"],
        ["anonymous", "127.0.0.1:", "/operator/v1/tokens", "401"],
        ["token:jo", "127.0.0.1:", "/tenants/ky04", "403"],
        [
            "user:root",
            "socket, process",
            "/operator/v1/tokens/view",
            "201",
        ],
    ] {
        assert!(has(&words), "{words:?}: {log}");
    }
    assert!(!has(&["token:admin", "PATCH", "/tenants/ky04"]), "{log}");
    assert!(tokens.iter().all(|token| !log.contains(token)), "{log}");
    Ok(())
}

/// Law 8: over the socket it is the process and its user that are noted, and
/// whoever is not of the group does not come so far.
#[test]
fn changes_over_the_socket_are_noted_with_their_process() -> Result<()> {
    let remote = Remote::running("socketlog")?;
    let host = &remote.world.host;
    host.sh("useradd -G ops ann; useradd bob")?;
    let url = format!("http://operator{TENANTS}/ky04");
    let ask = format!(
        "echo $$; exec curl -s -o /dev/null -w '%{{http_code}}' --unix-socket /run/cb/operator.sock \
         -X PATCH -H 'Content-Type: application/merge-patch+json' \
         -d '{{\"metadata\": {{\"labels\": {{\"by\": \"ann\"}}}}}}' {url}"
    );
    let said = host.exec(&[
        "setpriv",
        "--reuid=ann",
        "--regid=ann",
        "--init-groups",
        "sh",
        "-c",
        &ask,
    ])?;
    let (process, code) = said.stdout.trim().split_once('\n').unwrap_or_default();
    assert_eq!(code, "200", "{said:?}");
    let log = remote.cbctl("audit --for tenant/ky04 -o json")?;
    let log: serde_json::Value = serde_json::from_str(&log)?;
    let entry = &log["items"][0];
    assert_eq!(entry["user"], "user:ann");
    assert_eq!(entry["from"], format!("socket, process {process}"));
    assert_eq!(
        (&entry["method"], &entry["code"]),
        (&"PATCH".into(), &200.into())
    );
    assert_eq!(entry["result"], "configured");

    let other = host.exec(&[
        "setpriv",
        "--reuid=bob",
        "--regid=bob",
        "--init-groups",
        "env",
        "HOME=/nonexistent",
        "cbctl",
        "label",
        "tn",
        "ky04",
        "by=bob",
        "--overwrite",
    ])?;
    assert_eq!(other.code, Some(1), "{other:?}");
    assert!(
        other.stderr.contains("/run/cb/operator.sock") && other.stderr.contains("hint: "),
        "{other:?}"
    );
    assert!(remote.cbctl("get tn -l by=ann -o name")?.contains("ky04"));
    Ok(())
}
