//! cb-e2e
