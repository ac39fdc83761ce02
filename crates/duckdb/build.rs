//! Tells the program where to find DuckDB's shared library at run time: in
//! `lib` beside its own `bin` folder, or beside itself. A development build
//! also looks in the folder it was linked against, so that `cargo run` and
//! `cargo test` work; a release build must not name a folder of the machine
//! that built it.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=DUCKDB_LIB_DIR");
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib:$ORIGIN");
    let folder = env::var("DUCKDB_LIB_DIR").unwrap_or_default();
    if folder.is_empty() {
        println!(
            "cargo:warning=DUCKDB_LIB_DIR is not set, so the linker may not find DuckDB's shared \
             library; `cargo xtask build` fetches it and sets the variable"
        );
    }
    if env::var("PROFILE").as_deref() == Ok("debug") && !folder.is_empty() {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
    }
    // The integration tests run the program as another user, out of a folder
    // of its own with the library beside it.
    println!("cargo:rustc-env=CB_TEST_DUCKDB_LIB={folder}/libduckdb.so");
}
