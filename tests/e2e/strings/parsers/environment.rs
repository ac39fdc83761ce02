//! `.env` files, as processes find them in their environment.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use cb_testhost::TestHost;

use super::{FOLDER, Shelf};

/// A service that writes the environment it was started with.
pub(super) const UNIT: &str = "\
[Service]
Type=oneshot
EnvironmentFile=/srv/hostile/environment/%i
ExecStart=/usr/bin/env -0
StandardOutput=truncate:/run/environment/%i
StandardError=journal
";

/// What systemd adds, another one each time.
const OF_THE_RUN: [&str; 3] = ["INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID"];

pub(super) fn faults(host: &TestHost, shelf: &Shelf) -> Result<Vec<String>> {
    host.sh(&format!(
        "mkdir /run/environment; cd {FOLDER}/environment\n\
         ls | sed 's/.*/environment@&.service/' | xargs systemctl start"
    ))?;
    let files = host.sh("cd /run/environment; for f in *; do echo $f $(wc -c <$f); done")?;
    // One after the other: a value may hold anything but NUL.
    let bytes = host.sh("cd /run/environment; cat *")?;
    let mut rest = bytes.as_bytes();
    let mut found = BTreeMap::new();
    for line in files.lines() {
        let (number, size) = line.split_once(' ').context("no size")?;
        let (own, more) = rest.split_at_checked(size.parse()?).context("it is cut")?;
        found.insert(number.parse::<usize>()?, variables(own)?);
        rest = more;
    }
    let mut faults = Vec::new();
    for case in &shelf.cases {
        let (Some(found), Some(harmless)) = (found.get(&case.number), found.get(&case.harmless))
        else {
            faults.push(case.fault("no service started with it"));
            continue;
        };
        let wanted = harmless.iter();
        let wanted: BTreeMap<_, _> = wanted
            .map(|(name, value)| (case.expected(name), case.expected(value)))
            .collect();
        for (name, value) in &wanted {
            if case.shows && found.get(name) != Some(value) {
                let found = found.get(name);
                faults
                    .push(case.fault(&format!("{name} is {found:.300?} instead of {value:.300?}")));
            }
        }
        if !found.keys().eq(wanted.keys()) {
            faults.push(case.fault("there are other variables"));
        }
    }
    Ok(faults)
}

/// What `env -0` wrote.
fn variables(bytes: &[u8]) -> Result<BTreeMap<String, String>> {
    let text = std::str::from_utf8(bytes)?;
    let mut out = BTreeMap::new();
    for one in text.split_terminator('\0') {
        let (name, value) = one.split_once('=').context("no variable")?;
        if !OF_THE_RUN.contains(&name) {
            out.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(out)
}
