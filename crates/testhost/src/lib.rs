//! cb-testhost
