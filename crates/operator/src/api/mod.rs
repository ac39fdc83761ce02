//! The operator's API: HTTP on a unix socket, in Kubernetes' paths and shapes.
//!
//! ```text
//! server (socket, connections) ─▶ routes ─▶ request ─▶ Backend
//!                                    └────▶ object, discovery, watch, status
//! ```
//!
//! Reads are answered from the [`State`](crate::state::State); changes go
//! through the [`Backend`]. What must not live here: what an object means,
//! where its manifest is written, and anything that touches the host.

mod backend;
mod changes;
mod discovery;
pub mod object;
mod request;
mod routes;
mod selector;
mod server;
mod socket;
mod status;
mod stream;
mod watch;

pub use backend::*;
pub use server::serve;
pub use socket::{BindError, Socket};

#[cfg(test)]
mod tests;
