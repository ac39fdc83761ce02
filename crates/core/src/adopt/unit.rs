//! A unit file that somebody wrote by hand: what its service runs with
//! (systemd.syntax(7), systemd.exec(5)).
//!
//! What is not understood stays as it is written, and so differs from what the
//! operator would write.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// What a service runs with.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct UnitFile {
    /// `User=`; root without.
    pub user: Option<String>,
    /// `Group=`; the user's own without.
    pub group: Option<String>,
    /// `WorkingDirectory=`.
    pub directory: Option<String>,
    /// The words of the last `ExecStart=`.
    pub command: Vec<String>,
    /// `Environment=`, the last of each name. Values may be secrets.
    pub environment: BTreeMap<String, String>,
    /// `EnvironmentFile=`, in order, without the `-` of an optional one.
    pub environment_files: Vec<PathBuf>,
}

impl UnitFile {
    /// Reads a unit file.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut out = Self::default();
        let mut section = String::new();
        for line in logical_lines(text) {
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                name.clone_into(&mut section);
            } else if section == "Service"
                && let Some((key, value)) = line.split_once('=')
            {
                out.take(key.trim(), value.trim());
            }
        }
        out
    }

    fn take(&mut self, key: &str, value: &str) {
        let text = || (!value.is_empty()).then(|| value.replace("%%", "%"));
        match key {
            "User" => self.user = text(),
            "Group" => self.group = text(),
            "WorkingDirectory" => {
                self.directory = text().map(|path| path.trim_end_matches('/').to_owned());
            }
            "ExecStart" => {
                self.command = words(value)
                    .into_iter()
                    .map(|word| word.replace("$$", "$"))
                    .collect();
            }
            "Environment" if value.is_empty() => self.environment.clear(),
            "Environment" => {
                for word in words(value) {
                    if let Some((name, value)) = word.split_once('=') {
                        self.environment.insert(name.to_owned(), value.to_owned());
                    }
                }
            }
            "EnvironmentFile" if value.is_empty() => self.environment_files.clear(),
            "EnvironmentFile" => {
                let path = value.strip_prefix('-').unwrap_or(value);
                self.environment_files.push(path.into());
            }
            _ => {}
        }
    }
}

/// Lines without comments, with those that end in `\` joined to the next.
fn logical_lines(text: &str) -> Vec<String> {
    let (mut out, mut open) = (Vec::new(), String::new());
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with(['#', ';']) || (line.is_empty() && open.is_empty()) {
            continue;
        }
        match line.strip_suffix('\\') {
            Some(start) => {
                open.push_str(start);
                open.push(' ');
            }
            None => {
                open.push_str(line);
                out.push(std::mem::take(&mut open));
            }
        }
    }
    out.extend((!open.is_empty()).then_some(open));
    out
}

/// Words as systemd splits them: quotes take blanks in, a backslash takes the
/// next letter as it is, and `%%` is `%`.
fn words(text: &str) -> Vec<String> {
    let (mut out, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => out.extend(word.take()),
            (None, '"' | '\'') => {
                word.get_or_insert_default();
                quote = Some(c);
            }
            (Some(open), c) if c == open => quote = None,
            (_, '\\') => word.get_or_insert_default().extend(chars.next()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    out.extend(word);
    out.into_iter()
        .map(|word| word.replace("%%", "%"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_the_service_are_read() {
        let unit = UnitFile::parse(
            "# by hand\n[Unit]\nUser=nobody\n[Service]\nUser=cb-ky04\nWorkingDirectory=/srv/v1/\n\
             Environment=PORT=32301 \"NOTE=a b\" 'C=100%%'\nEnvironment=PORT=32302\n\
             EnvironmentFile=-/etc/ky04.env\nExecStart=/srv/v1/bin/api --port \\\n  \"$$x\" 5\n\
             [Install]\nWantedBy=multi-user.target\n",
        );
        assert_eq!(unit.user.as_deref(), Some("cb-ky04"));
        assert_eq!(unit.group, None);
        assert_eq!(unit.directory.as_deref(), Some("/srv/v1"));
        assert_eq!(unit.command, ["/srv/v1/bin/api", "--port", "$x", "5"]);
        assert_eq!(unit.environment["PORT"], "32302");
        assert_eq!(unit.environment["NOTE"], "a b");
        assert_eq!(unit.environment["C"], "100%");
        assert_eq!(unit.environment_files, [PathBuf::from("/etc/ky04.env")]);
    }

    #[test]
    fn an_empty_setting_resets_the_list() {
        let unit = UnitFile::parse("[Service]\nEnvironment=A=1\nEnvironment=\nEnvironment=B=2\n");
        assert_eq!(unit.environment.keys().collect::<Vec<_>>(), ["B"]);
    }
}
