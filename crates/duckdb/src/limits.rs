//! The limit in time: interrupts queries when it is over, ends the process if
//! that does not help.
//!
//! DuckDB forgets an interrupt that comes between two queries, so it is
//! repeated. From [`Watch::commit`] on nothing is interrupted any more: a
//! transaction that is being written is either there afterwards or not, and
//! cutting it short would only hide which.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use duckdb::{Connection, InterruptHandle};

use crate::error::{Code, Error};

const REPEAT: Duration = Duration::from_millis(50);
/// How long an interrupted command may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);

/// The limit of one run. See the module's header.
#[derive(Clone)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    limit: Option<Duration>,
    over: AtomicBool,
    committing: AtomicBool,
    handles: Mutex<Vec<Arc<InterruptHandle>>>,
}

impl Watch {
    /// Starts the clock for the work on `path`.
    pub(crate) fn start(path: PathBuf, limit: Option<Duration>) -> Watch {
        let shared = Arc::new(Shared {
            path,
            limit,
            over: AtomicBool::new(false),
            committing: AtomicBool::new(false),
            handles: Mutex::new(Vec::new()),
        });
        if let Some(limit) = limit {
            let shared = Arc::clone(&shared);
            // Not joined: it ends with the process.
            std::thread::spawn(move || shared.watch(limit));
        }
        Watch { shared }
    }

    /// Has the queries of `connection` interrupted when time is over.
    pub(crate) fn guard(&self, connection: &Connection) {
        self.shared
            .handles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection.interrupt_handle());
    }

    /// Whether to go on; called between steps that cannot be interrupted.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.is_over() {
            true => Err(self.shared.error()),
            false => Ok(()),
        }
    }

    /// The last point at which time can run out.
    pub(crate) fn commit(&self) -> Result<(), Error> {
        self.shared.committing.store(true, Ordering::SeqCst);
        self.check()
    }

    /// What an error means: if time is over, that.
    pub(crate) fn judge(&self, error: Error) -> Error {
        if self.is_over() && !self.shared.committing.load(Ordering::SeqCst) {
            return self.shared.error();
        }
        error
    }

    fn is_over(&self) -> bool {
        self.shared.over.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn watch(&self, limit: Duration) {
        std::thread::sleep(limit);
        self.over.store(true, Ordering::SeqCst);
        let mut waited = Duration::ZERO;
        while waited < GRACE {
            if !self.committing.load(Ordering::SeqCst) {
                let handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
                handles.iter().for_each(|handle| handle.interrupt());
            }
            std::thread::sleep(REPEAT);
            waited += REPEAT;
        }
        println!("{}", self.error().document());
        std::process::exit(i32::from(Code::TimedOut as u8));
    }

    fn error(&self) -> Error {
        Error::TimedOut {
            path: self.path.clone(),
            seconds: self.limit.unwrap_or_default().as_secs_f64(),
        }
    }
}
