//! Clients that send too much or never end keep nobody else from the API
//! (law 4).

use anyhow::Result;

use crate::world::{SOON, TINY, World};

const HOST: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: test}
spec:
  api: {group: ops, listen: 127.0.0.1:9644}
  source:
    git:
      repository: /srv/git/fleet
      intervalSeconds: 3600
      webhook: {address: '127.0.0.1:9700', secretFile: /etc/cb/hook}
";

/// Opens connections to a socket, or to a port, that send what is on the
/// standard input and then one letter after the other. Prints the first line
/// of each answer, and ends when all were closed.
const DRIP: &str = r#"
use strict; use warnings; use IO::Socket::UNIX; use IO::Socket::INET; use IO::Select;
$SIG{PIPE} = 'IGNORE';
my ($to, $count) = @ARGV;
my $head = do { local $/; <STDIN> };
my $open = IO::Select->new;
my %told;
for (1 .. $count) {
    my $socket = $to =~ m{^/} ? IO::Socket::UNIX->new(Peer => $to)
        : IO::Socket::INET->new(PeerAddr => $to) or die "$to: $!";
    $socket->autoflush(1);
    print $socket $head;
    $open->add($socket);
}
open my $ready, '>', "/tmp/drips" or die; close $ready;
while ($open->count) {
    for my $socket ($open->can_read(0.5)) {
        my $size = sysread $socket, my $text, 4096;
        if ($size) { $told{$socket} .= $text; next; }
        my ($line) = ($told{$socket} // "closed") =~ /^([^\r\n]*)/;
        print "$line\n";
        $open->remove($socket); close $socket;
    }
    syswrite $_, "x" for $open->handles;
}
"#;

const SLOW: &str = "PUT /apis/campaignbrain.io/v1alpha1/tenants/ky04 HTTP/1.1\\r\\nhost: o\\r\\ncontent-type: application/yaml\\r\\ncontent-length: 99999\\r\\n\\r\\n";

/// The beginning of a record of TLS that is long.
const KEYS: &str = "\\026\\003\\001\\100\\000";

impl World {
    /// Starts that many slow clients as a user. They have connected when this
    /// returns.
    fn drips(&self, user: &str, to: &str, count: u32, head: &str) -> Result<()> {
        self.host.sh(&format!(
            "rm -f /tmp/drips; printf '{head}' >/tmp/head; chmod 644 /tmp/head\n\
             systemd-run -q --unit=drip -p User={user} -p StandardInput=file:/tmp/head \
             -p StandardOutput=truncate:/tmp/told perl /srv/drip {to} {count}"
        ))?;
        self.waits("the slow clients are there", || {
            Ok(self.host.sh("test -e /tmp/drips && echo yes || :")? == "yes\n")
        })
    }

    /// Waits until all slow clients were sent away, and counts the first lines
    /// of what they were told.
    fn drained(&self) -> Result<String> {
        let what = "the slow clients are sent away";
        self.host.wait_until(what, 2 * SOON, || {
            let state = self.show("drip", "ActiveState");
            match state.map_err(|error| format!("{error:#}"))?.as_str() {
                "inactive" => Ok(()),
                state => Err(state.to_owned()),
            }
        })?;
        let count = "sort /tmp/told | uniq -c | sed 's/^ *//'";
        Ok(self.host.sh(count)?)
    }
}

/// A body that is too large is refused and the client hears it; one that does
/// not end has its time; meanwhile others are served.
#[test]
fn a_body_without_end_keeps_nobody_else_waiting() -> Result<()> {
    let world = World::installed("limits")?;
    let host = &world.host;
    host.push(HOST.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
    host.push(DRIP.as_bytes(), "/srv/drip", 0o644)?;
    host.push(b"key", "/etc/cb/hook", 0o600)?;
    host.sh("groupadd ops; useradd -g ops slow\n\
         git config --global user.email dev@example.org; git config --global user.name dev\n\
         git config --global init.defaultBranch main; git config --global --add safe.directory '*'\n\
         git init -q --bare /srv/git/fleet; git clone -q /srv/git/fleet /root/fleet 2>/dev/null")?;
    host.push(TINY.as_bytes(), "/root/fleet/tiny.yaml", 0o644)?;
    let ky04 = crate::world::tiny("ky04", "");
    host.push(ky04.as_bytes(), "/root/fleet/ky04.yaml", 0o644)?;
    host.sh("cd /root/fleet; git add -A; git commit -qm first; git push -q origin HEAD:main")?;
    world.start()?;
    world.waits("the repository is followed", || {
        Ok(host.exec(&["cbctl", "source", "sync"])?.code == Some(0))
    })?;
    world.wait_ready("ky04")?;

    host.sh("head -c 3000000 /dev/zero | tr '\\0' ' ' >/root/large")?;
    let (large, json) = ("@/root/large", "Content-Type: application/json");
    for (method, path) in [
        ("PUT", "/apis/campaignbrain.io/v1alpha1/tenants/ky04"),
        ("DELETE", "/apis/campaignbrain.io/v1alpha1/tenants/ky04"),
        ("POST", "/api/tenants/ky04/upgrade"),
        ("POST", "/operator/v1/rollouts"),
    ] {
        for chunked in ["Expect:", "Transfer-Encoding: chunked"] {
            let answer = world.ask(
                path,
                &[
                    "-X",
                    method,
                    "-H",
                    json,
                    "-H",
                    chunked,
                    "--data-binary",
                    large,
                ],
            )?;
            let told = format!("{method} {path} ({chunked}): {}", answer.body);
            assert_eq!(answer.status, 413, "{told}");
            assert!(answer.body.contains("larger than"), "{told}");
        }
    }
    let hook = host.curl(&["--data-binary", large, "http://127.0.0.1:9700/"])?;
    assert_eq!(hook.status, 413, "{}", hook.body);

    // A user has 32 places; root and tenants do not notice.
    let served = || -> Result<()> {
        host.sh("cbctl get tenants | grep -q ky04")?;
        assert_eq!(world.page("ky04")?, "ky04 v1 on /\n");
        Ok(())
    };
    world.drips("slow", "/run/cb/operator.sock", 40, SLOW)?;
    served()?;
    let told = world.drained()?;
    assert_eq!(
        told,
        "32 HTTP/1.1 408 Request Timeout\n8 HTTP/1.1 429 Too Many Requests\n"
    );
    host.sh(
        "HOME=/ setpriv --reuid slow --regid ops --clear-groups cbctl get tenants | grep -q ky04",
    )?;

    // Over TCP: keys that are never agreed on, and messages that never end.
    world.drips("root", "127.0.0.1:9644", 70, KEYS)?;
    served()?;
    assert_eq!(world.drained()?, "70 closed\n");
    let answer = host.curl(&["-k", "https://127.0.0.1:9644/apis"])?;
    assert_eq!(answer.status, 401, "{}", answer.body);
    let push = "POST / HTTP/1.1\\r\\nhost: o\\r\\ncontent-length: 99999\\r\\n\\r\\n";
    world.drips("root", "127.0.0.1:9700", 8, push)?;
    served()?;
    assert_eq!(world.drained()?, "8 HTTP/1.1 408 Request Timeout\n");
    let answer = host.curl(&["-d", "hello", "http://127.0.0.1:9700/"])?;
    assert_eq!(answer.status, 401, "{}", answer.body);
    Ok(())
}
