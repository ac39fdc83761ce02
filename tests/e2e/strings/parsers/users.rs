//! Definitions of users, as systemd-sysusers makes them.

use anyhow::{Result, ensure};
use cb_testhost::TestHost;

use super::{FOLDER, Shelf};

pub(super) fn faults(host: &TestHost, shelf: &Shelf) -> Result<Vec<String>> {
    let last = shelf.contents.len() - 1;
    let made = host.sh(&format!(
        "for n in $(seq 0 {last}); do\n\
         install -d /run/users/$n/etc\n\
         systemd-sysusers --root=/run/users/$n - <{FOLDER}/users/$n\n\
         cat /run/users/$n/etc/passwd; echo end\ndone"
    ))?;
    let made: Vec<&str> = made.split_terminator("end\n").collect();
    ensure!(made.len() == shelf.contents.len(), "{made:?}");
    let mut faults = Vec::new();
    for case in &shelf.cases {
        let (found, wanted) = (made[case.number], case.expected(made[case.harmless]));
        if found != wanted || found.lines().count() != 1 {
            faults.push(case.fault(&format!("{found:?} instead of {wanted:?}")));
        }
    }
    Ok(faults)
}
