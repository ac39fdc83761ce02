//! The pure part of the operator: what the objects are, what they mean for a
//! host, and what has to be done to get there.
//!
//! Data flows one way: manifests ([`manifest`]) become objects ([`api`]); an
//! object with its Application and Host becomes a [`desired::Desired`] state
//! with the text of every file ([`render`]); that, what was seen on the host
//! ([`observed`]) and what was recorded earlier ([`record`]) become a
//! [`plan::Plan`]. An empty plan means converged.
//!
//! Nothing here does I/O, reads a clock or spawns: the same inputs give the
//! same plan, so `cbctl diff` and the operator cannot disagree. A check of the
//! dependency tree (`cargo xtask test`) holds this.

pub mod api;
pub mod conditions;
pub mod desired;
pub mod digest;
pub mod mark;
pub mod observed;
pub mod plan;
pub mod ports;
pub mod record;
pub mod render;
pub mod types;
pub mod yaml;
