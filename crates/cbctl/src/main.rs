//! cbctl
fn main() {}
