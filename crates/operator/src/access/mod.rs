//! Access over TCP: the tokens, the server's certificate, and the log of who
//! changed what.
//!
//! What a request may do is judged in [`crate::api`], by the rules of
//! [`cb_core::access`].

mod audit;
mod pki;
mod tokens;

pub use audit::{Audit, Entry};
pub use pki::{Tls, TlsError, tls};
pub use tokens::{Good, TokenError, Tokens};

/// What the API needs for access.
#[derive(Debug)]
pub struct Access {
    /// The tokens.
    pub tokens: Tokens,
    /// The log of changes.
    pub audit: Audit,
    /// Where the API is over TCP, and the certificate of the authority that
    /// signed its own, in PEM form; none if it is not.
    pub remote: Option<(std::net::SocketAddr, String)>,
}
