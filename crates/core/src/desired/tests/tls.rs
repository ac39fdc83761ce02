//! Sites over HTTPS.

use super::*;
use crate::api::Tls;

const NAMES: [&str; 2] = ["ky04.example.org", "www.ky04.example.org"];

fn with(
    certificates: &Certificates,
    edit: impl FnOnce(&mut Tenant, &mut Host),
) -> Result<Desired, DesireError> {
    desired_of(&secrets("s3cr3t"), certificates, edit)
}

fn given(names: &[&str], pem: &str) -> Certificates {
    let time = |text: &str| text.parse().unwrap();
    let pair = Pair {
        facts: Facts {
            not_before: time("2026-01-01T00:00:00Z"),
            not_after: time("2026-04-01T00:00:00Z"),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            expired: false,
        },
        pem: crate::observed::Secret::new(pem.to_owned()),
    };
    Certificates {
        given: Some(Ok(pair)),
        kept: vec![],
    }
}

fn files(tenant: &mut Tenant) {
    tenant.spec.tls = Some(Tls {
        certificate_file: Some("/etc/ssl/ky04.pem".parse().unwrap()),
        key_file: Some("/etc/ssl/ky04.key".parse().unwrap()),
        ..Tls::default()
    });
}

fn acme(tenant: &mut Tenant, host: &mut Host) {
    tenant.spec.tls = Some(Tls {
        acme: true,
        hsts_seconds: Some(31_536_000),
        ..Tls::default()
    });
    let acme = "{termsOfServiceAgreed: true}";
    host.spec.certificates.acme = Some(serde_yaml::from_str(acme).unwrap());
}

#[test]
fn https_has_a_redirect_and_no_domains_means_no_site() {
    let tls = with(&given(&NAMES, "s3cr3t key"), |tenant, host| {
        files(tenant);
        host.spec.nginx.ipv6 = false;
    });
    let tls = tls.unwrap();
    insta::assert_snapshot!(tls.site.as_ref().unwrap().content);
    // Law 11.
    assert!(!format!("{tls:?}").contains("s3cr3t"));
    let (file, _) = tls.tls.unwrap().certificate.unwrap();
    assert_eq!(file.mode, 0o600);
    assert!(file.content.ends_with("\ns3cr3t key"));
    assert!(file.path.starts_with("/var/lib/cb/certificates"));
    let none = desired(|tenant, _| {
        files(tenant);
        tenant.spec.domains.clear();
    });
    let none = none.unwrap();
    assert_eq!((none.site, none.tls, none.urls), (None, None, vec![]));
}

/// Another certificate is another file, so that the site is another too.
#[test]
fn another_certificate_is_another_site() {
    let of = |key: &str| with(&given(&NAMES, key), |tenant, _| files(tenant)).unwrap();
    assert_eq!(of("a").digest(), of("a").digest());
    assert_ne!(of("a").digest(), of("b").digest());
    assert_ne!(of("a").site, of("b").site);
}

/// Law 4: without a good certificate the site stays as it is.
#[test]
fn a_site_without_its_certificate_is_blocked() {
    let bad = Certificates {
        given: Some(Err("they do not belong together".into())),
        kept: vec![],
    };
    let tls = with(&bad, |tenant, _| files(tenant)).unwrap().tls.unwrap();
    assert!(tls.blocked && tls.certificate.is_none());
    assert_eq!(tls.trouble.as_deref(), Some("they do not belong together"));
}

/// A certificate that is issued needs the site first, for the challenge.
#[test]
fn what_no_certificate_was_issued_for_is_served_over_http() {
    let none = with(&Certificates::default(), acme).unwrap();
    let site = none.site.unwrap().content;
    assert!(site.contains("alias /var/lib/cb/challenges/;") && !site.contains("443"));
    assert!(!site.contains("Strict-Transport") && !site.contains("return 301"));
    assert_eq!(none.urls[0], "http://ky04.example.org/");
    let part = with(&given(&NAMES[..1], "key"), |tenant, host| {
        acme(tenant, host);
        let proxy = "{maxBodySize: 1Gi, timeoutSeconds: 300}";
        tenant.spec.proxy = serde_yaml::from_str(proxy).unwrap();
        host.spec.defaults.proxy.security_headers = Some(false);
    });
    let part = part.unwrap();
    insta::assert_snapshot!(part.site.unwrap().content);
    assert_eq!(
        part.urls,
        ["https://ky04.example.org/", "http://www.ky04.example.org/"]
    );
    let both = with(&given(&NAMES, "key"), |tenant, host| {
        acme(tenant, host);
        tenant.spec.tls.as_mut().unwrap().redirect = Some(false);
    });
    let both = both.unwrap().site.unwrap().content;
    assert_eq!(
        both.matches("proxy_pass http://127.0.0.1:32300;").count(),
        2
    );
    let error = with(&given(&NAMES, "key"), |tenant, host| {
        acme(tenant, host);
        host.spec.certificates.acme = None;
    });
    assert_eq!(error.unwrap_err(), DesireError::NoAuthority);
}
