//! The loop of an operator, generic over what it reconciles.
//!
//! ```text
//! folder ──Scan──▶ (caller: admission) ──▶ store ──▶ controller ──▶ Reconciler
//!                                                    queue + back-off
//! host-wide steps that many passes ask for at once ──▶ coalesce
//! ```
//!
//! - [`folder`]: whole, honest readings of a folder of small files.
//! - [`queue`]: which key runs when; pure, no clock of its own.
//! - [`backoff`]: how long a key that failed waits.
//! - [`controller`]: runs a [`Reconciler`] over the queue.
//! - [`coalesce`]: one run for many callers.
//! - [`store`]: a map with revisions that can be watched.
//!
//! What must not live here: any knowledge of tenants, manifests, systemd or
//! nginx. Keys, reasons, items and values are type parameters.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests set files up and look at them"
    )
)]

pub mod backoff;
pub mod coalesce;
pub mod controller;
pub mod folder;
pub mod queue;
pub mod store;

pub use backoff::BackoffConfig;
pub use coalesce::{CoalesceConfig, CoalesceError, Coalescer, Ticket};
pub use controller::{
    Action, Context, ControllerConfig, Handle, Reconciler, ShutdownReport, Stats,
};
pub use folder::{
    FileProblem, FileRead, Filter, FolderConfig, FolderHandle, FolderStats, FolderWatcher, Scan,
    ScanProblem, WatcherStopped,
};
pub use queue::Queue;
pub use store::{Change, Store, Watch, WatchError};
