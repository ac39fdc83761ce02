//! That a test on a real host runs every command and every option.
//!
//! The command lines are taken from the texts in the sources of those tests:
//! `cbctl` with its words, or a text that begins with a command, as tests give
//! it to a helper that runs `cbctl`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clap::{Arg, Command};

/// What is written in the sources: texts one after the other, with what stands
/// before each.
fn texts(source: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut between = String::new();
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let raw = ["r#\"", "r\""].iter().find(|open| rest.starts_with(**open));
        if let Some(open) = raw.filter(|_| !between.ends_with(char::is_alphanumeric)) {
            let close = if open.len() == 3 { "\"#" } else { "\"" };
            let body = &rest[open.len()..];
            let end = body.find(close).unwrap_or(body.len());
            found.push((std::mem::take(&mut between), body[..end].to_owned()));
            rest = body[end..].get(close.len()..).unwrap_or_default();
        } else if c == '"' {
            let (text, after) = unescaped(&rest[1..]);
            found.push((std::mem::take(&mut between), text));
            rest = after;
        } else if rest.starts_with("'\"'") {
            rest = &rest[3..];
        } else if rest.starts_with("//") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else {
            between.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    found
}

/// A text up to its closing quote, and what follows it.
fn unescaped(body: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = body.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, &body[at + 1..]),
            '\\' => match chars.next() {
                Some((_, 'n')) => text.push('\n'),
                // The line goes on.
                Some((_, '\n')) => while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {},
                Some((_, c)) => text.push(c),
                None => {}
            },
            c => text.push(c),
        }
    }
    (text, "")
}

/// The command lines of `cbctl` in a source, each as its words without `cbctl`.
fn lines(source: &str, root: &Command) -> Vec<Vec<String>> {
    let texts = texts(source);
    let mut constants: BTreeMap<String, String> = BTreeMap::new();
    for (before, text) in &texts {
        let name = before.rsplit_once("const ").map(|(_, rest)| rest);
        if let Some(name) = name.and_then(|rest| rest.strip_suffix(": &str = ")) {
            constants.insert(format!("{{{name}}}"), text.clone());
        }
    }
    let mut found = Vec::new();
    let mut list: Vec<String> = Vec::new();
    for (before, text) in texts {
        // The words of a list, given one by one; a variable may be among them.
        let word = |c: char| c.is_alphanumeric() || "_&, \n".contains(c);
        let goes_on = before.trim_start().starts_with(',') && before.chars().all(word);
        if !goes_on {
            found.extend(line_of(&std::mem::take(&mut list), root));
            if before.trim_end().ends_with('[') && !before.contains("kubectl(") {
                list.push(text.clone());
            }
        } else if !list.is_empty() {
            list.push(text.clone());
        }
        let mut text = text;
        for (name, value) in &constants {
            text = text.replace(name, value);
        }
        for separator in ["&&", "||", "$(", "<(", ";", "|", "`"] {
            text = text.replace(separator, "\n");
        }
        for line in text.replace("\\\n", " ").lines() {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            found.extend(line_of(&words, root));
        }
    }
    found.extend(line_of(&list, root));
    found
}

/// The words after `cbctl`, or all if the first is a command.
fn line_of(words: &[String], root: &Command) -> Option<Vec<String>> {
    let bare = |word: &String| word.trim_matches(|c| "'\"()".contains(c)).to_owned();
    let words: Vec<String> = words.iter().map(bare).collect();
    let after = words.iter().position(|word| word == "cbctl");
    let line = &words[after.map_or(0, |at| at + 1)..];
    // A word alone is a command only where `cbctl` is before it.
    let least = if after.is_some() { 1 } else { 2 };
    if after.is_none() && words.iter().any(|word| word == "kubectl") {
        return None;
    }
    let mut rest = line.iter();
    // An option of every command may come first.
    let first = loop {
        match rest.next()?.as_str() {
            "--context" | "--server" | "-o" => drop(rest.next()),
            word if word.starts_with('-') => {}
            word => break word,
        }
    };
    (line.len() >= least && root.find_subcommand(first).is_some()).then(|| line.to_vec())
}

/// What a command line says: commands and `command --option[=value]`.
fn said(line: &[String], root: &Command) -> BTreeSet<String> {
    let mut said = BTreeSet::new();
    let (mut command, mut path) = (root, String::new());
    let mut words = line.iter().peekable();
    let mut plain = 0;
    while let Some(word) = words.next() {
        if let Some(next) = command.find_subcommand(word).filter(|_| plain == 0) {
            command = next;
            path = format!("{path} {word}");
            said.insert(path.trim().to_owned());
            continue;
        }
        let (name, value) = word
            .split_once('=')
            .map_or((word.as_str(), None), |(n, v)| (n, Some(v)));
        let of = |arg: &&Arg| is_called(arg, name);
        let found = command
            .get_arguments()
            .find(of)
            .map(|arg| (arg, path.clone()));
        let found = found.or_else(|| Some((root.get_arguments().find(of)?, String::new())));
        match found {
            Some((arg, path)) => {
                let takes = arg.get_num_args().is_none_or(|n| n.min_values() > 0)
                    && arg.get_action().takes_values();
                let next = words.peek().map(|word| word.as_str());
                let shown = value.or(next);
                if takes && value.is_none() {
                    words.next();
                }
                said.insert(option(&path, arg, None));
                said.insert(option(&path, arg, shown));
            }
            None if !word.starts_with('-') => {
                plain += 1;
                said.insert(format!("{path} {word}").trim().to_owned());
            }
            None => {}
        }
    }
    said
}

fn is_called(arg: &Arg, name: &str) -> bool {
    if let Some(long) = name.strip_prefix("--") {
        return arg.get_long() == Some(long);
    }
    let mut letters = name.chars();
    letters.next() == Some('-') && letters.next() == arg.get_short() && arg.get_short().is_some()
}

fn option(path: &str, arg: &Arg, value: Option<&str>) -> String {
    let name = arg
        .get_long()
        .map_or_else(|| arg.get_id().to_string(), |long| format!("--{long}"));
    let value = value.map_or_else(String::new, |value| format!("={value}"));
    format!("{path} {name}{value}").trim().to_owned()
}

/// What there is to say: every command without further ones, every option, and
/// every value of those that have a list of values.
fn all(command: &Command, path: &str, out: &mut BTreeSet<String>) {
    if command.get_subcommands().next().is_none() {
        out.insert(path.to_owned());
    }
    for arg in command.get_arguments() {
        if arg.is_hide_set() || ["help", "version"].contains(&arg.get_id().as_str()) {
            continue;
        }
        let values: Vec<String> = match arg.get_action() {
            action if action.takes_values() => arg.get_possible_values(),
            _ => Vec::new(),
        }
        .iter()
        .map(|value| value.get_name().to_owned())
        .collect();
        if arg.is_positional() {
            out.extend(values.iter().map(|value| format!("{path} {value}")));
            continue;
        }
        out.insert(option(path, arg, None));
        let defaults = arg.get_default_values();
        let others = values.iter().filter(|value| {
            let value = value.as_str();
            !defaults.iter().any(|default| default == value)
        });
        out.extend(others.map(|value| option(path, arg, Some(value))));
    }
    for next in command.get_subcommands() {
        all(next, format!("{path} {}", next.get_name()).trim(), out);
    }
}

/// Law 8: no command and no option is promised that no test runs with the real
/// operator.
#[test]
fn every_command_and_option_is_run_on_a_host() {
    let root = crate::cli::command();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/e2e");
    let mut run = BTreeSet::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|of| of == "rs") && !path.ends_with("kubectl.rs")
            {
                let source = std::fs::read_to_string(&path).unwrap();
                run.extend(
                    lines(&source, &root)
                        .iter()
                        .flat_map(|line| said(line, &root)),
                );
            }
        }
    }
    let mut promised = BTreeSet::new();
    all(&root, "", &mut promised);
    assert!(promised.len() > 150, "{promised:?}");
    let missing: Vec<_> = promised.difference(&run).collect();
    assert!(missing.is_empty(), "no test on a host runs: {missing:#?}");
}

#[test]
fn command_lines_are_found_in_lists_and_texts() {
    let root = crate::cli::command();
    let source = r##"
        const LIKE: &str = "get tn --show-labels";
        good(&world, &format!("{LIKE} -o name"))?; // cbctl get -w
        cbctl(&world, &["apply", "-f", "/x", "--dry-run=server"]);
        kubectl(&world, &["delete", "--ignore-not-found"]);
        sh("set -e; X=1 cbctl --context a wait tn \
            --all && echo cbctl");
    "##;
    let found: BTreeSet<String> = lines(source, &root)
        .iter()
        .flat_map(|line| said(line, &root))
        .collect();
    for there in [
        "get --show-labels",
        "--output=name",
        "apply --dry-run=server",
        "apply --filename",
        "--context",
        "wait --all",
    ] {
        assert!(found.contains(there), "{there}: {found:?}");
    }
    assert!(
        !found.contains("get --watch") && !found.contains("delete"),
        "{found:?}"
    );
}
