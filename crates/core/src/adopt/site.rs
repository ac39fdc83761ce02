//! An nginx site that somebody wrote by hand: which domains it serves from
//! which ports.
//!
//! It reads what is needed to tell whose a site is and what it says of its
//! routes, and not all of nginx's language.

use std::collections::BTreeSet;

/// What a site says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SiteFile {
    /// The names of `server_name`, without `_`.
    pub domains: Vec<String>,
    /// The certificate and its key, if it has one.
    pub certificate: Option<(String, String)>,
    /// The path of each `location` with the local port that it passes to.
    pub routes: Vec<(String, u16)>,
}

impl SiteFile {
    /// Reads a site.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut out = Self::default();
        let (mut certificate, mut key) = (None, None);
        let mut locations: Vec<Option<String>> = Vec::new();
        for statement in statements(text) {
            let words: Vec<&str> = statement.text.split_whitespace().collect();
            match (words.as_slice(), statement.end) {
                (_, '}') => drop(locations.pop()),
                (["location", rest @ ..], '{') => {
                    let path = rest.last().map(|path| (*path).to_owned());
                    locations.push(path);
                }
                (_, '{') => locations.push(None),
                (["server_name", names @ ..], _) => {
                    let names = names.iter().filter(|name| **name != "_");
                    for name in names.map(|name| name.to_lowercase()) {
                        if !out.domains.contains(&name) {
                            out.domains.push(name);
                        }
                    }
                }
                (["ssl_certificate", path], _) => certificate = Some((*path).to_owned()),
                (["ssl_certificate_key", path], _) => key = Some((*path).to_owned()),
                (["proxy_pass", url], _) => {
                    let path = locations.iter().rev().flatten().next();
                    if let (Some(path), Some(port)) = (path, local_port(url)) {
                        out.routes.push((path.clone(), port));
                    }
                }
                _ => {}
            }
        }
        out.certificate = certificate.zip(key);
        out
    }

    /// The ports that it passes to.
    #[must_use]
    pub fn ports(&self) -> BTreeSet<u16> {
        self.routes.iter().map(|(_, port)| *port).collect()
    }

    /// Whether it serves some of these domains and no other.
    #[must_use]
    pub fn is_only_of(&self, domains: &[&str]) -> bool {
        let known = |name: &String| domains.contains(&name.as_str());
        !self.domains.is_empty() && self.domains.iter().all(known)
    }
}

/// `http://127.0.0.1:PORT`, with or without a path.
fn local_port(url: &str) -> Option<u16> {
    let rest = url.strip_prefix("http://")?;
    let rest = rest.split('/').next()?;
    let (host, port) = rest.rsplit_once(':')?;
    matches!(host, "127.0.0.1" | "localhost" | "[::1]").then_some(())?;
    port.parse().ok()
}

struct Statement {
    text: String,
    /// `;`, `{` or `}`.
    end: char,
}

fn statements(text: &str) -> Vec<Statement> {
    let (mut out, mut open) = (Vec::new(), String::new());
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        for c in line.chars().chain(['\n']) {
            if matches!(c, ';' | '{' | '}') {
                let text = std::mem::take(&mut open).replace(['"', '\''], "");
                out.push(Statement { text, end: c });
            } else {
                open.push(c);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "server {\n  listen 443 ssl; # all\n  server_name KY04.example.org www.ky04.example.org;\n\
        ssl_certificate /etc/ssl/a.pem;\n  ssl_certificate_key /etc/ssl/a.key;\n\
        location / { proxy_pass http://127.0.0.1:32300; }\n\
        location ^~ /api/ {\n if ($x) { set $y 1; }\n proxy_pass http://localhost:32301/;\n }\n\
        location /other { proxy_pass http://10.0.0.1:80; }\n}\n";

    #[test]
    fn domains_certificate_and_routes_are_read() {
        let site = SiteFile::parse(SITE);
        assert_eq!(site.domains, ["ky04.example.org", "www.ky04.example.org"]);
        let pair = ("/etc/ssl/a.pem".to_owned(), "/etc/ssl/a.key".to_owned());
        assert_eq!(site.certificate, Some(pair));
        let route = |path: &str, port| (path.to_owned(), port);
        assert_eq!(site.routes, [route("/", 32300), route("/api/", 32301)]);
        assert!(site.is_only_of(&["ky04.example.org", "www.ky04.example.org", "x"]));
        assert!(!site.is_only_of(&["ky04.example.org"]));
        assert!(!SiteFile::parse("server { listen 80; }").is_only_of(&["x"]));
    }
}
