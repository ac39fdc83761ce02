//! The text of a tenant's nginx site
//! (<https://nginx.org/en/docs/http/ngx_http_core_module.html>).
//!
//! Domains and paths are validated types whose letters nginx takes literally;
//! nothing else of the manifest gets in here.

use std::fmt::Write as _;

use super::Inputs;
use crate::api::Tenant;
use crate::mark::Owner;

/// The largest request body. nginx's own default of 1 MB refuses uploads.
const MAX_BODY: &str = "100m";

/// The site, if the tenant has domains and a route to serve on them.
pub(super) fn text(inputs: Inputs<'_>) -> Option<String> {
    let Inputs { tenant, host, .. } = inputs;
    if tenant.spec.domains.is_empty() {
        return None;
    }
    let locations = locations(inputs);
    let names: Vec<&str> = tenant.spec.domains.iter().map(AsRef::as_ref).collect();
    let names = names.join(" ");
    let mut out = Owner::Tenant(tenant.metadata.name.to_string()).header();
    let w = &mut out;
    let listen = |w: &mut String, port: u16, options: &str| {
        let _ = writeln!(w, "    listen {port}{options};");
        if host.spec.nginx.ipv6 {
            let _ = writeln!(w, "    listen [::]:{port}{options};");
        }
        let _ = writeln!(w, "    server_name {names};");
    };
    w.push_str("\nserver {\n");
    match &tenant.spec.tls {
        None => listen(w, 80, ""),
        Some(tls) => {
            listen(w, 80, "");
            w.push_str("    return 301 https://$host$request_uri;\n}\n\nserver {\n");
            listen(w, 443, " ssl http2");
            let _ = write!(
                w,
                "    ssl_certificate {};\n    ssl_certificate_key {};\n    \
                 ssl_protocols TLSv1.2 TLSv1.3;\n",
                tls.certificate_file, tls.key_file
            );
        }
    }
    let _ = writeln!(w, "    client_max_body_size {MAX_BODY};");
    out.push_str(&locations);
    out.push_str("}\n");
    Some(out)
}

fn locations(inputs: Inputs<'_>) -> String {
    let mut out = String::new();
    for route in &inputs.application.spec.routes {
        let Some(port) = inputs.ports.by_service.get(&route.service) else {
            continue;
        };
        let _ = write!(
            out,
            "    location {} {{\n        \
             proxy_pass http://127.0.0.1:{port};\n        \
             proxy_http_version 1.1;\n        \
             proxy_set_header Host $host;\n        \
             proxy_set_header X-Real-IP $remote_addr;\n        \
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n        \
             proxy_set_header X-Forwarded-Proto $scheme;\n        \
             proxy_set_header Upgrade $http_upgrade;\n        \
             proxy_set_header Connection $http_connection;\n    }}\n",
            route.path
        );
    }
    out
}

/// Where the site serves.
pub(super) fn urls(tenant: &Tenant) -> Vec<String> {
    let scheme = if tenant.spec.tls.is_some() {
        "https"
    } else {
        "http"
    };
    tenant
        .spec
        .domains
        .iter()
        .map(|domain| format!("{scheme}://{domain}/"))
        .collect()
}
