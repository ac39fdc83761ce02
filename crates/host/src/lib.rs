//! cb-host
