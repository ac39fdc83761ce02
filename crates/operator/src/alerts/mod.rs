//! Tells people of tenants that need them.
//!
//! ```text
//! State ─▶ feed ─▶ judgements ─┬─▶ sink ─▶ Outbox ─▶ spool ─▶ Transport
//!                              └─▶ sink …
//! ```
//!
//! Each sink has a task, a queue and a file of its own, so one that is slow or
//! down delays neither the others nor any pass. Which alerts there are and what
//! a sink is to be told is decided in `cb_core::alert`; here it is kept and
//! sent. A message has the same id whenever it is sent again, and one that a
//! sink has taken is not sent again; only if the operator is killed between the
//! sink's answer and the note of it, the sink gets it twice, with the same id.

mod feed;
mod http;
mod process;
mod sink;
mod spool;
mod transport;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cb_core::alert::{Alert, Judgements, Message};
use cb_core::api::Host;
use cb_runtime::BackoffConfig;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::recorder::Recorder;
use crate::state::State;
use feed::Feed;
use sink::{Sink, SinkStatus};
use transport::Transport;

/// How sinks are treated that do not answer.
#[derive(Debug, Clone)]
pub struct Patience {
    /// How long an answer may take.
    pub answer: Duration,
    /// How long to wait after a failure.
    pub backoff: BackoffConfig,
    /// How long a message is tried.
    pub give_up: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(10),
            backoff: BackoffConfig::default(),
            give_up: Duration::from_secs(24 * 3600),
        }
    }
}

/// All sinks of this host.
pub struct Alerts {
    host: String,
    firing: Arc<Mutex<Vec<Alert>>>,
    sinks: Vec<Entry>,
}

struct Entry {
    name: String,
    transport: Arc<Transport>,
    status: Arc<Mutex<SinkStatus>>,
}

/// What is wrong, and how the sinks do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// What is wrong now.
    pub alerts: Vec<Alert>,
    /// The sinks, in the order of the Host.
    pub sinks: Vec<SinkOverview>,
}

/// How a sink does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkOverview {
    /// Its name.
    pub name: String,
    /// `alertmanager`, `slack`, `webhook`, `command` or `email`.
    pub kind: String,
    /// How many messages wait for it.
    pub waiting: usize,
    /// When it took a message last, since the operator started.
    pub last_delivered: Option<Timestamp>,
    /// Why it does not take the first of those that wait.
    pub error: Option<String>,
}

/// What a sink was sent since the operator started, test messages aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkCounts {
    /// Its name.
    pub name: String,
    /// Messages that it has taken.
    pub delivered: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Messages that wait for it in its spool.
    pub spooled: usize,
}

/// What came of a test message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// The sink.
    pub sink: String,
    /// Why it has not taken the message; nothing if it has.
    pub error: Option<String>,
}

impl Alerts {
    /// A host without sinks, that nothing is known of.
    #[must_use]
    pub fn none(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            firing: Arc::default(),
            sinks: Vec::new(),
        }
    }

    /// Starts a task for each of the Host's sinks, and removes what is left of
    /// sinks that are no more. They end when `stop` is cancelled.
    ///
    /// # Errors
    /// A sink is not one thing. A Host that was checked has no such sink.
    pub fn start(
        host: &Host,
        folder: PathBuf,
        state: Arc<State>,
        recorder: &Recorder,
        patience: &Patience,
        (tasks, stop): (&TaskTracker, &CancellationToken),
    ) -> anyhow::Result<Self> {
        let spec = &host.spec.alerts;
        let names: Vec<&str> = spec.sinks.iter().map(|sink| sink.name.as_str()).collect();
        if let Err(error) = spool::remove_others(&folder, &names) {
            let folder = folder.display();
            tracing::warn!("{folder}: what is left of removed alert sinks stays: {error:#}");
        }
        let mut this = Self::none(host.metadata.name.as_str());
        let feed = Feed {
            state,
            recorder: recorder.clone(),
            host: this.host.clone(),
            firing: Arc::clone(&this.firing),
        };
        let (sender, judgements) = watch::channel(Arc::new(feed.judge_all()));
        for sink in &spec.sinks {
            let transport = Arc::new(Transport::new(sink, patience.answer)?);
            let status = Arc::<Mutex<SinkStatus>>::default();
            let worker = Sink {
                name: sink.name.to_string(),
                host: this.host.clone(),
                pace: transport.pace(spec),
                transport: Arc::clone(&transport),
                spool: spool::Spool::open(&folder, sink.name.as_str()),
                recorder: recorder.clone(),
                patience: patience.clone(),
                status: Arc::clone(&status),
            };
            tasks.spawn(worker.run(judgements.clone(), stop.clone()));
            this.sinks.push(Entry {
                name: sink.name.to_string(),
                transport,
                status,
            });
        }
        let stop = stop.clone();
        tasks.spawn(async move { stop.run_until_cancelled(feed.run(sender)).await });
        Ok(this)
    }

    /// What is wrong, and how the sinks do.
    #[must_use]
    pub fn overview(&self) -> Overview {
        let alerts = self.firing.lock().unwrap_or_else(PoisonError::into_inner);
        let sink = |entry: &Entry| {
            let status = entry.status.lock().unwrap_or_else(PoisonError::into_inner);
            SinkOverview {
                name: entry.name.clone(),
                kind: entry.transport.kind().to_owned(),
                waiting: status.waiting,
                last_delivered: status.last_delivered,
                error: status.error.clone(),
            }
        };
        Overview {
            alerts: alerts.clone(),
            sinks: self.sinks.iter().map(sink).collect(),
        }
    }

    /// What the sinks were sent.
    #[must_use]
    pub fn counts(&self) -> Vec<SinkCounts> {
        let counts = |entry: &Entry| {
            let status = entry.status.lock().unwrap_or_else(PoisonError::into_inner);
            SinkCounts {
                name: entry.name.clone(),
                delivered: status.delivered,
                failed: status.failed,
                spooled: status.waiting,
            }
        };
        self.sinks.iter().map(counts).collect()
    }

    /// Sends a test message to the sink of this name, or to all, past their
    /// queues, and says what came of it. `None` if there is no such sink.
    pub async fn test(&self, name: Option<&str>) -> Option<Vec<Tried>> {
        let wanted = |entry: &&Entry| name.is_none_or(|name| name == entry.name);
        let sinks: Vec<&Entry> = self.sinks.iter().filter(wanted).collect();
        if sinks.is_empty() && name.is_some() {
            return None;
        }
        let message = Message::test(&self.host, Timestamp::now());
        let tries = sinks.into_iter().map(|entry| async {
            let result = entry.transport.deliver(&message).await;
            Tried {
                sink: entry.name.clone(),
                error: result.err().map(|error| error.to_string()),
            }
        });
        Some(futures::future::join_all(tries).await)
    }
}

/// What the sinks' tasks are told.
type Known = watch::Receiver<Arc<Judgements>>;

#[cfg(test)]
mod tests;
