//! cb-core
