//! A git repository of manifests: commits that take effect, and commits that
//! do not (laws 2, 3, 4, 8, 11 and 12).

mod several;
mod tags;

use anyhow::Result;
use serde_json::Value;

use crate::world::{TINY, World, tiny};

/// A person's clone is `/root/fleet`, the server's repository `/srv/git/fleet`.
const REPOSITORY: &str = "\
git config --global user.email dev@example.org; git config --global user.name dev
git config --global init.defaultBranch main; git config --global --add safe.directory '*'
git init -q --bare /srv/git/fleet; git clone -q /srv/git/fleet /root/fleet 2>/dev/null
mkdir /root/fleet/web1";

const CERTIFICATE: &[u8] = include_bytes!("tls/git-cert.pem");
const KEY: &[u8] = include_bytes!("tls/git-key.pem");

/// nginx as a server of repositories, with a password.
const SERVER: &str = "\
server {
    listen 443 ssl;
    server_name git.example.org;
    ssl_certificate /etc/ssl/git.pem;
    ssl_certificate_key /etc/ssl/git.key;
    auth_basic fleet;
    auth_basic_user_file /etc/nginx/fleet.passwd;
    root /srv/git;
}
";

/// A host that follows the repository.
struct Fleet {
    world: World,
}

impl Fleet {
    /// Installs the operator; the first commit has the Application and these
    /// tenants.
    fn installed(world: World, source: &str, tenants: &[&str]) -> Result<Self> {
        let fleet = Self { world };
        fleet.world.host.sh(REPOSITORY)?;
        fleet.write("tiny.yaml", TINY)?;
        for name in tenants {
            fleet.write(&format!("{name}.yaml"), &tiny(name, ""))?;
        }
        fleet.commit("first")?;
        fleet.follow(source)?;
        Ok(fleet)
    }

    /// Has the Host follow the repository, looking when it is asked to; `more`
    /// are further fields.
    fn follow(&self, more: &str) -> Result<()> {
        self.follow_every(3600, more)
    }

    /// As [`Fleet::follow`], with so many seconds between two looks.
    fn follow_every(&self, seconds: u32, more: &str) -> Result<()> {
        let text = format!(
            "apiVersion: campaignbrain.io/v1alpha1\nkind: Host\nmetadata: {{name: test}}\nspec:\n  \
             prune: {{delaySeconds: 1, maxPercent: 34}}\n  resync: {{periodSeconds: 5}}\n  \
             source: {{git: {{path: web1, intervalSeconds: {seconds}, {more}}}}}\n"
        );
        let host = &self.world.host;
        Ok(host.push(text.as_bytes(), "/etc/cb/host.yaml", 0o644)?)
    }

    /// Writes a file in the person's clone.
    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = format!("/root/fleet/web1/{file}");
        Ok(self.world.host.push(text.as_bytes(), &path, 0o644)?)
    }

    /// Commits all of the person's clone and pushes it; gives the commit.
    fn commit(&self, message: &str) -> Result<String> {
        self.git(&format!(
            "add -A; git commit -qm '{message}'; git push -q origin HEAD:main; git rev-parse HEAD"
        ))
    }

    fn git(&self, words: &str) -> Result<String> {
        let script = format!("cd /root/fleet; git {words}");
        Ok(self.world.host.sh(&script)?.trim().to_owned())
    }

    /// Runs `cbctl`, checks how it ends, and gives all that it printed.
    fn cbctl(&self, line: &str, code: i32) -> Result<String> {
        let words: Vec<&str> = ["cbctl"].into_iter().chain(line.split(' ')).collect();
        let output = self.world.host.exec(&words)?;
        let text = format!("{}{}", output.stdout, output.stderr);
        let log = self.world.log();
        assert_eq!(output.code, Some(code), "cbctl {line}\n{text}\n{log}");
        Ok(text)
    }

    /// The newest commit is in effect.
    fn takes(&self, commit: &str) -> Result<()> {
        let text = self.cbctl("source sync", 0)?;
        let applied = format!("Applied:     {commit}\n");
        assert!(text.contains(&applied), "{text}");
        self.world.wait_host_alerts(&[])
    }

    /// The newest commit is not in effect, with these words.
    fn refuses(&self, words: &[&str]) -> Result<String> {
        let text = self.cbctl("source sync", 1)?;
        for word in words {
            assert!(text.contains(word), "no {word} in {text}");
        }
        let state = text.lines().find_map(|line| line.strip_prefix("State:"));
        let state = state.unwrap_or_default().trim();
        let reason = match state {
            "Unreachable" => "SourceUnreachable",
            refused => refused,
        };
        self.world.waits("it is an alert", || {
            let text = self.cbctl("alerts", 0)?;
            Ok(text.contains(&format!("<none>   {reason}")))
        })?;
        Ok(text)
    }

    fn revision(&self, tenant: &str) -> Result<Value> {
        Ok(self.world.tenant(tenant)?["status"]["observedRevision"].clone())
    }

    fn wait_revision(&self, tenant: &str, commit: &str) -> Result<()> {
        let what = format!("{tenant} is at {commit}");
        self.world
            .waits(&what, || Ok(self.revision(tenant)? == commit))?;
        self.world.wait_ready(tenant)
    }
}

/// Laws 4 and 12: a commit changes what it says and restarts nothing else; one
/// with an error changes nothing, and says where it is.
#[test]
fn a_commit_is_how_tenants_change() -> Result<()> {
    let names = ["ky04", "oh09", "tx28"];
    let world = World::installed("source")?;
    let fleet = Fleet::installed(world, "repository: /srv/git/fleet", &names)?;
    let world = &fleet.world;
    world.start()?;
    world.wait_served(&names)?;
    let first = fleet.git("rev-parse HEAD")?;
    assert_eq!(fleet.revision("ky04")?, first.as_str());
    fleet.takes(&first)?;
    // Nothing is written into a commit, or to the folder that is not read.
    world.host.sh(
        "test -f /var/lib/cb/status/ky04.status.yaml; ! ls /etc/cb/manifests | grep .\n\
         ! ls /var/lib/cb/source/current/ | grep status",
    )?;
    let before = world.runs("oh09")?;

    fleet.write("ky04.yaml", &tiny("ky04", "env: {SEEN: two}"))?;
    let second = fleet.commit("two")?;
    fleet.takes(&second)?;
    fleet.wait_revision("ky04", &second)?;
    assert_eq!(fleet.revision("oh09")?, first.as_str());
    let events = fleet.cbctl("events", 0)?;
    let told = format!("the manifest in ky04.yaml of commit {second} is accepted");
    assert!(
        events.contains(&told) && events.contains("SourceApplied"),
        "{events}"
    );

    // Bad: nothing of it takes effect, the good part of it neither.
    fleet.write("ky04.yaml", &tiny("ky04", "").replace("domains", "domain"))?;
    fleet.write("wy01.yaml", &tiny("wy01", ""))?;
    let bad = fleet.commit("bad")?;
    let text = fleet.refuses(&[
        "State:       Invalid",
        &bad,
        &second,
        "did you mean `domains`",
    ])?;
    assert!(text.contains("web1/ky04.yaml:7:3: "), "{text}");
    assert!(!world.is_known("wy01")?);
    world.wait_warned(&["does not take effect", "web1/ky04.yaml:7:3"])?;
    assert!(fleet.cbctl("events", 0)?.contains("SourceRefused"));
    world.host.sh("systemctl restart cb-operator")?;
    fleet.refuses(&[&bad])?;
    world.wait_ready("ky04")?;
    assert_eq!(world.runs("oh09")?, before);

    fleet.write("ky04.yaml", &tiny("ky04", ""))?;
    let fix = fleet.commit("fix")?;
    fleet.takes(&fix)?;
    fleet.wait_revision("ky04", &fix)?;
    world.wait_served(&["ky04", "wy01"])?;

    // A file is moved, and a tenant renamed with its domain.
    fleet.git("mv -k web1/none web1/x; mkdir web1/eu; git mv web1/oh09.yaml web1/eu/oh09.yaml; git mv web1/tx28.yaml web1/tx29.yaml")?;
    let renamed = tiny("tx29", "").replace("tx29.example.org", "tx28.example.org");
    fleet.write("tx29.yaml", &renamed)?;
    let moved = fleet.commit("moved")?;
    fleet.takes(&moved)?;
    world.wait_gone("tx28")?;
    world.wait_ready("tx29")?;
    assert_eq!(world.page("tx28")?, "tx29 v1 on /\n");
    fleet.wait_revision("oh09", &moved)?;
    assert_eq!(world.runs("oh09")?, before);
    world.wait_sh(
        "the status moved with the manifest",
        "cd /var/lib/cb/status; test -f eu/oh09.status.yaml; ! test -e oh09.status.yaml",
    )?;

    // An upgrade is a commit, and whoever asks here is told which.
    let text = fleet.cbctl("upgrade ky04 --to v2", 1)?;
    let wanted = "commit `version: v2` to the spec of tenant `ky04` in web1/ky04.yaml there";
    assert!(
        text.contains(wanted) && text.contains("/srv/git/fleet"),
        "{text}"
    );
    fleet.git("mv -k x y; sed -i 's/version: v1/version: v2/' web1/ky04.yaml")?;
    world
        .host
        .sh("cp /root/fleet/web1/ky04.yaml /root/ky04.yaml")?;
    let text = fleet.cbctl("apply -f /root/ky04.yaml", 1)?;
    assert!(
        text.contains("commit tenant ky04 to web1/ky04.yaml there"),
        "{text}"
    );
    let text = fleet.cbctl("label tenant ky04 ring=canary", 1)?;
    assert!(
        text.contains("commit tenant ky04 to web1/ky04.yaml there"),
        "{text}"
    );
    let text = fleet.cbctl("delete tenant oh09", 1)?;
    assert!(
        text.contains("remove tenant oh09 with web1/eu/oh09.yaml there"),
        "{text}"
    );
    fleet.takes(&{ fleet.commit("upgrade")? })?;
    world.waits("ky04 serves v2", || {
        Ok(world.page("ky04")? == "ky04 v2 on /\n")
    })?;

    // Many go only when a person says so.
    fleet.git("rm -q web1/ky04.yaml web1/wy01.yaml")?;
    let less = fleet.commit("less")?;
    fleet.refuses(&[
        "TooManyRemoved",
        "removes ky04, wy01",
        "at most 1 of 4",
        &format!("cbctl source accept {less}"),
    ])?;
    world.wait_ready("wy01")?;
    fleet.cbctl(&format!("source accept {less}"), 0)?;
    world.wait_gone("ky04")?;
    world.wait_gone("wy01")?;
    assert_eq!(world.runs("oh09")?, before);
    fleet.takes(&less)
}

/// Laws 2 and 8: what is not a step forward, not signed or not there leaves
/// everything as it is.
#[test]
fn a_history_that_is_lost_waits_for_a_person() -> Result<()> {
    let options = |options: cb_testhost::Options| {
        options.bind_ro("/usr/bin/ssh-keygen", "/usr/local/bin/ssh-keygen")
    };
    let world = World::installed_with("history", options)?;
    let fleet = Fleet::installed(world, "repository: /srv/git/fleet", &["ky04"])?;
    let world = &fleet.world;
    world.start()?;
    world.wait_served(&["ky04"])?;
    let before = world.runs("ky04")?;
    fleet.write("oh09.yaml", &tiny("oh09", ""))?;
    let second = fleet.commit("two")?;
    fleet.takes(&second)?;

    // Set back; and forward again, which needs nobody.
    let first = fleet.git("rev-parse HEAD~1")?;
    fleet.git("push -qf origin HEAD~1:main")?;
    fleet.refuses(&["HistoryLost", &first, &second])?;
    world.wait_ready("oh09")?;
    fleet.git("push -q origin HEAD:main")?;
    fleet.takes(&second)?;

    // Rewritten.
    fleet.git("commit -q --amend -m rewritten; git push -qf origin HEAD:main")?;
    let rewritten = fleet.git("rev-parse HEAD")?;
    fleet.refuses(&["HistoryLost", &rewritten, "cbctl source accept"])?;
    let text = fleet.cbctl(&format!("source accept {first}"), 1)?;
    assert!(
        text.contains(&rewritten) && text.contains("waits"),
        "{text}"
    );
    fleet.cbctl(&format!("source accept {rewritten}"), 0)?;
    fleet.takes(&rewritten)?;

    // The server is down, and the operator is started again meanwhile.
    world.host.sh("mv /srv/git/fleet /srv/git/away")?;
    fleet.refuses(&["State:       Unreachable", "/srv/git/fleet", &rewritten])?;
    world.host.sh("systemctl restart cb-operator")?;
    world.wait_served(&["ky04", "oh09"])?;
    assert!(fleet.cbctl("events", 0)?.contains("SourceUnreachable"));
    world.host.sh("mv /srv/git/away /srv/git/fleet")?;
    fleet.write("oh09.yaml", &tiny("oh09", "env: {SEEN: later}"))?;
    let later = fleet.commit("later")?;
    fleet.takes(&later)?;
    fleet.wait_revision("oh09", &later)?;

    // Signatures.
    world
        .host
        .sh("ssh-keygen -q -t ed25519 -N '' -f /root/key\n\
         echo \"dev@example.org $(cat /root/key.pub)\" >/etc/cb/signers")?;
    fleet.follow("repository: /srv/git/fleet, verify: {allowedSignersFile: /etc/cb/signers}")?;
    world.host.sh("systemctl restart cb-operator")?;
    fleet.write("oh09.yaml", &tiny("oh09", "env: {SEEN: unsigned}"))?;
    let unsigned = fleet.commit("unsigned")?;
    fleet.refuses(&["Unsigned", &unsigned, "is not signed; /etc/cb/signers"])?;
    let text = fleet.cbctl(&format!("source accept {unsigned}"), 1)?;
    assert!(text.contains("cannot be accepted"), "{text}");
    fleet.git(
        "config gpg.format ssh; git config user.signingkey /root/key; git config commit.gpgsign true\n\
         git commit -q --amend -m signed; git push -qf origin HEAD:main",
    )?;
    let signed = fleet.git("rev-parse HEAD")?;
    fleet.takes(&signed)?;
    fleet.wait_revision("oh09", &signed)?;
    assert_eq!(world.runs("ky04")?, before);
    Ok(())
}

/// Law 11: what is asked for here becomes a commit, and a token that opens the
/// repository, or does not, is nowhere to be read.
#[test]
fn changes_are_committed_and_tokens_kept() -> Result<()> {
    let world = World::installed("writeback")?;
    let source = "repository: /srv/git/fleet, writeBack: true";
    let fleet = Fleet::installed(world, source, &["ky04"])?;
    let world = &fleet.world;
    world.start()?;
    world.wait_served(&["ky04"])?;

    // Somebody else's commit stays under it.
    fleet.write("tx28.yaml", &tiny("tx28", ""))?;
    fleet.commit("by a person")?;
    world.host.sh("chown -R cb_source: /srv/git/fleet")?;
    world
        .host
        .push(tiny("oh09", "").as_bytes(), "/root/oh09.yaml", 0o644)?;
    fleet.cbctl("apply -f /root/oh09.yaml", 0)?;
    world.wait_served(&["oh09", "tx28"])?;
    fleet.cbctl("upgrade ky04 --to v2", 0)?;
    world.waits("ky04 serves v2", || {
        Ok(world.page("ky04")? == "ky04 v2 on /\n")
    })?;
    fleet.cbctl("delete tenant tx28", 0)?;
    world.wait_gone("tx28")?;
    fleet.git("pull -q --no-rebase origin main")?;
    assert_eq!(
        fleet.git("log --format=%an")?,
        "cb-operator\ncb-operator\ncb-operator\ndev\ndev"
    );
    world.host.sh(
        "cd /root/fleet/web1; cmp oh09.yaml /root/oh09.yaml; ! test -e tx28.yaml\n\
         grep -qx '  version: v2' ky04.yaml",
    )?;
    fleet.takes(&fleet.git("rev-parse HEAD")?)?;

    // The same over https.
    let host = &world.host;
    host.push(CERTIFICATE, "/etc/ssl/git.pem", 0o644)?;
    host.push(KEY, "/etc/ssl/git.key", 0o600)?;
    host.push(SERVER.as_bytes(), "/etc/nginx/conf.d/git.conf", 0o644)?;
    host.sh(
        "mkdir -p /etc/ssl/certs; cat /etc/ssl/git.pem >>/etc/ssl/certs/ca-certificates.crt\n\
         echo '127.0.0.1 git.example.org' >>/etc/hosts; echo 'git:{PLAIN}s3cr3t' >/etc/nginx/fleet.passwd\n\
         git -C /srv/git/fleet update-server-info; systemctl reload nginx\n\
         umask 077; echo wr0ng >/etc/cb/token",
    )?;
    fleet.follow("repository: 'https://git.example.org/fleet', tokenFile: /etc/cb/token")?;
    host.sh("systemctl restart cb-operator")?;
    let text = fleet.refuses(&["State:       Unreachable", "Authentication failed"])?;
    assert!(!text.contains("wr0ng"), "{text}");
    world.wait_served(&["oh09"])?;
    host.sh("chmod 644 /etc/cb/token")?;
    fleet.refuses(&["/etc/cb/token is a secret that others than root can read"])?;
    host.sh("chmod 600 /etc/cb/token; echo s3cr3t >/etc/cb/token")?;
    fleet.takes(&fleet.git("rev-parse HEAD")?)?;
    host.sh("! journalctl --no-pager | grep -e wr0ng -e s3cr3t\n\
         ! grep -r -e wr0ng -e s3cr3t /var/lib/cb /run/systemd/transient")?;
    Ok(())
}

/// A push takes effect at once when the server tells of it, over ssh too; who
/// has not the secret or the right key is not believed (law 11).
#[test]
fn a_push_is_told_of_and_fetched_over_ssh() -> Result<()> {
    let world = World::installed("pushed")?;
    let source = "repository: ssh://git@git.example.org/srv/git/fleet, sshKeyFile: /etc/cb/fleet.key, \
                  knownHostsFile: /etc/cb/known_hosts, \
                  webhook: {address: '127.0.0.1:9700', secretFile: /etc/cb/hook}";
    let fleet = Fleet::installed(world, source, &["ky04"])?;
    let world = &fleet.world;
    let host = &world.host;
    host.sh(
        "echo '127.0.0.1 git.example.org' >>/etc/hosts; useradd -m -s /bin/sh git; rm -f /run/nologin; systemctl start ssh\n\
         umask 077; printf key >/etc/cb/hook; ssh-keygen -q -t ed25519 -N '' -f /etc/cb/fleet.key\n\
         mkdir /home/git/.ssh; cp /etc/cb/fleet.key.pub /home/git/.ssh/authorized_keys\n\
         chown -R git: /home/git/.ssh /srv/git/fleet; umask 022\n\
         echo \"git.example.org $(cut -d' ' -f1,2 /etc/cb/fleet.key.pub)\" >/etc/cb/known_hosts",
    )?;
    world.start()?;
    // Not the server that is known.
    fleet.refuses(&["State:       Unreachable", "Host key verification failed"])?;
    host.sh("for key in /etc/ssh/ssh_host_*.pub; do echo \"git.example.org $(cut -d' ' -f1,2 $key)\"; done >/etc/cb/known_hosts")?;
    fleet.takes(&fleet.git("rev-parse HEAD")?)?;
    world.wait_served(&["ky04"])?;

    fleet.write("ky04.yaml", &tiny("ky04", "env: {SEEN: two}"))?;
    let second = fleet.commit("second")?;
    let tell = |header: &str| {
        host.sh(&format!(
            "curl -s -o /dev/null -w '%{{http_code}}' -H '{header}' -d hello http://127.0.0.1:9700/"
        ))
    };
    for header in [
        "X-Nothing: key",
        "X-Gitlab-Token: kex",
        "X-Hub-Signature-256: sha256=00",
    ] {
        assert_eq!(tell(header)?, "401", "{header}");
    }
    // `printf hello | openssl dgst -sha256 -hmac key`
    let signed = "9307b3b915efb5171ff14d8cb55fbcc798c6c0ef1456d66ded1a6aa723a58b7b";
    assert_eq!(
        tell(&format!("X-Hub-Signature-256: sha256={signed}"))?,
        "202"
    );
    fleet.wait_revision("ky04", &second)?;
    fleet.write("ky04.yaml", &tiny("ky04", "env: {SEEN: three}"))?;
    let third = fleet.commit("third")?;
    assert_eq!(tell("X-Gitlab-Token: key")?, "202");
    fleet.wait_revision("ky04", &third)?;

    // A secret that others can read is none.
    host.sh("chmod 644 /etc/cb/hook")?;
    assert_eq!(tell("X-Gitlab-Token: key")?, "503");
    // Another key opens nothing.
    host.sh(
        "umask 077; rm /etc/cb/fleet.key; ssh-keygen -q -t ed25519 -N '' -f /etc/cb/fleet.key",
    )?;
    fleet.refuses(&["State:       Unreachable", "Permission denied"])?;
    world.wait_served(&["ky04"])?;
    host.sh("! journalctl --no-pager -u cb-operator | grep -e 'PRIVATE KEY'")?;
    Ok(())
}
