//! `cbctl label` and `cbctl annotate`: changes labels or annotations in the
//! manifest, whose comments and order stay.

use std::collections::BTreeMap;

use cb_core::api::Kind;
use serde_json::{Map, Value, json};

use super::DryRun;
use crate::cli::{Context, Done};
use crate::client::changes::PatchKind;
use crate::error::CommandError;
use crate::object::{Object, full_name};
use crate::output::{Format, bundle, document};
use crate::resource;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "KEY=VALUE sets, KEY- removes. The manifest keeps its comments and order.

Examples:
  cbctl label tenant ky04 ring=canary
  cbctl label tenants --all ring=stable --overwrite
  cbctl annotate tenant ky04 example.org/contact=ops
  cbctl label tenant ky04 ring-"
)]
pub(crate) struct Args {
    /// KIND NAME… or KIND/NAME…, then KEY=VALUE… and KEY-…
    #[arg(required = true, value_name = "OBJECTS KEY=VALUE", add = crate::complete::objects())]
    words: Vec<String>,
    /// Only objects with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// All objects of the kind
    #[arg(long, conflicts_with = "selector")]
    all: bool,
    /// Change what has another value
    #[arg(long)]
    overwrite: bool,
    /// Say what would be done
    #[arg(long, value_enum, value_name = "HOW", default_value = "none", num_args = 0..=1,
          default_missing_value = "client", require_equals = true)]
    dry_run: DryRun,
}

/// What is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// `metadata.labels`.
    Labels,
    /// `metadata.annotations`.
    Annotations,
}

impl What {
    fn field(self) -> &'static str {
        match self {
            What::Labels => "labels",
            What::Annotations => "annotations",
        }
    }

    fn done(self) -> &'static str {
        match self {
            What::Labels => "labeled",
            What::Annotations => "annotated",
        }
    }
}

/// New values by key; `None` removes one.
type Changes = BTreeMap<String, Option<String>>;

/// Runs the command.
pub(crate) async fn run(args: &Args, what: What, context: &Context) -> Done {
    Format::among(context.output, &[Format::Name, Format::Yaml, Format::Json])?;
    let (objects, changes) = split(&args.words, what)?;
    let mut written: Vec<Object> = Vec::new();
    let mut failed = false;
    for (kind, object) in chosen(&objects, args, context).await? {
        match one(kind, &object, &changes, (args, what), context).await {
            Ok(object) => written.extend(object),
            Err(error) => {
                context.ui.error(&error);
                failed = true;
            }
        }
    }
    if let Some(format) = context.output.filter(|format| *format != Format::Name)
        && !written.is_empty()
    {
        let alone = written.len() == 1;
        let text = document(&bundle(&written, alone), format)?;
        context.ui.print(&text);
    }
    if failed {
        return Err(CommandError::said());
    }
    Ok(0)
}

/// The words that name objects, and what is to be changed.
fn split(words: &[String], what: What) -> Result<(Vec<String>, Changes), CommandError> {
    let is_change = |word: &String| word.contains('=') || word.ends_with('-');
    let first = words.iter().position(is_change).unwrap_or(words.len());
    let (objects, changes) = words.split_at(first);
    let field = what.field();
    if changes.is_empty() {
        let message = format!("at least one change of {field} is needed");
        return Err(CommandError::usage(message).hint("KEY=VALUE sets one, KEY- removes it"));
    }
    let mut out = Changes::new();
    for word in changes {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => match word.strip_suffix('-') {
                Some(key) => (key, None),
                None => {
                    let message = format!("`{word}` is neither KEY=VALUE nor KEY-");
                    return Err(
                        CommandError::usage(message).hint("the objects come before the changes")
                    );
                }
            },
        };
        if key.is_empty() {
            return Err(CommandError::usage(format!("`{word}` has no key")));
        }
        if out.insert(key.to_owned(), value).is_some() {
            let message = format!("`{key}` is changed twice");
            return Err(CommandError::usage(message));
        }
    }
    Ok((objects.to_vec(), out))
}

/// The objects that are meant, as they are now.
async fn chosen(
    words: &[String],
    args: &Args,
    context: &Context,
) -> Result<Vec<(Kind, Object)>, CommandError> {
    let mut out = Vec::new();
    for wanted in resource::parse(words)? {
        match (wanted.names, args.all, &args.selector) {
            (Some(names), false, None) => {
                for name in names {
                    out.push((wanted.kind, context.client.get(wanted.kind, &name).await?));
                }
            }
            (None, true, None) | (None, false, Some(_)) => {
                let selector = args.selector.as_deref();
                let list = context.client.list(wanted.kind, selector).await?;
                out.extend(list.into_iter().map(|object| (wanted.kind, object)));
            }
            (None, ..) => {
                let message = "you must say which objects";
                return Err(
                    CommandError::usage(message).hint("give names, or --all, or -l SELECTOR")
                );
            }
            (Some(_), ..) => {
                let message = "names exclude --all and --selector";
                return Err(CommandError::usage(message));
            }
        }
    }
    Ok(out)
}

/// Changes one object and says so.
async fn one(
    kind: Kind,
    object: &Object,
    changes: &Changes,
    (args, what): (&Args, What),
    context: &Context,
) -> Result<Option<Object>, CommandError> {
    let field = what.field();
    let now: BTreeMap<&str, String> = object
        .entries(&format!("/metadata/{field}"))
        .into_iter()
        .collect();
    let full = full_name(kind, object.name());
    let mut patch = Map::new();
    for (key, value) in changes {
        match (now.get(key.as_str()), value) {
            (Some(old), Some(new)) if old == new => {}
            (Some(old), Some(_)) if !args.overwrite => {
                let message = format!(
                    "{full}: '{key}' already has a value ({old}), and --overwrite is false"
                );
                return Err(CommandError::failed(message));
            }
            (None, None) => {}
            (_, value) => {
                patch.insert(key.clone(), json!(value));
            }
        }
    }
    let removes = patch.values().all(Value::is_null);
    let said = match (what, removes) {
        _ if patch.is_empty() => format!("not {}", what.done()),
        (What::Labels, true) => "unlabeled".to_owned(),
        (what, _) => what.done().to_owned(),
    };
    let written = if patch.is_empty() || args.dry_run == DryRun::Client {
        None
    } else {
        let body = json!({"metadata": {field: patch}});
        let dry_run = args.dry_run == DryRun::Server;
        let at = (kind, object.name());
        Some(
            context
                .client
                .patch(at, PatchKind::Merge, &body, dry_run)
                .await?,
        )
    };
    match context.output {
        None => context
            .ui
            .line(&format!("{full} {said}{}", args.dry_run.suffix())),
        Some(Format::Name) => context.ui.line(&full),
        Some(_) => {}
    }
    Ok(Some(
        written.map_or_else(|| object.clone(), |written| written.object),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<(Vec<String>, Changes), String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        split(&words, What::Labels).map_err(|error| error.lines().join("\n"))
    }

    #[test]
    fn changes_come_after_the_objects() {
        let (objects, changes) = words("tn a b ring=canary tier- note=a=b empty=").unwrap();
        assert_eq!(objects, ["tn", "a", "b"]);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(changes["ring"], text("canary"));
        assert_eq!(changes["tier"], None);
        assert_eq!(changes["note"], text("a=b"));
        assert_eq!(changes["empty"], text(""));
        for bad in ["tn a", "tn a x=1 b", "tn a x=1 x-", "tn a =1", "tn a -"] {
            assert!(words(bad).is_err(), "{bad}");
        }
    }
}
