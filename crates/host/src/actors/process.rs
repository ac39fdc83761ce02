//! A process, as far as it can still be looked at.

use std::path::Path;

use cb_core::drift::Actor;

/// systemd changes files for those who ask it; who that is it does not tell.
const INIT: u32 = 1;
/// The login user of what nobody logged in for.
const NOBODY: u32 = u32::MAX;

/// `None` for this process, for systemd, and for a process of another
/// namespace.
pub(super) fn look(pid: i32) -> Option<Actor> {
    let pid = u32::try_from(pid).ok().filter(|pid| *pid > INIT)?;
    if pid == std::process::id() {
        return None;
    }
    let folder = Path::new("/proc").join(pid.to_string());
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    let line = |name: &str| {
        let text = text(name)?;
        Some(text.trim_end_matches('\n').to_owned()).filter(|text| !text.is_empty())
    };
    let executable = std::fs::read_link(folder.join("exe")).ok();
    let login = line("loginuid").and_then(|uid| uid.parse().ok());
    Some(Actor {
        pid,
        command: line("comm"),
        executable: executable.map(|path| path.display().to_string()),
        uid: text("status").as_deref().and_then(uid),
        login_uid: login.filter(|uid| *uid != NOBODY),
    })
}

/// The real user id in `/proc/PID/status`.
fn uid(status: &str) -> Option<u32> {
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_and_systemd_are_nobody() {
        assert_eq!(look(i32::try_from(std::process::id()).unwrap()), None);
        assert_eq!((look(0), look(1), look(-1)), (None, None, None));
    }

    #[test]
    fn the_user_is_the_real_one() {
        assert_eq!(uid("Name:\tsh\nUid:\t1000\t0\t0\t0\n"), Some(1000));
        assert_eq!(uid("Name:\tsh\n"), None);
    }
}
