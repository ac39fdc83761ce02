//! cbapp
