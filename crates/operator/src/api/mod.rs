//! The operator's API: HTTP on a unix socket, in Kubernetes' paths and shapes.
//!
//! ```text
//! server (socket, connections) ─▶ routes ─▶ request ─▶ Backend
//!                                    ├────▶ object, discovery, watch, status
//!                                    └────▶ upgrade, backups ─▶ fields ─▶ Operations
//! ```
//!
//! Reads are answered from the [`State`](crate::state::State); changes go
//! through the [`Backend`]. What must not live here: what an object means,
//! where its manifest is written, and anything that touches the host.

mod access;
mod apply;
mod audit;
mod backend;
mod backups;
mod changes;
mod discovery;
mod events;
mod fields;
mod health;
mod limits;
mod metrics;
mod need;
pub mod object;
mod openapi;
mod operations;
mod page;
mod patch;
mod problem;
mod query;
mod request;
mod rollouts;
mod routes;
mod selector;
mod server;
mod socket;
mod source;
mod status;
mod stream;
mod table;
mod tokens;
mod upgrade;
mod usage;
mod watch;
mod webhook;

pub use backend::*;
pub use metrics::serve_metrics;
pub use operations::{Asked, Operations, Restore, Upgrade, Verdict};
pub use problem::{Problem, ProblemKind};
pub use server::serve;
pub use socket::{BindError, Socket};
pub use webhook::serve_webhook;

#[cfg(test)]
mod tests;
