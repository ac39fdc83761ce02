//! Listening on 127.0.0.1 until SIGTERM.
//!
//! Requests under way when the signal comes get [`GRACE`] to end; after that
//! their connections are dropped, so that one slow client cannot hold up a
//! restart or keep the tenant's database open.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::fault::Fault;

/// How long requests may go on after SIGTERM.
pub const GRACE: Duration = Duration::from_secs(5);

/// Why a service cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The handlers of SIGTERM and SIGINT could not be installed.
    #[error("cannot handle signals")]
    Signal(#[source] io::Error),
    /// The port could not be bound.
    #[error("cannot listen on 127.0.0.1:{port}")]
    Listen {
        /// The port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// The listening socket failed.
    #[error("serving on 127.0.0.1:{port} failed")]
    Serve {
        /// The port.
        port: u16,
        /// Why.
        source: io::Error,
    },
}

/// The request to stop, by SIGTERM or SIGINT.
#[derive(Debug)]
pub struct Stop {
    terminate: Signal,
    interrupt: Signal,
    ignored: bool,
}

impl Stop {
    /// Starts to catch the signals. Do this before anything that a signal must
    /// not interrupt, such as opening a database.
    ///
    /// # Errors
    /// The operating system refuses the handlers.
    pub fn install(fault: Option<Fault>) -> Result<Stop, ServeError> {
        Ok(Stop {
            terminate: signal(SignalKind::terminate()).map_err(ServeError::Signal)?,
            interrupt: signal(SignalKind::interrupt()).map_err(ServeError::Signal)?,
            ignored: fault == Some(Fault::IgnoreSigterm),
        })
    }

    async fn requested(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            if !self.ignored {
                return;
            }
            println!("ignoring the signal to stop, as the test knob asks");
        }
    }
}

/// Serves `router` on 127.0.0.1:`port` until `stop`, then lets requests end.
/// `ready` is printed once connections are accepted.
///
/// # Errors
/// The port cannot be bound, or the socket fails.
pub async fn serve(
    router: Router,
    port: u16,
    mut stop: Stop,
    fault: Option<Fault>,
    ready: &str,
) -> Result<(), ServeError> {
    if fault == Some(Fault::NeverListen) {
        println!("not listening, as the test knob asks");
        stop.requested().await;
        return Ok(());
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|source| ServeError::Listen { port, source })?;
    println!("{ready}, listening on 127.0.0.1:{port}");

    let (stopping, stopped) = oneshot::channel();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move {
        stop.requested().await;
        // The receiver is gone only when the server is, and then nobody waits.
        let _ = stopping.send(());
    });
    let deadline = async {
        match stopped.await {
            Ok(()) => tokio::time::sleep(GRACE).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        result = server => result.map_err(|source| ServeError::Serve { port, source }),
        () = deadline => {
            println!("dropping requests that did not end in {} s", GRACE.as_secs());
            Ok(())
        }
    }
}

/// `error` and all its sources in one line.
#[must_use]
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
