//! What the command line names: `KIND [NAME…]`, `KIND,KIND` or `KIND/NAME…`.

use cb_core::api::{GROUP, Kind, VERSION};
use cb_core::types::shown;

use crate::error::CommandError;

/// The objects of one kind that are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) kind: Kind,
    /// Their names; `None` means every object of the kind.
    pub(crate) names: Option<Vec<String>>,
}

/// Reads the words after the command.
pub(crate) fn parse(words: &[String]) -> Result<Vec<Wanted>, CommandError> {
    let Some((first, rest)) = words.split_first() else {
        return Err(CommandError::usage("you must say which kind of object").hint(KINDS));
    };
    if words.iter().any(|word| word.contains('/')) {
        return slashed(words);
    }
    let kinds = first
        .split(',')
        .map(kind)
        .collect::<Result<Vec<_>, CommandError>>()?;
    let names = (!rest.is_empty()).then(|| rest.to_vec());
    if let Some(name) = rest.iter().find(|name| name.is_empty()) {
        return Err(CommandError::usage(format!("`{name}` is not a name")));
    }
    let mut out: Vec<Wanted> = Vec::new();
    for kind in kinds {
        if out.iter().all(|wanted| wanted.kind != kind) {
            out.push(Wanted {
                kind,
                names: names.clone(),
            });
        }
    }
    Ok(out)
}

/// Reads words that name one object.
pub(crate) fn single(words: &[String]) -> Result<(Kind, String), CommandError> {
    let wanted = parse(words)?;
    match wanted.as_slice() {
        [
            Wanted {
                kind,
                names: Some(names),
            },
        ] if names.len() == 1 => Ok((*kind, names[0].clone())),
        _ => Err(CommandError::usage("you must name one object").hint("KIND NAME or KIND/NAME")),
    }
}

const KINDS: &str = "the kinds are tenants (tn), applications (app) and hosts";

fn slashed(words: &[String]) -> Result<Vec<Wanted>, CommandError> {
    let mut out: Vec<Wanted> = Vec::new();
    for word in words {
        let Some((kind_word, name)) = word.split_once('/') else {
            let message = format!(
                "there is no need to say a kind apart when others are KIND/NAME: `{}`",
                shown(word)
            );
            return Err(CommandError::usage(message)
                .hint("write KIND/NAME for each, or one KIND and then only names"));
        };
        if name.is_empty() || name.contains('/') {
            let message = format!("`{}` is not KIND/NAME", shown(word));
            return Err(CommandError::usage(message));
        }
        let kind = kind(kind_word)?;
        match out.last_mut().filter(|wanted| wanted.kind == kind) {
            Some(wanted) => wanted.names.get_or_insert_default().push(name.to_owned()),
            None => out.push(Wanted {
                kind,
                names: Some(vec![name.to_owned()]),
            }),
        }
    }
    Ok(out)
}

/// A kind by any of its names, with or without the group.
fn kind(word: &str) -> Result<Kind, CommandError> {
    let plain = word
        .strip_suffix(GROUP)
        .and_then(|rest| rest.strip_suffix('.'))
        .map_or(word, |rest| {
            rest.strip_suffix(VERSION)
                .and_then(|rest| rest.strip_suffix('.'))
                .unwrap_or(rest)
        });
    Kind::find(plain).ok_or_else(|| {
        let message = format!(
            "the server doesn't have a resource type \"{}\"",
            shown(word)
        );
        CommandError::usage(message).hint(KINDS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs = Vec<(Kind, Option<Vec<String>>)>;

    fn read(words: &[&str]) -> Result<Pairs, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        parse(&words)
            .map(|all| all.into_iter().map(|w| (w.kind, w.names)).collect())
            .map_err(|error| error.lines().join("\n"))
    }

    fn names(names: &[&str]) -> Option<Vec<String>> {
        Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn kinds_go_by_all_their_names() {
        for word in [
            "tenants",
            "tenant",
            "Tenant",
            "tn",
            "tenants.campaignbrain.io",
            "tenants.v1alpha1.campaignbrain.io",
        ] {
            assert_eq!(read(&[word]), Ok(vec![(Kind::Tenant, None)]), "{word}");
        }
        assert!(
            read(&["pods"])
                .unwrap_err()
                .contains("resource type \"pods\"")
        );
        assert!(read(&["tenants.example.org"]).is_err());
        assert!(read(&[]).is_err());
    }

    #[test]
    fn names_follow_the_kind_or_a_slash() {
        let all = read(&["tn", "a", "b"]);
        assert_eq!(all, Ok(vec![(Kind::Tenant, names(&["a", "b"]))]));
        let all = read(&["tn/a", "tn/b", "app/c"]);
        assert_eq!(
            all,
            Ok(vec![
                (Kind::Tenant, names(&["a", "b"])),
                (Kind::Application, names(&["c"]))
            ])
        );
        let all = read(&["tenants,app,tenant"]);
        assert_eq!(
            all,
            Ok(vec![(Kind::Tenant, None), (Kind::Application, None)])
        );
        for bad in [&["tn", "app/c"][..], &["tn/"], &["tn/a/b"], &["tn", ""]] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
