//! Tests that run themselves in a throwaway host: outside they boot it, inside
//! (told by a variable) they do their work as root of that host.

use std::future::Future;
use std::process::Command;

use cb_testhost::{Options, TestHost};

const INSIDE: &str = "CB_INSIDE_A_TEST_HOST";

/// Runs `work` inside a throwaway host with these options, where these
/// variables (`NAME=value`) are set.
pub(crate) fn run_inside<F: Future<Output = ()>>(
    test: &str,
    options: impl FnOnce() -> Options,
    variables: &[&str],
    work: impl FnOnce() -> F,
) {
    if std::env::var_os(INSIDE).is_some() {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        return builder.enable_all().build().unwrap().block_on(work());
    }
    let program = std::env::current_exe().unwrap();
    let options = options().bind_ro(program.display(), "/opt/test");
    let host = TestHost::boot(options).unwrap();
    let inside = format!("{INSIDE}=1");
    let command = ["/opt/test", "--exact", "--nocapture", test];
    let command = [&["env", &inside], variables, &command].concat();
    let output = host.exec(&command).unwrap();
    println!("{}{}", output.stdout, output.stderr);
    let ran = output.stdout.contains("1 passed");
    assert!(
        output.code == Some(0) && ran,
        "see above; {}",
        host.journal("")
    );
}

/// What a shell script with `set -eu` prints.
pub(crate) fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-euc", script]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {text}{complaint}");
    text.trim_end().to_owned()
}
