//! The built `cbctl` as a person uses it, against a server of the test's own.
//!
//! The environment is cleared and the clock is fixed, so that what is printed
//! is the same everywhere.

mod apply;
mod delete;
mod diff;
mod explain;
mod get;
mod happenings;
mod logs;
mod operations;
mod ports;
mod resources;
mod server;
mod validate;
mod wait;
mod watch;
mod world;
