//! HTTPS: certificates that a manifest names, and those that are issued by an
//! authority (laws 4, 5, 7 and 8).

use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use rcgen::{CertificateParams, KeyPair};

use crate::world::{SOON, TINY, World};

const FILES: &str =
    "tls: {certificateFile: /etc/ssl/ky04.pem, keyFile: /etc/ssl/ky04.key, hstsSeconds: 600}";

/// A certificate that is its own authority, until so many days from now.
fn made(name: &str, days: i64) -> Result<(String, String)> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![format!("{name}.example.org")])?;
    let now = rcgen::date_time_ymd(1970, 1, 1) + SystemTime::UNIX_EPOCH.elapsed()?;
    let span = Duration::from_secs(days.unsigned_abs() * 86_400);
    params.not_before = now - Duration::from_secs(86_400 * 365);
    params.not_after = if days < 0 { now - span } else { now + span };
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

impl World {
    /// A host whose Host has these further lines in its spec.
    fn with_host(hint: &str, lines: &str) -> Result<World> {
        let world = World::installed(hint)?;
        let host = format!(
            "apiVersion: campaignbrain.io/v1alpha1\nkind: Host\nmetadata: {{name: test}}\nspec:\n  \
             resync: {{periodSeconds: 5}}\n  {lines}\n"
        );
        world
            .host
            .push(host.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
        world.put("tiny.yaml", TINY)?;
        Ok(world)
    }

    /// Puts a pair where ky04's manifest has it: the certificate first, as
    /// those who renew certificates do.
    fn give(&self, (certificate, key): &(String, String)) -> Result<()> {
        let host = &self.host;
        host.push(certificate.as_bytes(), "/etc/ssl/ky04.pem", 0o644)?;
        Ok(host.push(key.as_bytes(), "/etc/ssl/ky04.key", 0o600)?)
    }

    /// What is served over HTTPS to who trusts this authority alone; with the
    /// headers of the answer.
    fn secure(&self, tenant: &str, authority: &str) -> Result<String> {
        self.host
            .push(authority.as_bytes(), "/tmp/authority.pem", 0o644)?;
        Ok(self.host.sh(&format!(
            "curl -sSi --max-time 20 --cacert /tmp/authority.pem --resolve \
             {tenant}.example.org:443:127.0.0.1 https://{tenant}.example.org/"
        ))?)
    }

    /// Waits until the site is served with a certificate of this authority.
    fn wait_secure(&self, tenant: &str, authority: &str) -> Result<()> {
        self.waits("the certificate is served", || {
            let page = self.secure(tenant, authority).unwrap_or_default();
            Ok(page.ends_with(&format!("{tenant} v1 on /\n")))
        })
    }

    /// The value of a metric whose line begins so.
    fn value(&self, line: &str) -> Result<f64> {
        let metrics = self.ask("/metrics", &[])?.body;
        let found = metrics.lines().find_map(|text| text.strip_prefix(line));
        Ok(found.unwrap_or_default().trim().parse()?)
    }

    fn reloads(&self) -> Result<f64> {
        self.value("cb_nginx_reloads_total{result=\"ok\"}")
    }

    /// Whether a tenant has an event of this reason.
    fn happened(&self, tenant: &str, reason: &str) -> Result<bool> {
        let list = self.api("/apis/events.k8s.io/v1/events")?;
        let events = list["items"].as_array().cloned().unwrap_or_default();
        Ok(events
            .iter()
            .any(|event| event["reason"] == reason && event["regarding"]["name"] == tenant))
    }

    fn kept(&self) -> Result<usize> {
        Ok(self.host.sh("ls /var/lib/cb/certificates")?.lines().count())
    }
}

/// Laws 4 and 8: a certificate is checked before it is served, a renewal is one
/// reload of nginx, and its end is told before it comes.
#[test]
fn certificates_in_files_are_checked_watched_and_told() -> Result<()> {
    let world = World::with_host("certfiles", "certificates: {warnDays: 30}")?;
    let first = made("ky04", 3000)?;
    world.give(&first)?;
    world.put_tiny("ky04", FILES)?;
    world.put_tiny("oh09", "")?;
    world.start()?;
    world.wait_ready("ky04")?;
    world.wait_served(&["oh09"])?;
    let answer = world.secure("ky04", &first.0)?;
    ensure!(answer.ends_with("\r\n\r\nky04 v1 on /\n"), "{answer}");
    for header in [
        "HTTP/2 200",
        "strict-transport-security: max-age=600",
        "x-content-type-options: nosniff",
        "referrer-policy: strict-origin-when-cross-origin",
    ] {
        ensure!(answer.contains(header), "{header}: {answer}");
    }
    let plain = world.host.sh(
        "curl -sSi -H 'Host: ky04.example.org' http://127.0.0.1/x?y=z; \
         ! curl -sk --tlsv1.0 --tls-max 1.1 --resolve ky04.example.org:443:127.0.0.1 \
         https://ky04.example.org/",
    )?;
    ensure!(
        plain.contains("Location: https://ky04.example.org/x?y=z"),
        "{plain}"
    );
    world.wait_condition("ky04", "CertificateValid", "True Valid")?;
    let mode = "stat -c '%a %U' /var/lib/cb/certificates/*";
    assert_eq!(world.host.sh(mode)?, "600 root\n");

    // A renewal: two writes, one reload, and none without a change.
    let before = world.reloads()?;
    let soon = made("ky04", 5)?;
    world.give(&soon)?;
    world.wait_condition("ky04", "CertificateValid", "False CertificateExpiring")?;
    world.wait_secure("ky04", &soon.0)?;
    ensure!(world.secure("ky04", &first.0).is_err());
    world.wait_ready("ky04")?;
    world.host.sh("touch /etc/ssl/ky04.pem")?;
    world.reconcile("ky04")?;
    world.reconcile("oh09")?;
    assert_eq!(world.reloads()?, before + 1.0);
    assert_eq!(world.kept()?, 1);
    ensure!(world.happened("ky04", "CertificateExpiring")?);
    world.waits("the alert", || {
        Ok(world
            .host
            .sh("cbctl alerts")?
            .contains("CertificateExpiring"))
    })?;
    let status = &world.tenant("ky04")?["status"]["certificate"];
    assert_eq!(status["names"][0], "ky04.example.org");
    let end = world.value("cb_certificate_not_after_timestamp_seconds{tenant=\"ky04\"}")?;
    let now = SystemTime::UNIX_EPOCH.elapsed()?.as_secs_f64();
    ensure!((end - now) / 86_400.0 < 6.0, "{status}");

    // What cannot be served leaves what is.
    let other = made("ky04", 3000)?;
    world.give(&(other.0.clone(), soon.1.clone()))?;
    world.wait_words(
        ("ky04", "CertificateValid"),
        "False CertificateInvalid",
        &["/etc/ssl/ky04.key has not the key", "certificate before"],
    )?;
    world.put_tiny("oh09", "proxy: {timeoutSeconds: 61}")?;
    world.put_tiny("tx28", "")?;
    world.wait_sh(
        "the other site is changed",
        "grep -q 'proxy_read_timeout 61s' /etc/nginx/conf.d/cb-oh09.conf",
    )?;
    world.wait_served(&["oh09", "tx28"])?;
    world.wait_secure("ky04", &soon.0)?;
    world.host.sh("nginx -t -q")?;
    world.give(&made("ky04", -3)?)?;
    let words = ["it has expired"];
    world.wait_words(
        ("ky04", "CertificateValid"),
        "False CertificateInvalid",
        &words,
    )?;
    world.host.sh("rm /etc/ssl/ky04.key")?;
    let words = ["/etc/ssl/ky04.key cannot be read"];
    world.wait_words(
        ("ky04", "CertificateValid"),
        "False CertificateInvalid",
        &words,
    )?;
    world.wait_secure("ky04", &soon.0)?;
    world.wait_ready("ky04")?;

    // Law 7: nginx needs nobody to serve it.
    world
        .host
        .sh("systemctl stop cb-operator && systemctl restart nginx")?;
    world.wait_secure("ky04", &soon.0)?;
    world.start()?;
    world.give(&other)?;
    world.wait_secure("ky04", &other.0)?;
    world.wait_condition("ky04", "CertificateValid", "True Valid")?;

    // Without `tls` nothing of it is left.
    world.put_tiny("ky04", "")?;
    world.waits("the certificate is gone", || Ok(world.kept()? == 0))?;
    world.wait_served(&["ky04"])?;
    ensure!(world.condition("ky04", "CertificateValid")?.is_empty());
    Ok(())
}

/// The real ACME server of the test host, and the DNS that it asks.
const PEBBLE: &str = r#"{"pebble": {
  "listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000",
  "certificate": "/srv/pebble/cert.pem", "privateKey": "/srv/pebble/key.pem",
  "httpPort": 80, "tlsPort": 443, "certificateValidityPeriod": VALIDITY}}"#;
const ACME: &str = "certificates: {acme: {directory: 'https://localhost:14000/dir', \
     contacts: [ops@example.org], termsOfServiceAgreed: true, caFile: /srv/pebble/cert.pem, \
     ordersPerHour: 1000}}";

impl World {
    /// Makes the authority's own certificate and starts the DNS that it asks.
    fn prepare_pebble(&self) -> Result<()> {
        let key = KeyPair::generate()?;
        let own = CertificateParams::new(vec!["localhost".into()])?.self_signed(&key)?;
        let host = &self.host;
        host.push(own.pem().as_bytes(), "/srv/pebble/cert.pem", 0o644)?;
        let key = key.serialize_pem();
        host.push(key.as_bytes(), "/srv/pebble/key.pem", 0o600)?;
        host.sh(
            "systemd-run --quiet --unit=challtestsrv pebble-challtestsrv -defaultIPv6 '' \
             -dns01 127.0.0.1:8053 -management 127.0.0.1:8055 -http01 '' -https01 '' -tlsalpn01 ''",
        )?;
        self.waits("the DNS answers", || {
            Ok(self.dns("clear-servfail", "none").is_ok())
        })
    }

    /// Starts the authority anew: it knows no account and no order, and has
    /// another root.
    fn pebble(&self, validity: u32) -> Result<()> {
        let config = PEBBLE.replace("VALIDITY", &validity.to_string());
        self.host
            .push(config.as_bytes(), "/srv/pebble/config.json", 0o644)?;
        self.host.sh("systemctl stop pebble 2>/dev/null || :\n\
             systemd-run --quiet --unit=pebble --setenv=PEBBLE_VA_NOSLEEP=1 \
             pebble -config /srv/pebble/config.json -dnsserver 127.0.0.1:8053")?;
        self.waits("the authority answers", || Ok(self.root().is_ok()))
    }

    /// The root of what the authority issues.
    fn root(&self) -> Result<String> {
        let url = "https://localhost:15000/roots/0";
        let cacert = ["--cacert", "/srv/pebble/cert.pem", url];
        Ok(self.host.curl(&cacert)?.body)
    }

    /// Has the DNS fail for a name, or not.
    fn dns(&self, what: &str, name: &str) -> Result<()> {
        let body = format!("{{\"host\": \"{name}\"}}");
        let url = format!("http://127.0.0.1:8055/{what}");
        self.host.curl(&["-d", &body, &url])?;
        Ok(())
    }

    fn serial(&self, tenant: &str) -> Result<String> {
        let text = self.host.sh(&format!(
            "sha256sum /var/lib/cb/certificates/{tenant}.*.pem"
        ))?;
        Ok(text)
    }
}

/// Laws 4 and 5: a certificate is issued and renewed by a real authority; what
/// it refuses is told and holds nobody up; an authority that is away, or an
/// operator that is killed, delays it.
#[test]
fn certificates_are_issued_and_renewed() -> Result<()> {
    let world = World::with_host("acme", ACME)?;
    world.prepare_pebble()?;
    // The authority is away: the site is served all the same.
    world.put_tiny("ky04", "tls: {acme: true}")?;
    world.start()?;
    world.wait_ready("ky04")?;
    assert_eq!(world.page("ky04")?, "ky04 v1 on /\n");
    world.wait_words(
        ("ky04", "CertificateValid"),
        "False CertificateNotIssued",
        &["cannot be asked", "over HTTP"],
    )?;
    ensure!(world.tenant("ky04")?["status"]["urls"][0] == "http://ky04.example.org/");

    world.pebble(3600)?;
    let root = world.root()?;
    world.wait_secure("ky04", &root)?;
    world.wait_condition("ky04", "CertificateValid", "True Valid")?;
    ensure!(world.tenant("ky04")?["status"]["urls"][0] == "https://ky04.example.org/");
    ensure!(world.happened("ky04", "CertificateIssued")?);
    let redirected = world
        .host
        .curl(&["-H", "Host: ky04.example.org", "http://127.0.0.1/"])?;
    assert_eq!(redirected.status, 301);
    // Keys are root's alone, and no answer to a challenge is left.
    let modes = world.host.sh(
        "cd /var/lib/cb && stat -c '%a %U' certificates/* acme/account.json acme/issued/* | sort -u\n\
         ls challenges",
    )?;
    assert_eq!(modes, "600 root\n");

    // One domain that leads nowhere holds up no other tenant, nor its own
    // other domain once that stands alone.
    world.dns("set-servfail", "no.example.org")?;
    let nowhere = "tls: {acme: true}";
    let text = crate::world::tiny("tx28", nowhere)
        .replace("[tx28.example.org]", "[tx28.example.org, no.example.org]");
    world.put("tx28.yaml", &text)?;
    world.wait_words(
        ("tx28", "CertificateValid"),
        "False CertificateNotIssued",
        &["the authority refuses", "no.example.org"],
    )?;
    ensure!(world.happened("tx28", "CertificateNotIssued")?);
    world.wait_ready("tx28")?;
    world.put_tiny("oh09", "tls: {acme: true}")?;
    world.wait_secure("oh09", &root)?;
    world.put_tiny("tx28", nowhere)?;
    world.wait_secure("tx28", &root)?;

    // A restart orders nothing anew.
    let serials = world.serial("*")?;
    world.host.sh("systemctl restart cb-operator")?;
    world.wait_ready("ky04")?;
    world.reconcile("ky04")?;
    assert_eq!(world.serial("*")?, serials);

    // An authority that forgot the account, and an operator that is killed
    // while it orders.
    world.pebble(3600)?;
    let root = world.root()?;
    let text = crate::world::tiny("wy01", nowhere);
    world.put("wy01.yaml", &text)?;
    world.waits("an order is under way", || {
        let orders = world.host.read("/var/lib/cb/acme/orders.yaml")?;
        Ok(String::from_utf8_lossy(&orders).contains("wy01"))
    })?;
    world.host.sh("systemctl kill --signal=KILL cb-operator")?;
    world.wait_secure("wy01", &root)?;
    // Law 4: all the others as before.
    assert_eq!(
        world.serial("ky04")?,
        serials
            .lines()
            .find(|l| l.contains("ky04"))
            .map(|l| format!("{l}\n"))
            .unwrap_or_default()
    );
    Ok(())
}

/// Laws 1 and 7: what is issued is renewed before it ends, with one reload each,
/// and served while the operator is gone; a tenant that goes leaves no key.
#[test]
fn what_was_issued_is_renewed() -> Result<()> {
    let world = World::with_host("renewal", ACME)?;
    world.prepare_pebble()?;
    world.pebble(20)?;
    let root = world.root()?;
    world.put_tiny("ky04", "tls: {acme: true}\ndeletionPolicy: Delete")?;
    world.put_tiny("oh09", "")?;
    world.start()?;
    world.wait_secure("ky04", &root)?;
    let first = world.serial("ky04")?;
    world
        .host
        .wait_until("it is renewed", SOON, || match world.serial("ky04") {
            Ok(serial) if serial != first && serial.lines().count() == 1 => Ok(()),
            other => Err(format!("{other:?}")),
        })?;
    world.wait_secure("ky04", &root)?;
    world.host.sh("rm /etc/cb/manifests/ky04.yaml")?;
    world.waits("the tenant is gone", || Ok(!world.is_known("ky04")?))?;
    world.waits("nothing of it is left", || {
        let left = world
            .host
            .sh("ls /var/lib/cb/certificates /var/lib/cb/acme/issued")?;
        Ok(!left.contains("ky04"))
    })?;
    world.wait_served(&["oh09"])?;
    Ok(())
}
