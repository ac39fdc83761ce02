//! What tests and fuzz targets share to find out whether text can leave its
//! field (law 10): a [`list`] of hostile text, every place of the objects that
//! takes text ([`places`]), what an object with it makes of a host
//! ([`world`]), and readers of the files ([`unit`], [`env`](mod@env), [`site`])
//! that are stricter than systemd and nginx and share no code with what wrote
//! them.
//!
//! Places are found from the schema: a field that is added is tested without a
//! change here.

pub mod env;
pub mod list;
pub mod places;
pub mod site;
pub mod unit;
pub mod world;
