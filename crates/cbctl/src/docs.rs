//! The reference of the command line and its man pages, written from its
//! definition: `docs/cbctl.md` and `docs/man/`.
//!
//! Set `UPDATE_GENERATED=1` to have the tests write the files.

#![allow(clippy::disallowed_methods, reason = "files of the repository")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::builder::StyledStr;
use clap::{Arg, Command};

/// Every file with its text, relative to `docs/`.
fn files() -> BTreeMap<String, String> {
    let mut root = crate::cli::command()
        .version(None::<&str>)
        .disable_help_subcommand(true);
    // Gives each command its full name and the options of all commands.
    root.build();
    let mut out = BTreeMap::from([("cbctl.md".to_owned(), reference(&root))]);
    pages(&root, &mut out);
    out
}

fn is_shown(command: &Command) -> bool {
    !command.is_hide_set() && command.get_name() != "help"
}

/// A page for each command, as `cbctl-get.1`.
fn pages(command: &Command, out: &mut BTreeMap<String, String>) {
    let name = full_name(command).replace(' ', "-");
    let page = clap_mangen::Man::new(command.clone())
        .title(name.to_uppercase())
        .date("")
        .source("cbctl")
        .manual("Campaign Brain");
    let mut text = Vec::new();
    page.render(&mut text).expect("memory takes it");
    let text = String::from_utf8(text).expect("the definitions are text");
    out.insert(format!("man/{name}.1"), text);
    for below in command.get_subcommands().filter(|below| is_shown(below)) {
        pages(below, out);
    }
}

fn full_name(command: &Command) -> String {
    let full = command.get_bin_name().unwrap_or(command.get_name());
    full.to_owned()
}

fn reference(root: &Command) -> String {
    let mut out = String::from(
        "<!-- Written from the command line's definition by `cargo xtask generate`. -->\n\n\
         # cbctl\n\n",
    );
    let w = &mut out;
    about(w, root);
    w.push_str("## Options of every command\n\n");
    options(w, root.get_arguments().filter(|one| !one.is_hide_set()));
    w.push_str("\n## Commands\n\n");
    for command in root.get_subcommands().filter(|one| is_shown(one)) {
        let name = command.get_name();
        let what = plain(command.get_about());
        let _ = writeln!(w, "- [`{name}`](#cbctl-{name}): {what}");
    }
    for command in root.get_subcommands().filter(|one| is_shown(one)) {
        section(w, command, 2);
    }
    out
}

fn section(w: &mut String, command: &Command, depth: usize) {
    let marks = "#".repeat(depth);
    let _ = writeln!(w, "\n{marks} {}\n", full_name(command));
    about(w, command);
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim().trim_start_matches("Usage:").trim().to_owned();
    let usage: Vec<&str> = usage.lines().map(str::trim).collect();
    let _ = writeln!(w, "```\n{}\n```\n", usage.join("\n"));
    let own = command
        .get_arguments()
        .filter(|one| !one.is_hide_set() && !one.is_global_set());
    let own: Vec<&Arg> = own.filter(|one| one.get_id() != "help").collect();
    options(w, own.into_iter());
    if let Some(after) = command.get_after_help() {
        let after = after.to_string();
        let after = match after.split_once("Example") {
            Some((before, examples)) => {
                let (_, examples) = examples.split_once('\n').unwrap_or_default();
                let before = before.trim();
                let gap = if before.is_empty() { "" } else { "\n\n" };
                format!("{before}{gap}```sh\n{}\n```", unindented(examples))
            }
            None => after.trim().to_owned(),
        };
        let _ = writeln!(w, "\n{after}");
    }
    for below in command.get_subcommands().filter(|below| is_shown(below)) {
        section(w, below, depth + 1);
    }
}

fn about(w: &mut String, command: &Command) {
    let about = command.get_long_about().or(command.get_about());
    let about = plain(about);
    if !about.is_empty() {
        let _ = writeln!(w, "{about}\n");
    }
}

fn options<'a>(w: &mut String, arguments: impl Iterator<Item = &'a Arg>) {
    for argument in arguments {
        let what = argument.get_long_help().or(argument.get_help());
        let mut what = plain(what).replace('\n', " ");
        let default: Vec<_> = argument.get_default_values().iter().collect();
        let takes_value = argument.get_action().takes_values();
        if takes_value && !argument.is_hide_default_value_set() && !default.is_empty() {
            let words: Vec<_> = default.iter().map(|word| word.to_string_lossy()).collect();
            let _ = write!(what, " (default `{}`)", words.join(" "));
        }
        if let Some(variable) = argument.get_env() {
            let _ = write!(what, " (`${}`)", variable.to_string_lossy());
        }
        let _ = writeln!(w, "- `{}`: {what}", shown(argument));
        for value in argument.get_possible_values() {
            let help = plain(value.get_help());
            if takes_value && !argument.is_hide_possible_values_set() && !help.is_empty() {
                let _ = writeln!(w, "  - `{}`: {help}", value.get_name());
            }
        }
    }
}

/// `-n, --name <VALUE>`, or `[VALUE]...`.
fn shown(argument: &Arg) -> String {
    if argument.is_positional() {
        return argument.to_string();
    }
    let value = match argument.get_action().takes_values() {
        true => argument
            .get_value_names()
            .into_iter()
            .flatten()
            .map(|name| format!(" <{name}>"))
            .collect(),
        false => String::new(),
    };
    let short = argument.get_short().map(|letter| format!("-{letter}"));
    let long = argument.get_long().map(|word| format!("--{word}"));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    format!("{}{value}", names.join(", "))
}

fn plain(text: Option<&StyledStr>) -> String {
    text.map(ToString::to_string)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn unindented(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.strip_prefix("  ").unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

#[test]
fn the_reference_and_the_man_pages_are_those_generated() {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let update = std::env::var_os("UPDATE_GENERATED").is_some();
    let files = files();
    for (path, text) in &files {
        let file = docs.join(path);
        if update {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, text).unwrap();
        }
        let there = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            there == *text,
            "docs/{path} is stale; run `cargo xtask generate`"
        );
    }
    for entry in std::fs::read_dir(docs.join("man")).unwrap() {
        let path = format!("man/{}", entry.unwrap().file_name().to_string_lossy());
        if files.contains_key(&path) {
            continue;
        }
        match update {
            true => std::fs::remove_file(docs.join(&path)).unwrap(),
            false => panic!("docs/{path} is of no command; remove it"),
        }
    }
}
