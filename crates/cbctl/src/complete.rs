//! Names for a shell's completion, asked of the operator while a person types.
//!
//! Where no answer comes at once there are no names: a key press must not wait.

use std::ffi::OsStr;
use std::time::Duration;

use cb_core::api::Kind;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};

use crate::client::Client;
use crate::config::Config;
use crate::resource;

/// How long a key press may wait.
const PATIENCE: Duration = Duration::from_millis(1500);

/// The names of tenants.
pub(crate) fn tenants() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| matching(typed, names(Kind::Tenant)))
}

/// A kind or, after a kind, the names of its objects; `KIND/NAME` as one word.
pub(crate) fn objects() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let text = typed.to_string_lossy();
        if let Some((word, _)) = text.split_once('/') {
            let found = kind_of(word).map(names).unwrap_or_default();
            let found = found.into_iter().map(|name| format!("{word}/{name}"));
            return matching(typed, found.collect());
        }
        match words().iter().rev().find_map(|word| kind_of(word)) {
            Some(kind) => matching(typed, names(kind)),
            None => {
                let kinds = Kind::ALL.map(|kind| kind.plural().to_owned());
                matching(typed, kinds.to_vec())
            }
        }
    })
}

/// The names of contexts.
pub(crate) fn contexts() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let config = Config::load().unwrap_or_default();
        matching(typed, config.names())
    })
}

fn matching(typed: &OsStr, all: Vec<String>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let fits = all.into_iter().filter(|name| name.starts_with(&*typed));
    fits.map(CompletionCandidate::new).collect()
}

fn kind_of(word: &str) -> Option<Kind> {
    let wanted = resource::parse(&[word.to_owned()]).ok()?;
    wanted.first().map(|wanted| wanted.kind)
}

/// The words that were typed, without the program: the shell gives them after
/// `--`. The last is the one that is being typed.
fn words() -> Vec<String> {
    let typed = std::env::args_os().skip_while(|word| word != "--").skip(2);
    let mut words: Vec<String> = typed.map(|w| w.to_string_lossy().into_owned()).collect();
    words.pop();
    words
}

/// The value of an option among the words that were typed.
fn option(words: &[String], name: &str) -> Option<String> {
    words.iter().enumerate().find_map(|(at, word)| {
        let rest = word.strip_prefix(name)?;
        match rest.strip_prefix('=') {
            Some(value) => Some(value.to_owned()),
            None if rest.is_empty() => words.get(at + 1).cloned(),
            None => None,
        }
    })
}

fn names(kind: Kind) -> Vec<String> {
    let words = words();
    let server = option(&words, "--server").or_else(|| std::env::var("CBCTL_SERVER").ok());
    let context = option(&words, "--context");
    let endpoint =
        Config::load().and_then(|config| config.endpoint(server.as_deref(), context.as_deref()));
    let (Ok(endpoint), Ok(runtime)) = (
        endpoint,
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build(),
    ) else {
        return Vec::new();
    };
    let client = Client::new(endpoint);
    let list =
        runtime.block_on(async { tokio::time::timeout(PATIENCE, client.list(kind, None)).await });
    match list {
        Ok(Ok(objects)) => objects.iter().map(|o| o.name().to_owned()).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_found_in_both_forms() {
        let words = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
        let server = |line| option(&words(line), "--server");
        assert_eq!(server("get --server /x tn"), Some("/x".into()));
        assert_eq!(server("get --server=/x tn"), Some("/x".into()));
        assert_eq!(server("get --servers /x tn"), None);
        assert_eq!(server("get tn"), None);
    }
}
