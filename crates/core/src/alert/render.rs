//! A message in the words and shapes of each kind of sink.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Alert, Message, State};

/// How many tenants a text names; the others are counted.
const NAMED: usize = 20;
/// How long Alertmanager takes an alert for firing without hearing of it again.
/// Longer than two repetitions, so that one that is lost resolves nothing.
const ALERTMANAGER_LIFE: SignedDuration = SignedDuration::from_mins(4);

/// One line: what is wrong, where, with how many.
#[must_use]
pub(super) fn summary(message: &Message) -> String {
    let (word, tenants) = match message.status {
        State::Firing => ("FIRING", &message.firing),
        State::Resolved => ("RESOLVED", &message.resolved),
    };
    let who = match tenants.as_slice() {
        [one] => whom(one, &message.host),
        several => format!("{} tenants on {}", several.len(), message.host),
    };
    format!("[{word}] {}: {who}", message.reason)
}

fn whom(alert: &Alert, host: &str) -> String {
    match &alert.tenant {
        Some(tenant) => format!("tenant {tenant} on {host}"),
        None => format!("host {host}"),
    }
}

/// Several lines: the summary, then each tenant.
#[must_use]
pub fn text(message: &Message) -> String {
    let mut out = summary(message);
    let name = |alert: &Alert| {
        let tenant = alert.tenant.as_ref().map(ToString::to_string);
        tenant.unwrap_or_else(|| format!("host {}", message.host))
    };
    list(&mut out, &message.firing, |alert| {
        format!("- {}: {}", name(alert), alert.message.replace('\n', " "))
    });
    list(&mut out, &message.resolved, |alert| {
        format!("- {}: resolved", name(alert))
    });
    out
}

fn list(out: &mut String, alerts: &[Alert], line: impl Fn(&Alert) -> String) {
    for alert in alerts.iter().take(NAMED) {
        let _ = write!(out, "\n{}", line(alert));
    }
    if alerts.len() > NAMED {
        let _ = write!(out, "\n- and {} more", alerts.len() - NAMED);
    }
}

/// The body for a Slack-compatible webhook.
#[must_use]
pub fn slack(message: &Message) -> String {
    // All that Slack reads specially.
    let text = text(message)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    json!({"text": text}).to_string()
}

/// The message as JSON: the body for a webhook and the input of a command.
#[must_use]
pub fn webhook(message: &Message) -> String {
    let mut value = json!(message);
    value["summary"] = summary(message).into();
    value["text"] = text(message).into();
    value.to_string()
}

/// A mail without its recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// One line of plain letters.
    pub subject: String,
    /// The text.
    pub body: String,
}

/// The message as a mail.
#[must_use]
pub fn mail(message: &Message) -> Mail {
    Mail {
        subject: summary(message),
        body: format!("{}\n", text(message)),
    }
}

/// The body for Alertmanager's `POST /api/v2/alerts`, sent at `now`.
///
/// An alert is known by its labels, so these are the tenant, reason and
/// revision. One that is wrong is given an end in the near future that each
/// repetition moves on: a host that is gone does not leave it for ever.
#[must_use]
pub fn alertmanager(message: &Message, now: Timestamp) -> String {
    let end = now
        .saturating_add(ALERTMANAGER_LIFE)
        .unwrap_or(Timestamp::MAX);
    let is_over = |old: &&Alert| !message.firing.iter().any(|new| new.is_same(old));
    let firing = message.firing.iter().map(|alert| (alert, end));
    let resolved = message.resolved.iter().filter(is_over);
    let resolved = resolved.map(|alert| (alert, message.created));
    let alerts: Vec<Value> = firing
        .chain(resolved)
        .map(|(alert, end)| {
            let mut value = json!({
                "labels": {
                    "alertname": alert.reason,
                    "host": message.host,
                    "condition": alert.condition,
                    "revision": alert.revision.to_string(),
                    "severity": "warning",
                    "job": "cb-operator",
                },
                "annotations": {
                    "summary": format!("{}: {}", alert.reason, whom(alert, &message.host)),
                    "description": alert.message,
                },
                "startsAt": alert.since.min(end).to_string(),
                "endsAt": end.to_string(),
            });
            if let Some(tenant) = &alert.tenant {
                value["labels"]["tenant"] = json!(tenant);
            }
            value
        })
        .collect();
    Value::Array(alerts).to_string()
}
