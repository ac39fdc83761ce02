//! A kubeconfig: of many clusters, users and contexts, those of the current
//! context are read; and what was read is the same again from a file of our own.

#![no_main]

use arbitrary::Arbitrary;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cb_hostile::world::manifest;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value as Json, json};

#[path = "../../crates/cbctl/src/commands/config/kubeconfig.rs"]
mod kubeconfig;

use kubeconfig::{Read, parse};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

#[derive(Debug, Arbitrary)]
enum Input<'a> {
    Text(&'a str),
    Config(Config),
}

#[derive(Debug, Arbitrary)]
struct Config {
    current: Name,
    clusters: Vec<(Name, String, Authority)>,
    users: Vec<(Name, String)>,
    contexts: Vec<(Name, Name, Name)>,
}

/// Of few, so that they meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
enum Name {
    A,
    B,
    C,
}

#[derive(Debug, Arbitrary)]
enum Authority {
    None,
    Certificate(String),
    Text(String),
    NotEncoded(String),
}

fuzz_target!(|input: Input<'_>| match input {
    Input::Text(text) => {
        if let Some(read) = parse(text) {
            same_again(&read);
        }
    }
    Input::Config(config) => {
        let read = parse(&manifest(&config.json()));
        assert_eq!(read, config.read(), "{config:?}");
        if let Some(read) = &read {
            same_again(read);
        }
    }
});

/// As `cbctl kubeconfig` writes it.
fn same_again(read: &Read) {
    let authority = STANDARD.encode(&read.certificate_authority);
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "x", "cluster": {
            "server": read.server, "certificate-authority-data": authority,
        }}],
        "users": [{"name": "ann", "user": {"token": read.token}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "ann"}}],
        "current-context": "x",
    });
    assert_eq!(parse(&manifest(&config)).as_ref(), Some(read));
}

impl Config {
    fn json(&self) -> Json {
        let clusters = self.clusters.iter().map(|(name, server, authority)| {
            let mut cluster = json!({"server": server});
            if let Some(data) = authority.data() {
                cluster["certificate-authority-data"] = data.into();
            }
            json!({"name": name.word(), "cluster": cluster})
        });
        let users = self.users.iter();
        let users =
            users.map(|(name, token)| json!({"name": name.word(), "user": {"token": token}}));
        let contexts = self.contexts.iter().map(|(name, cluster, user)| {
            let context = json!({"cluster": cluster.word(), "user": user.word()});
            json!({"name": name.word(), "context": context})
        });
        json!({
            "clusters": clusters.collect::<Vec<_>>(),
            "users": users.collect::<Vec<_>>(),
            "contexts": contexts.collect::<Vec<_>>(),
            "current-context": self.current.word(),
        })
    }

    /// What is to be read: the first of each name counts.
    fn read(&self) -> Option<Read> {
        let (_, cluster, user) = self.contexts.iter().find(|of| of.0 == self.current)?;
        let (_, server, authority) = self.clusters.iter().find(|of| of.0 == *cluster)?;
        let (_, token) = self.users.iter().find(|of| of.0 == *user)?;
        let Authority::Certificate(more) = authority else {
            return None;
        };
        let read = Read {
            server: server.clone(),
            certificate_authority: format!("{BEGIN}{more}"),
            token: token.clone(),
        };
        (!server.is_empty() && !token.is_empty()).then_some(read)
    }
}

impl Name {
    fn word(self) -> &'static str {
        match self {
            Name::A => "a",
            Name::B => "b",
            Name::C => "c",
        }
    }
}

impl Authority {
    fn data(&self) -> Option<String> {
        match self {
            Authority::None => None,
            Authority::Certificate(more) => Some(STANDARD.encode(format!("{BEGIN}{more}"))),
            Authority::Text(text) => Some(STANDARD.encode(text.replace(BEGIN, ""))),
            // No letter of base64.
            Authority::NotEncoded(text) => Some(format!("{text}-{BEGIN}")),
        }
    }
}
