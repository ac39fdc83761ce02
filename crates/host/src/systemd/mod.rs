//! systemd through D-Bus.
//!
//! One task reads everything that the bus sends, in order, and keeps a cache of
//! all services: one listing at the start (and after a daemon-reload or a new
//! connection), signals from then on. So [`Systemd::unit`] costs no call. Jobs
//! are awaited through `JobRemoved`, which systemd sends after the unit's last
//! change: when [`Systemd::start`] returns, the cache knows its outcome.
//!
//! When the connection breaks, waiting calls fail with
//! [`SystemdError::Disconnected`], which passes by itself: the task connects
//! again, lists again, and says [`UnitEvent::Relisted`].

mod cache;
mod connection;
mod jobs;
pub mod journal;
mod output;
mod run;
mod transient;

use std::sync::Arc;
use std::time::Duration;

use cb_core::observed::{Exit, UnitState};
use tokio::sync::{broadcast, mpsc, oneshot};
use zbus::message::Message;

pub(crate) use cache::invocation_link;
use connection::{Command, Shared};
pub use jobs::JobResult;
pub use run::{End, Outcome};
pub use transient::{OnLine, Transient};

const DESTINATION: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// How long a call may take. A daemon-reload of thousands of units takes
/// seconds, and other calls wait behind it.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a job may take: systemd gives up on a start or stop after 90 s by
/// default, and a stop has a second such period for the kill.
pub const JOB_TIMEOUT: Duration = Duration::from_secs(200);

/// Why systemd did not do something.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// There is no connection just now; it is being made again.
    #[error("no connection to systemd over D-Bus; it is being made again")]
    Disconnected,
    /// systemd said no.
    #[error("systemd refuses {method}: {message}")]
    Refused {
        /// The method of systemd's D-Bus interface.
        method: &'static str,
        /// The D-Bus name of the error.
        name: String,
        /// systemd's words.
        message: String,
    },
    /// No answer in time.
    #[error("systemd did not answer {what} within {} s", after.as_secs())]
    Timeout {
        /// What was asked.
        what: String,
        /// For how long.
        after: Duration,
    },
    /// No pipe can be made for a program's output.
    #[error("cannot make a pipe")]
    Pipe(#[source] std::io::Error),
    /// systemd did not run a unit that it was given, or does not know it any
    /// more and its end was not read yet.
    #[error("systemd lost {unit} before it was run to its end")]
    Forgotten {
        /// The unit.
        unit: String,
    },
    /// An answer that is not understood.
    #[error("systemd's answer to {method} is not understood")]
    Answer {
        /// The method.
        method: &'static str,
        /// What is wrong with it.
        source: zbus::Error,
    },
}

impl SystemdError {
    /// Whether it is expected to pass by itself.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            SystemdError::Disconnected
                | SystemdError::Timeout { .. }
                | SystemdError::Forgotten { .. }
        )
    }

    /// Whether systemd does not know the unit.
    #[must_use]
    pub fn is_no_such_unit(&self) -> bool {
        matches!(self, SystemdError::Refused { name, .. } if name.ends_with(".NoSuchUnit"))
    }
}

/// Something that the cache learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnitEvent {
    /// The state of this unit changed, or it came or went.
    Changed(String),
    /// All units were listed again; any may have changed.
    Relisted,
}

/// A handle to systemd; clones share one connection and cache.
#[derive(Debug, Clone)]
pub struct Systemd {
    shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Systemd {
    /// Starts the task that connects to the system bus. The cache is filled a
    /// moment later; see [`Systemd::ready`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn spawn() -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::default());
        tokio::spawn(connection::run(Arc::clone(&shared), receiver));
        Self { shared, commands }
    }

    /// Waits until all units are listed.
    ///
    /// # Errors
    /// [`SystemdError::Disconnected`] after this long.
    pub async fn ready(&self, within: Duration) -> Result<(), SystemdError> {
        let mut listed = self.shared.listed.subscribe();
        let wait = listed.wait_for(|listed| *listed);
        match tokio::time::timeout(within, wait).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(SystemdError::Disconnected),
        }
    }

    /// Whether the cache is being kept fresh.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        *self.shared.listed.borrow()
    }

    /// The state of a service; `None` if systemd has not loaded it, which for
    /// a unit with a file means inactive.
    #[must_use]
    pub fn unit(&self, name: &str) -> Option<UnitState> {
        self.shared.cache().get(name)
    }

    /// How the last run of a service ended, also of one that systemd has taken
    /// away since; `None` if it was not seen.
    #[must_use]
    pub fn exit(&self, name: &str) -> Option<Exit> {
        self.shared.cache().exit(name).cloned()
    }

    /// What the cache learns from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<UnitEvent> {
        self.shared.events.subscribe()
    }

    /// Lists all units again.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn relist(&self) -> Result<(), SystemdError> {
        let (done, wait) = oneshot::channel();
        // Both fail only together with the runtime.
        let _ = self.commands.send(Command::Relist(done));
        within(CALL_TIMEOUT, "ListUnits", async {
            wait.await.map_err(|_| SystemdError::Disconnected)
        })
        .await
    }

    /// Has systemd read all unit files again; the cache is fresh afterwards.
    ///
    /// # Errors
    /// See [`SystemdError`].
    pub async fn daemon_reload(&self) -> Result<(), SystemdError> {
        self.call("Reload", &()).await?;
        self.relist().await
    }

    /// Starts a unit and waits for the job.
    ///
    /// # Errors
    /// See [`SystemdError`]; that the job failed is no error of this call.
    pub async fn start(&self, unit: &str, timeout: Duration) -> Result<JobResult, SystemdError> {
        self.job("StartUnit", unit, timeout).await
    }

    /// Stops a unit and waits for the job. A unit that is not loaded is
    /// stopped.
    ///
    /// # Errors
    /// See [`SystemdError`].
    pub async fn stop(&self, unit: &str, timeout: Duration) -> Result<JobResult, SystemdError> {
        match self.job("StopUnit", unit, timeout).await {
            Err(error) if error.is_no_such_unit() => Ok(JobResult::Done),
            result => result,
        }
    }

    /// Restarts a unit, or starts it, and waits for the job.
    ///
    /// # Errors
    /// See [`SystemdError`].
    pub async fn restart(&self, unit: &str, timeout: Duration) -> Result<JobResult, SystemdError> {
        self.job("RestartUnit", unit, timeout).await
    }

    /// Has a unit reload its configuration and waits for the job. The jobs of
    /// other units do not matter: the operator is ordered after nginx, so systemd
    /// would keep a reload of nginx back until a stop of the operator has ended,
    /// which waits for that very reload.
    ///
    /// # Errors
    /// See [`SystemdError`].
    pub async fn reload(&self, unit: &str, timeout: Duration) -> Result<JobResult, SystemdError> {
        self.job_in_mode("ReloadUnit", (unit, "ignore-dependencies"), timeout)
            .await
    }

    /// Clears a failed state and the count of starts. A unit that is not
    /// loaded has neither.
    ///
    /// # Errors
    /// See [`SystemdError`].
    pub async fn reset_failed(&self, unit: &str) -> Result<(), SystemdError> {
        match self.call("ResetFailedUnit", &(unit,)).await {
            Err(error) if error.is_no_such_unit() => Ok(()),
            result => result.map(drop),
        }
    }

    /// Has units start at boot, as their `[Install]` sections say.
    ///
    /// # Errors
    /// See [`SystemdError`].
    pub async fn enable(&self, units: &[String]) -> Result<(), SystemdError> {
        let (runtime, force) = (false, false);
        self.call("EnableUnitFiles", &(units, runtime, force))
            .await
            .map(drop)
    }

    /// Has units no longer start at boot.
    ///
    /// # Errors
    /// See [`SystemdError`].
    pub async fn disable(&self, units: &[String]) -> Result<(), SystemdError> {
        let runtime = false;
        self.call("DisableUnitFiles", &(units, runtime))
            .await
            .map(drop)
    }

    async fn job(
        &self,
        method: &'static str,
        unit: &str,
        timeout: Duration,
    ) -> Result<JobResult, SystemdError> {
        self.job_in_mode(method, (unit, "replace"), timeout).await
    }

    async fn job_in_mode(
        &self,
        method: &'static str,
        (unit, mode): (&str, &str),
        timeout: Duration,
    ) -> Result<JobResult, SystemdError> {
        // From here on results of jobs are kept until this is dropped, so a job
        // that ends before its path is known is not missed.
        let interest = self.shared.jobs.interest();
        let reply = self.call(method, &(unit, mode)).await?;
        let body = reply.body();
        let path: zbus::OwnedObjectPath = body
            .deserialize()
            .map_err(|source| SystemdError::Answer { method, source })?;
        let what = format!("{method} {unit}");
        within(timeout, &what, interest.result(path.as_str())).await
    }

    async fn call<B>(&self, method: &'static str, body: &B) -> Result<Message, SystemdError>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        let connection = self.shared.connection().ok_or(SystemdError::Disconnected)?;
        let pending = self.shared.pending.acquire().await;
        let _pending = pending.map_err(|_| SystemdError::Disconnected)?;
        let call = connection.call_method(Some(DESTINATION), PATH, Some(MANAGER), method, body);
        within(CALL_TIMEOUT, method, async {
            call.await.map_err(|error| refusal(method, error))
        })
        .await
    }
}

async fn within<T>(
    after: Duration,
    what: &str,
    work: impl Future<Output = Result<T, SystemdError>>,
) -> Result<T, SystemdError> {
    match tokio::time::timeout(after, work).await {
        Ok(result) => result,
        Err(_) => Err(SystemdError::Timeout {
            what: what.to_owned(),
            after,
        }),
    }
}

/// An answer in the negative, or a lost connection.
fn refusal(method: &'static str, error: zbus::Error) -> SystemdError {
    let (name, message) = match error {
        zbus::Error::MethodError(name, message, _) => {
            (name.to_string(), message.unwrap_or_default())
        }
        zbus::Error::FDO(error) => match *error {
            // The bus answers for a systemd that is not there (yet, or while
            // it re-executes itself).
            zbus::fdo::Error::ServiceUnknown(_)
            | zbus::fdo::Error::NameHasNoOwner(_)
            | zbus::fdo::Error::NoReply(_)
            | zbus::fdo::Error::LimitsExceeded(_)
            | zbus::fdo::Error::Disconnected(_) => return SystemdError::Disconnected,
            error => ("org.freedesktop.DBus.Error".to_owned(), error.to_string()),
        },
        _ => return SystemdError::Disconnected,
    };
    SystemdError::Refused {
        method,
        name,
        message,
    }
}
