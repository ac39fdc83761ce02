//! cb-operator
fn main() {}
