//! Sinks that a person reads: Slack, a webhook with a body of its own, a
//! program and mail, on a real host.

use anyhow::Result;
use serde_json::Value;

use super::{STALLED, world};
use crate::world::World;

/// Keeps what it gets. It is told nothing but the message.
const KEEP: &str = "#!/bin/sh\n{ id -un; echo \"$*\"; cat; echo; } >>/var/told/${0##*/}\n";

impl World {
    /// What a program was given so far.
    fn given(&self, program: &str) -> Result<String> {
        Ok(self
            .host
            .sh(&format!("cat /var/told/{program} 2>/dev/null || :"))?)
    }
}

/// Each kind of sink is told in its form that a tenant needs a person, and that
/// it no longer does.
#[test]
fn people_are_told_in_the_way_they_asked_for() -> Result<()> {
    let world = world(
        "sinks",
        "[{name: chat, slack: {urlFile: /etc/cb/slack-url}}, \
          {name: hook, webhook: {url: 'http://127.0.0.1:9999/hook', \
             body: '{\"title\": \"{{summary}}\", \"all\": {{message}}}'}}, \
          {name: script, command: {program: /usr/local/bin/page-me, arguments: [--team, web]}}, \
          {name: mail, email: {to: [ops@example.org], from: cb@example.org}}]",
    )?;
    world.host.push(
        b"http://127.0.0.1:9999/secret\n",
        "/etc/cb/slack-url",
        0o600,
    )?;
    for program in ["/usr/local/bin/page-me", "/usr/sbin/sendmail"] {
        world.host.push(KEEP.as_bytes(), program, 0o755)?;
    }
    world
        .host
        .sh("mkdir -p /var/told && chmod 1777 /var/told")?;
    world.receive()?;
    world.start()?;

    for (more, word) in [(STALLED, "FIRING"), ("", "RESOLVED")] {
        world.put_tiny("ky04", more)?;
        let summary = format!("[{word}] NotConfigured: tenant ky04 on test");
        let received = |is: &dyn Fn(&Value) -> bool| -> Result<bool> {
            Ok(world.received("accepted")?.iter().any(|(_, m)| is(m)))
        };
        world.waits("Slack is told", || {
            received(&|m| m["text"].as_str().is_some_and(|t| t.contains(&summary)))
        })?;
        world.waits("the webhook is told", || {
            received(&|m| m["title"] == summary.as_str() && m["all"]["host"] == "test")
        })?;
        world.waits("the program is told", || {
            let told = world.given("page-me")?;
            Ok(told.starts_with("nobody\n--team web\n") && told.contains(&summary))
        })?;
        world.waits("a mail is sent", || {
            let told = world.given("sendmail")?;
            Ok(told.contains("-oi -f cb@example.org ops@example.org\n")
                && told.contains(&format!("\nSubject: {summary}\n")))
        })?;
    }
    // The URL is a secret.
    let shown = world.host.sh(
        "cbctl alerts -o json; cbctl events; journalctl -u cb-operator; \
         grep -rs 9999/secret /var/lib/cb/alerts /etc/cb/manifests || :",
    )?;
    assert!(!shown.contains("9999/secret"), "{shown}");
    Ok(())
}
