//! A kubeconfig, as `cbctl kubeconfig` and others print it: the server, the
//! certificate authority and the token of its current context.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// What a context needs of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) server: String,
    /// In PEM form.
    pub(super) certificate_authority: String,
    pub(super) token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    current_context: String,
    clusters: Vec<Named>,
    users: Vec<Named>,
    contexts: Vec<Named>,
}

/// An entry of one of the lists; each has its own field.
#[derive(Deserialize)]
struct Named {
    name: String,
    #[serde(default)]
    cluster: Cluster,
    #[serde(default)]
    user: User,
    #[serde(default)]
    context: Chosen,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority_data: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    token: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Chosen {
    cluster: String,
    user: String,
}

/// Reads its text. Why it is none is not said: it may quote the token (law 11).
pub(super) fn parse(text: &str) -> Option<Read> {
    let config: Config = serde_yaml::from_str(text).ok()?;
    let named = |list: Vec<Named>, name: &str| list.into_iter().find(|one| one.name == name);
    let chosen = named(config.contexts, &config.current_context)?.context;
    let cluster = named(config.clusters, &chosen.cluster)?.cluster;
    let token = named(config.users, &chosen.user)?.user.token;
    let authority = STANDARD
        .decode(cluster.certificate_authority_data.trim())
        .ok()?;
    let certificate_authority = String::from_utf8(authority).ok()?;
    let read = Read {
        server: cluster.server,
        certificate_authority,
        token,
    };
    let whole = !read.server.is_empty()
        && !read.token.is_empty()
        && read
            .certificate_authority
            .contains("-----BEGIN CERTIFICATE-----");
    whole.then_some(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_context_counts() {
        let authority = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t";
        let config = format!(
            "{{apiVersion: v1, kind: Config, current-context: b, contexts: \
             [{{name: a, context: {{cluster: x, user: x}}}}, {{name: b, context: {{cluster: y, user: z}}}}], \
             clusters: [{{name: y, cluster: {{server: 'https://h:1', certificate-authority-data: {authority}}}}}], \
             users: [{{name: z, user: {{token: t}}}}]}}"
        );
        let read = parse(&config).unwrap();
        assert_eq!(
            (read.server.as_str(), read.token.as_str()),
            ("https://h:1", "t")
        );
        assert_eq!(read.certificate_authority, "-----BEGIN CERTIFICATE-----");
        assert_eq!(
            parse(&config.replace("current-context: b", "current-context: a")),
            None
        );
        assert_eq!(parse("token: secret"), None);
    }
}
