//! `spec.alerts` of a Host: who is told of tenants that need a person.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::{Argument, EmailAddress, HostPath, HttpUrl, ObjectName, UserName};

/// Who is told of tenants that need a person, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Alerts {
    /// Where messages go. Each sink has a queue of its own. Default: nowhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sinks: Vec<AlertSink>,
    /// How long tenants with the same reason are collected for one message, in
    /// seconds. Default 10.
    #[schemars(range(max = 3600))]
    pub group_seconds: u32,
    /// After how many seconds a message is repeated while nothing changes.
    /// Default 14400 (4 hours).
    #[schemars(range(min = 60, max = 604_800))]
    pub repeat_seconds: u32,
    /// How many messages each sink gets in an hour at most; what happens
    /// beyond that waits and comes together. Alertmanager has its own limits.
    /// Default 60.
    #[schemars(range(min = 1, max = 3600))]
    pub max_per_hour: u16,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            sinks: Vec::new(),
            group_seconds: 10,
            repeat_seconds: 14_400,
            max_per_hour: 60,
        }
    }
}

/// Where messages go: a name and exactly one of the other fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AlertSink {
    /// The sink's name.
    pub name: ObjectName,
    /// Prometheus' Alertmanager, through version 2 of its API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alertmanager: Option<Alertmanager>,
    /// A webhook that takes Slack's messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slack: Option<Slack>,
    /// Any other webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// A program on this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<AlertCommand>,
    /// Mail through this host's sendmail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
}

/// Prometheus' Alertmanager: exactly one of the fields.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Alertmanager {
    /// Its URL without `/api/v2`, for example `http://127.0.0.1:9093`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<HttpUrl>,
    /// A file with the URL that root alone can read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_file: Option<HostPath>,
}

/// A webhook that takes Slack's messages: exactly one of the fields.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Slack {
    /// Its URL. Slack's own URLs are secrets; use `urlFile` for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<HttpUrl>,
    /// A file with the URL that root alone can read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_file: Option<HostPath>,
}

/// A webhook: a POST with JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Webhook {
    /// Its URL; or else `urlFile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<HttpUrl>,
    /// A file with the URL that root alone can read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_file: Option<HostPath>,
    /// A file with a secret that root alone can read. With it, the header
    /// `X-CB-Signature-256` is `sha256=` and the HMAC-SHA256 of the body in
    /// hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<HostPath>,
    /// The body, with `{{id}}`, `{{status}}`, `{{reason}}`, `{{host}}`,
    /// `{{summary}}` and `{{text}}` for texts to be put between double quotes
    /// of JSON, and `{{message}}` for the whole message as JSON. Default:
    /// `{{message}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// A program that gets the message as JSON on its standard input. It has
/// delivered the message if it ends with 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AlertCommand {
    /// The program.
    pub program: HostPath,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<Argument>,
    /// The user that it runs as. Default `nobody`.
    #[serde(default = "nobody")]
    pub user: UserName,
    /// How long it may run, in seconds. Default 30.
    #[serde(default = "thirty")]
    #[schemars(range(min = 1, max = 600))]
    pub timeout_seconds: u32,
}

fn nobody() -> UserName {
    "nobody".parse().expect("a valid constant")
}

fn thirty() -> u32 {
    30
}

/// Mail through this host's sendmail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Email {
    /// Who gets it.
    #[schemars(length(min = 1))]
    pub to: Vec<EmailAddress>,
    /// Who it is from.
    pub from: EmailAddress,
    /// The program. Default `/usr/sbin/sendmail`.
    #[serde(default = "sendmail")]
    pub sendmail: HostPath,
}

fn sendmail() -> HostPath {
    "/usr/sbin/sendmail".parse().expect("a valid constant")
}
