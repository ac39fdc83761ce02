//! A sink over HTTPS: a receiver behind a real nginx, with a certificate of an
//! authority that the host trusts or does not.

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::{STALLED, world};
use crate::world::World;

const NAME: &str = "hooks.example.org";
/// What a Debian host trusts.
const TRUSTED: &str = "/etc/ssl/certs/ca-certificates.crt";

const SITE: &str = "\
server {
    listen 8443 ssl;
    server_name hooks.example.org;
    ssl_certificate /etc/ssl/hooks.pem;
    ssl_certificate_key /etc/ssl/hooks.key;
    location / { proxy_pass http://127.0.0.1:9999; }
}
";

/// An authority, and how the certificates that it signs are made.
fn authority(name: &str) -> Result<(String, Issuer<'static, KeyPair>)> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key)?.pem();
    Ok((pem, Issuer::new(params, key)))
}

impl World {
    fn trust(&self, authority: &str) -> Result<()> {
        Ok(self.host.push(authority.as_bytes(), TRUSTED, 0o644)?)
    }

    /// Waits until a metric of the sink is as wanted.
    fn wait_sink(&self, metric: &str, wanted: impl Fn(f64) -> bool) -> Result<()> {
        let begin = format!("{metric}{{sink=\"hook\"}} ");
        self.waits(metric, || {
            let text = self.ask("/metrics", &[])?.body;
            let value = text.lines().find_map(|line| line.strip_prefix(&begin));
            Ok(value.map(str::parse).transpose()?.is_some_and(&wanted))
        })
    }
}

/// Nothing is sent to who cannot prove its name; it is kept, counted, and sent
/// once when the authority is trusted.
#[test]
fn a_webhook_over_https_goes_to_who_proves_its_name() -> Result<()> {
    let url = format!("https://{NAME}:8443/x");
    let world = world(
        "https",
        &format!("[{{name: hook, webhook: {{url: '{url}'}}}}]"),
    )?;
    let (trusted, issuer) = authority("A test")?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec![NAME.to_owned()])?.signed_by(&key, &issuer)?;
    for (path, text, mode) in [
        ("/etc/ssl/hooks.pem", certificate.pem(), 0o644),
        ("/etc/ssl/hooks.key", key.serialize_pem(), 0o600),
        ("/etc/nginx/conf.d/hooks.conf", SITE.to_owned(), 0o644),
    ] {
        world.host.push(text.as_bytes(), path, mode)?;
    }
    world.host.sh(&format!(
        "echo 127.0.0.1 {NAME} >>/etc/hosts; systemctl reload-or-restart nginx"
    ))?;
    world.receive()?;
    world.trust(&authority("Another")?.0)?;
    world.start()?;
    world.put_tiny("ky04", STALLED)?;
    world.wait_sink("cb_alerts_failed_total", |failed| failed >= 1.0)?;
    world.wait_sink("cb_alerts_spooled", |waiting| waiting >= 1.0)?;
    assert_eq!(world.received("accepted")?, []);
    assert_eq!(world.received("refused")?, []);

    world.trust(&trusted)?;
    world.host.sh("systemctl restart cb-operator")?;
    world.wait_sink("cb_alerts_sent_total", |sent| sent >= 1.0)?;
    world.wait_sink("cb_alerts_spooled", |waiting| waiting == 0.0)?;
    let received = world.received("accepted")?;
    assert_eq!(received.len(), 1, "{received:#?}");
    Ok(())
}
