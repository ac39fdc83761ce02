//! The requests about events and alerts, and the stream of a watch.

use cb_core::alert::Alert;
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::body::{Buf as _, Incoming};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api::escaped;
use super::{Ask, Client, Error, judged};
use crate::object::Object;

const EVENTS: &str = "/apis/events.k8s.io/v1/events";
const ALERTS: &str = "/operator/v1/alerts";

/// Events, and the revision to watch from.
#[derive(Debug)]
pub(crate) struct Events {
    pub(crate) items: Vec<Object>,
    pub(crate) revision: String,
}

/// What is wrong, and how the sinks do.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Overview {
    pub(crate) alerts: Vec<Alert>,
    pub(crate) sinks: Vec<Sink>,
}

/// How a sink does.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Sink {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) waiting: usize,
    pub(crate) last_delivered: Option<Timestamp>,
    pub(crate) error: Option<String>,
}

/// What came of a test message.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Tried {
    pub(crate) sink: String,
    pub(crate) error: Option<String>,
}

impl Client {
    /// The events of a field selector; an empty one means all.
    pub(crate) async fn events(&self, fields: &str) -> Result<Events, Error> {
        let mut list: Value = self.read(Ask::get(events_of(fields))).await?;
        let revision = list["metadata"]["resourceVersion"].as_str();
        let revision = revision.unwrap_or_default().to_owned();
        let items = match list["items"].take() {
            Value::Array(items) => items.into_iter().map(Object::new).collect(),
            _ => Vec::new(),
        };
        Ok(Events { items, revision })
    }

    /// Follows the events of a field selector from a revision.
    pub(crate) async fn watch_events(&self, fields: &str, from: &str) -> Result<Changes, Error> {
        let and = if fields.is_empty() { '?' } else { '&' };
        let target = format!(
            "{}{and}watch=true&resourceVersion={}",
            events_of(fields),
            escaped(from)
        );
        self.changes(target).await
    }

    /// The lines of a watch. It has a connection of its own.
    pub(super) async fn changes(&self, target: String) -> Result<Changes, Error> {
        let mut connection = self.connect().await?;
        let request = self.ready(&Ask::get(target))?;
        let answer = connection.send_request(request).await;
        let (head, body) = answer.map_err(Error::Broken)?.into_parts();
        if head.status.is_success() {
            let rest = Vec::new();
            return Ok(Changes { body, rest });
        }
        let body = body.collect().await.map_err(Error::Broken)?.to_bytes();
        match judged(head.status, head.headers, body) {
            Err(error) => Err(error),
            Ok(_) => unreachable!("the status is no success"),
        }
    }

    /// What is wrong, and how the sinks do.
    pub(crate) async fn alerts(&self) -> Result<Overview, Error> {
        self.read(Ask::get(ALERTS.into())).await
    }

    /// Sends a test message to one sink or to all.
    pub(crate) async fn test_alerts(&self, sink: Option<&str>) -> Result<Vec<Tried>, Error> {
        self.read(Ask {
            method: Method::POST,
            target: format!("{ALERTS}/test"),
            media: "application/json",
            body: json!({"sink": sink}).to_string().into(),
        })
        .await
    }

    async fn read<T: DeserializeOwned>(&self, ask: Ask) -> Result<T, Error> {
        serde_json::from_slice(&self.ask(ask).await?.body).map_err(Error::Unreadable)
    }
}

fn events_of(fields: &str) -> String {
    if fields.is_empty() {
        EVENTS.to_owned()
    } else {
        format!("{EVENTS}?fieldSelector={}", escaped(fields))
    }
}

/// The lines of a watch.
#[derive(Debug)]
pub(crate) struct Changes {
    body: Incoming,
    /// What came and is no whole line yet.
    rest: Vec<u8>,
}

impl Changes {
    /// The next change, `{"type": …, "object": …}`; nothing at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>, Error> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return serde_json::from_slice(&line)
                    .map(Some)
                    .map_err(Error::Unreadable);
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame.map_err(Error::Broken)?.into_data() {
                        self.rest.extend_from_slice(data.chunk());
                    }
                }
            }
        }
    }
}
