//! cb-runtime
