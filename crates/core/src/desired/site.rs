//! The text of a tenant's nginx site
//! (<https://nginx.org/en/docs/http/ngx_http_core_module.html>).
//!
//! Domains, paths and numbers are validated types whose letters nginx takes
//! literally; nothing else of the manifest gets in here.

use std::fmt::Write as _;
use std::path::Path;

use super::Inputs;
use crate::api::{ProxySpec, Tenant};
use crate::certificate::Facts;
use crate::layout::Layout;
use crate::mark::Owner;
use crate::types::DomainName;

/// The largest request body in bytes. nginx's own default of 1 MB refuses
/// uploads.
const MAX_BODY: u64 = 100 << 20;
/// nginx counts in signed 64 bit numbers.
const MAX_MAX_BODY: u64 = 1 << 60;
/// How long nginx waits for a service, in seconds.
const TIMEOUT: u32 = 60;
/// Where authorities ask, see RFC 8555, section 8.3.
pub const CHALLENGES: &str = "/.well-known/acme-challenge/";

/// Variables of a site. Each site has them, with the same names and values, so
/// that none needs a file of others: to nginx that is one and the same variable.
const VARIABLES: &str = r#"
map $http_upgrade $cb_connection {
    default upgrade;
    "" close;
}

map $upstream_http_x_content_type_options $cb_content_type_options {
    "" nosniff;
}

map $upstream_http_referrer_policy $cb_referrer_policy {
    "" strict-origin-when-cross-origin;
}
"#;

/// What a certificate is and where nginx finds it.
#[derive(Clone, Copy)]
pub(super) struct Certificate<'a> {
    pub(super) file: &'a Path,
    pub(super) facts: &'a Facts,
}

/// The site, if the tenant has domains. Domains that the certificate is not for
/// are served over HTTP.
pub(super) fn text(inputs: Inputs<'_>, certificate: Option<Certificate<'_>>) -> Option<String> {
    let tenant = inputs.tenant;
    if tenant.spec.domains.is_empty() {
        return None;
    }
    let site = Site {
        inputs,
        proxy: tenant.spec.proxy.or(&inputs.host.spec.defaults.proxy),
    };
    let (https, http) = parted(tenant, certificate.map(|certificate| certificate.facts));
    let tls = tenant.spec.tls.clone().unwrap_or_default();
    let redirect = tls.redirect.unwrap_or(true);
    let mut out = Owner::Tenant(tenant.metadata.name.to_string()).header();
    out.push_str(VARIABLES);
    let plain = if redirect {
        http
    } else {
        tenant.spec.domains.iter().collect()
    };
    if !plain.is_empty() {
        site.server(&mut out, &plain, None);
    }
    if let Some(certificate) = certificate.filter(|_| !https.is_empty()) {
        if redirect {
            site.redirect(&mut out, &https);
        }
        let hsts = tls.hsts_seconds;
        site.server(&mut out, &https, Some((certificate.file, hsts)));
    }
    Some(out)
}

/// The domains that are served over HTTPS, and those that are not.
fn parted<'a>(
    tenant: &'a Tenant,
    certificate: Option<&Facts>,
) -> (Vec<&'a DomainName>, Vec<&'a DomainName>) {
    let covered = |domain: &&DomainName| certificate.is_some_and(|facts| facts.covers(domain));
    tenant.spec.domains.iter().partition(covered)
}

struct Site<'a> {
    inputs: Inputs<'a>,
    proxy: ProxySpec,
}

impl Site<'_> {
    /// Serves domains, over HTTPS with a certificate and the seconds of HSTS.
    fn server(&self, out: &mut String, domains: &[&DomainName], tls: Option<(&Path, Option<u32>)>) {
        out.push_str("\nserver {\n");
        match tls {
            None => self.listen(out, "80", domains),
            Some((file, hsts)) => {
                self.listen(out, "443 ssl http2", domains);
                let file = file.display();
                let _ = write!(
                    out,
                    "    ssl_certificate {file};\n    ssl_certificate_key {file};\n"
                );
                out.push_str(
                    "    ssl_protocols TLSv1.2 TLSv1.3;\n    \
                     ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20;\n    \
                     ssl_session_cache shared:cb:10m;\n    \
                     ssl_session_timeout 1d;\n    \
                     ssl_session_tickets off;\n",
                );
                if let Some(seconds) = hsts {
                    let _ = writeln!(
                        out,
                        "    add_header Strict-Transport-Security \"max-age={seconds}\" always;"
                    );
                }
            }
        }
        if self.proxy.security_headers.unwrap_or(true) {
            out.push_str(
                "    add_header X-Content-Type-Options $cb_content_type_options always;\n    \
                 add_header Referrer-Policy $cb_referrer_policy always;\n",
            );
        }
        let size = self.proxy.max_body_size.as_ref();
        let size = size.map_or(MAX_BODY, |size| size.bytes().min(MAX_MAX_BODY));
        let timeout = self.proxy.timeout_seconds.unwrap_or(TIMEOUT);
        let _ = write!(
            out,
            "    client_max_body_size {size};\n    \
             proxy_connect_timeout 10s;\n    \
             proxy_send_timeout {timeout}s;\n    \
             proxy_read_timeout {timeout}s;\n    \
             proxy_http_version 1.1;\n    \
             proxy_set_header Host $host;\n    \
             proxy_set_header X-Real-IP $remote_addr;\n    \
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n    \
             proxy_set_header X-Forwarded-Proto $scheme;\n    \
             proxy_set_header Upgrade $http_upgrade;\n    \
             proxy_set_header Connection $cb_connection;\n"
        );
        self.challenges(out);
        self.routes(out);
        out.push_str("}\n");
    }

    fn redirect(&self, out: &mut String, domains: &[&DomainName]) {
        out.push_str("\nserver {\n");
        self.listen(out, "80", domains);
        self.challenges(out);
        out.push_str("    location / {\n        return 301 https://$host$request_uri;\n    }\n}\n");
    }

    fn listen(&self, out: &mut String, port: &str, domains: &[&DomainName]) {
        let _ = writeln!(out, "    listen {port};");
        if self.inputs.host.spec.nginx.ipv6 {
            let _ = writeln!(out, "    listen [::]:{port};");
        }
        let names: Vec<&str> = domains.iter().map(|domain| domain.as_str()).collect();
        let _ = writeln!(out, "    server_name {};", names.join(" "));
        out.push_str("    server_tokens off;\n");
    }

    /// What authorities ask for, on hosts that have certificates issued.
    fn challenges(&self, out: &mut String) {
        let host = &self.inputs.host.spec;
        if host.certificates.acme.is_none() {
            return;
        }
        let folder = Layout::new(host).challenges();
        let _ = write!(
            out,
            "    location ^~ {CHALLENGES} {{\n        \
             alias {}/;\n        \
             default_type text/plain;\n    }}\n",
            folder.display()
        );
    }

    /// What no route is for is not there. Without a word on it, nginx would
    /// look for it in a folder of its own.
    fn routes(&self, out: &mut String) {
        let mut everything = false;
        for route in &self.inputs.application.spec.routes {
            if let Some(port) = self.inputs.ports.by_service.get(&route.service) {
                everything |= route.path.as_str() == "/";
                let _ = write!(
                    out,
                    "    location {} {{\n        proxy_pass http://127.0.0.1:{port};\n    }}\n",
                    route.path
                );
            }
        }
        if !everything {
            out.push_str("    location / {\n        return 404;\n    }\n");
        }
    }
}

/// Where the site serves.
pub(super) fn urls(tenant: &Tenant, certificate: Option<&Facts>) -> Vec<String> {
    // A site is not put live without the certificate that is given.
    let given = tenant.spec.tls.as_ref().is_some_and(|tls| !tls.acme);
    let url = |domain: &DomainName| {
        let covered = certificate.is_some_and(|facts| facts.covers(domain));
        let scheme = if covered || given { "https" } else { "http" };
        format!("{scheme}://{domain}/")
    };
    tenant.spec.domains.iter().map(url).collect()
}
