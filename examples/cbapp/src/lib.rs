//! Campaign Brain's example application: what its two programs share.
//!
//! Every tenant runs one `cbapp-api` (owner of the tenant's DuckDB file and
//! uploads) and one `cbapp-frontend` (an HTML page made from the api's
//! answers). Both are started with an environment that names the tenant, its
//! ports and its files ([`settings`]), find out which release they belong to
//! ([`release`]), and listen on 127.0.0.1 until SIGTERM ([`serve`]).
//!
//! Nothing here may use DuckDB: the frontend would then load the 70 MB engine
//! as well. All of that lives in the api's own modules.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests write their own throwaway files"
    )
)]

pub mod fault;
pub mod html;
pub mod messages;
pub mod names;
pub mod release;
pub mod serve;
pub mod settings;
