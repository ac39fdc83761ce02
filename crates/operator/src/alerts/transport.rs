//! How a message gets to a sink, by the sink's kind.

use std::time::Duration;

use anyhow::bail;
use cb_core::alert::{Message, Pace, Template, alertmanager, mail, slack, webhook};
use cb_core::api::{AlertCommand, AlertSink, Alerts, Email};
use cb_core::types::HostPath;
use jiff::{SignedDuration, Timestamp};

use super::http::{Client, Target};
use super::process;

/// How often Alertmanager hears of an alert again: well before it takes it for
/// resolved.
const ALERTMANAGER_REPEAT: SignedDuration = SignedDuration::from_secs(60);

/// Why a sink has not taken a message. Never a URL or another secret (law 11).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct DeliveryError(pub(super) String);

/// A sink's kind, with all it needs.
pub(super) enum Transport {
    Alertmanager(Client, Target),
    Slack(Client, Target),
    Webhook {
        client: Client,
        target: Target,
        secret: Option<HostPath>,
        body: Option<Template>,
    },
    Command(AlertCommand),
    Email(Email),
}

impl Transport {
    /// The transport of a sink; `answer` is how long an answer may take.
    ///
    /// # Errors
    /// The sink is not one thing, or its template cannot be read.
    pub(super) fn new(sink: &AlertSink, answer: Duration) -> anyhow::Result<Self> {
        let client = || Client::new(answer);
        if let Some(of) = &sink.alertmanager {
            let target = Target::new(&of.url, &of.url_file, "/api/v2/alerts");
            return Ok(Self::Alertmanager(client(), target));
        }
        if let Some(of) = &sink.slack {
            let target = Target::new(&of.url, &of.url_file, "");
            return Ok(Self::Slack(client(), target));
        }
        if let Some(of) = &sink.webhook {
            let body = of.body.as_ref().map(|body| body.parse());
            return Ok(Self::Webhook {
                client: client(),
                target: Target::new(&of.url, &of.url_file, ""),
                secret: of.secret_file.clone(),
                body: body.transpose().map_err(anyhow::Error::msg)?,
            });
        }
        if let Some(of) = &sink.command {
            return Ok(Self::Command(of.clone()));
        }
        if let Some(of) = &sink.email {
            return Ok(Self::Email(of.clone()));
        }
        bail!("the alert sink {} has no kind", sink.name);
    }

    /// The kind's name.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Alertmanager(..) => "alertmanager",
            Self::Slack(..) => "slack",
            Self::Webhook { .. } => "webhook",
            Self::Command(_) => "command",
            Self::Email(_) => "email",
        }
    }

    /// How often the sink is told. Alertmanager groups and limits by itself,
    /// and takes an alert that it does not hear of for resolved.
    pub(super) fn pace(&self, of: &Alerts) -> Pace {
        if matches!(self, Self::Alertmanager(..)) {
            return Pace {
                group: SignedDuration::ZERO,
                repeat: ALERTMANAGER_REPEAT,
                per_hour: None,
            };
        }
        Pace {
            group: SignedDuration::from_secs(of.group_seconds.into()),
            repeat: SignedDuration::from_secs(of.repeat_seconds.into()),
            per_hour: Some(of.max_per_hour.into()),
        }
    }

    /// Sends a message, and waits until the sink has taken it.
    ///
    /// # Errors
    /// It has not, or it is not known that it has.
    pub(super) async fn deliver(&self, message: &Message) -> Result<(), DeliveryError> {
        match self {
            Self::Alertmanager(client, target) => {
                let body = alertmanager(message, Timestamp::now());
                client.post(target, &message.id, body, None).await
            }
            Self::Slack(client, target) => {
                client.post(target, &message.id, slack(message), None).await
            }
            Self::Webhook {
                client,
                target,
                secret,
                body,
            } => {
                let body = match body {
                    Some(template) => template.fill(message),
                    None => webhook(message),
                };
                client
                    .post(target, &message.id, body, secret.as_ref())
                    .await
            }
            Self::Command(of) => process::command(of, webhook(message)).await,
            Self::Email(of) => process::email(of, &message.id, &message.host, &mail(message)).await,
        }
    }
}
