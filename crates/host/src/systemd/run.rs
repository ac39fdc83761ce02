//! Programs run once, in transient units of their own.
//!
//! [`Systemd::run`] starts a unit with the limits and the sandbox of a
//! [`Transient`], hears of its end from systemd (no polling), and says how the
//! program ended and what it wrote. Standard output and error are pipes that
//! are read all the time and kept in part, so a program cannot fill the disk,
//! the journal or the operator's memory.
//!
//! Cancel safety: a time limit is always set, so a dropped call leaves nothing
//! running for ever; it also asks systemd at once to end the unit. What a
//! killed operator left running is ended by the next [`Systemd::run`] or
//! [`Systemd::end`] of that name, so a program never runs twice at once.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::sync::broadcast;
use zbus::{OwnedVariant, Variant};

use super::cache::path_of;
use super::output::{self, Output};
use super::transient::{Properties, STOP_TIMEOUT, Transient};
use super::{CALL_TIMEOUT, DESTINATION, Systemd, SystemdError, refusal, within};

/// How much longer than the unit's own limits its end is waited for.
const MARGIN: Duration = Duration::from_secs(30);

/// How often a unit that is in the way is ended before that is given up.
const ATTEMPTS: usize = 5;

/// How a unit ended, and what its program wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How the program ended.
    pub end: End,
    /// The InvocationID of the run, 32 hexadecimal digits.
    pub invocation_id: String,
    /// The first bytes of standard output, see [`Transient::stdout_limit`].
    pub stdout: Vec<u8>,
    /// The last lines of standard error, each without control characters and
    /// cut to a bounded length.
    pub log: Vec<String>,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// By itself, with this exit code; 0 is success.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// Its time was over.
    TimedOut,
    /// It, or something that it started, used too much memory.
    OutOfMemory,
    /// It was not started, or not to its end: systemd's word for why.
    NotStarted(String),
}

impl Systemd {
    /// Runs a program to its end. A unit of the same name is ended first.
    ///
    /// # Errors
    /// See [`SystemdError`]. How the program ended is no error of this call;
    /// that it cannot be started may be either.
    pub async fn run(&self, transient: &Transient) -> Result<Outcome, SystemdError> {
        let name = transient.name.as_str();
        self.end(name).await?;
        let pipes = || {
            let (stdout, stdout_end) = std::io::pipe()?;
            let (stderr, stderr_end) = std::io::pipe()?;
            let read = output::read(stdout, stderr, transient.stdout_limit, &transient.on_line)?;
            std::io::Result::Ok((OwnedFd::from(stdout_end), OwnedFd::from(stderr_end), read))
        };
        let (stdout, stderr, reading) = pipes().map_err(SystemdError::Pipe)?;
        let guard = EndOnDrop {
            systemd: self,
            name: Some(name),
        };
        let interest = self.shared.jobs.interest();
        let job = self.start_transient(transient, &stdout, &stderr).await?;
        // systemd and the program have the other ends now: when they close
        // them, all was read.
        drop((stdout, stderr));
        let limit = transient.timeout + 2 * STOP_TIMEOUT + MARGIN;
        let what = format!("StartTransientUnit {name}");
        within(limit, &what, interest.result(job.as_str())).await?;
        let properties = within(limit, &what, self.ended(name)).await?;
        let (end, invocation_id) = end_of(&properties);
        // Without our reference systemd forgets the unit and closes its pipes.
        self.unref(name).await?;
        guard.disarm();
        if end == End::NotStarted("success".to_owned()) {
            // Nothing failed and nothing ran: a reload came between.
            let unit = name.to_owned();
            return Err(SystemdError::Forgotten { unit });
        }
        let Output { stdout, log } = reading.finish().await;
        Ok(Outcome {
            end,
            invocation_id,
            stdout,
            log,
        })
    }

    /// Ends a transient unit that an earlier process, or a call that was
    /// dropped, left running, and waits until systemd has forgotten it. That
    /// there is none is the usual case and costs no call.
    ///
    /// # Errors
    /// See [`SystemdError`].
    pub async fn end(&self, name: &str) -> Result<(), SystemdError> {
        let mut events = self.subscribe();
        if self.unit(name).is_none() {
            return Ok(());
        }
        self.unref(name).await?;
        self.stop(name, STOP_TIMEOUT + MARGIN).await?;
        self.reset_failed(name).await?;
        let what = format!("the end of {name}");
        within(MARGIN, &what, async {
            while self.unit(name).is_some() {
                look_again(&mut events).await?;
            }
            Ok(())
        })
        .await
    }

    async fn start_transient(
        &self,
        transient: &Transient,
        stdout: &OwnedFd,
        stderr: &OwnedFd,
    ) -> Result<zbus::OwnedObjectPath, SystemdError> {
        let method = "StartTransientUnit";
        let name = transient.name.as_str();
        let no_other_units: [(&str, Properties<'_>); 0] = [];
        let mut attempt = 0;
        loop {
            attempt += 1;
            let properties = transient.properties(stdout, stderr);
            let body = (name, "fail", properties, no_other_units.as_slice());
            match self.call(method, &body).await {
                Ok(reply) => {
                    let body = reply.body();
                    return body
                        .deserialize()
                        .map_err(|source| SystemdError::Answer { method, source });
                }
                // Its end was not told yet, or the cache did not know it.
                Err(SystemdError::Refused { name: error, .. })
                    if error.ends_with(".UnitExists") && attempt < ATTEMPTS =>
                {
                    self.relist().await?;
                    self.end(name).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The properties of a unit once it has ended. The end of its job is not
    /// enough: a job can be cancelled, or be lost in a reload, while the program
    /// still runs.
    async fn ended(&self, unit: &str) -> Result<HashMap<String, OwnedVariant>, SystemdError> {
        let mut events = self.subscribe();
        loop {
            let properties = self.properties_of(unit).await?;
            let is = |name: &str, word: &str| {
                matches!(properties.get(name).map(|value| &**value),
                    Some(Variant::Str(text)) if text.as_str() == word)
            };
            if is("LoadState", "not-found") {
                let unit = unit.to_owned();
                return Err(SystemdError::Forgotten { unit });
            }
            if is("ActiveState", "inactive") || is("ActiveState", "failed") {
                return Ok(properties);
            }
            look_again(&mut events).await?;
        }
    }

    async fn unref(&self, name: &str) -> Result<(), SystemdError> {
        match self.call("UnrefUnit", &(name,)).await {
            // Somebody else's, or gone with the connection.
            Ok(_) | Err(SystemdError::Refused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn properties_of(
        &self,
        unit: &str,
    ) -> Result<HashMap<String, OwnedVariant>, SystemdError> {
        let method = "GetAll";
        let connection = self.shared.connection().ok_or(SystemdError::Disconnected)?;
        let (path, all) = (path_of(unit), ("",));
        let interface = Some("org.freedesktop.DBus.Properties");
        let call = connection.call_method(Some(DESTINATION), path, interface, method, &all);
        let reply = within(CALL_TIMEOUT, method, async {
            call.await.map_err(|error| refusal(method, error))
        })
        .await?;
        let body = reply.body();
        body.deserialize()
            .map_err(|source| SystemdError::Answer { method, source })
    }
}

/// Waits for the next event. One that missed some looks again too.
async fn look_again<T: Clone>(events: &mut broadcast::Receiver<T>) -> Result<(), SystemdError> {
    match events.recv().await {
        Err(broadcast::error::RecvError::Closed) => Err(SystemdError::Disconnected),
        Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => Ok(()),
    }
}

/// Asks systemd to end the unit of a call that was dropped.
struct EndOnDrop<'a> {
    systemd: &'a Systemd,
    name: Option<&'a str>,
}

impl EndOnDrop<'_> {
    fn disarm(mut self) {
        self.name = None;
    }
}

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        let Some(name) = self.name.map(str::to_owned) else {
            return;
        };
        let systemd = self.systemd.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // It may be so new that the cache does not know it.
                let ended = match systemd.relist().await {
                    Ok(()) => systemd.end(&name).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = ended {
                    tracing::debug!(unit = name, %error, "a dropped job is not ended yet");
                }
            });
        }
    }
}

/// How a unit that has ended did so, and the InvocationID of its run.
fn end_of(properties: &HashMap<String, OwnedVariant>) -> (End, String) {
    let text = |name: &str| match properties.get(name).map(|value| &**value) {
        Some(Variant::Str(text)) => text.as_str(),
        _ => "",
    };
    let number = |name: &str| match properties.get(name).map(|value| &**value) {
        Some(Variant::I32(number)) => *number,
        _ => 0,
    };
    // As in siginfo: 1 is an exit, 2 and 3 are signals.
    let (code, status) = (number("ExecMainCode"), number("ExecMainStatus"));
    let end = match (text("Result"), code) {
        ("timeout", _) => End::TimedOut,
        ("oom-kill", _) => End::OutOfMemory,
        ("success" | "exit-code", 1) => End::Exited(status),
        (_, 2 | 3) => End::Killed(status),
        (word, _) => End::NotStarted(word.to_owned()),
    };
    let id = properties.get("InvocationID");
    let id = id.and_then(|id| super::cache::hex(id)).unwrap_or_default();
    (end, id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_from_result_code_and_status() {
        let end = |result: &str, code: i32, status: i32| {
            let all = [
                ("Result", Variant::from(result.to_owned())),
                ("ExecMainCode", Variant::from(code)),
                ("ExecMainStatus", Variant::from(status)),
            ];
            let owned =
                all.map(|(name, value)| (name.to_owned(), OwnedVariant::try_from(value).unwrap()));
            end_of(&HashMap::from(owned)).0
        };
        assert_eq!(end("success", 1, 0), End::Exited(0));
        assert_eq!(end("exit-code", 1, 6), End::Exited(6));
        assert_eq!(end("signal", 2, 9), End::Killed(9));
        assert_eq!(end("core-dump", 3, 6), End::Killed(6));
        assert_eq!(end("timeout", 2, 15), End::TimedOut);
        assert_eq!(end("oom-kill", 2, 9), End::OutOfMemory);
        let not_started = End::NotStarted("resources".to_owned());
        assert_eq!(end("resources", 0, 0), not_started);
    }
}
