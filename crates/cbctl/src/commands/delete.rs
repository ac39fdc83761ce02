//! `cbctl delete`: removes objects by name, or those of manifests.

use std::time::Duration;

use cb_core::api::Kind;
use cb_core::manifest::Severity;

use super::{DryRun, refuse, texts, wait};
use crate::cli::{Context, Done};
use crate::client::Error;
use crate::error::CommandError;
use crate::manifests::{self, Files, Folders};
use crate::object::{full_name, kind_word};
use crate::output::{Format, one_line};
use crate::resource;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The manifest is removed and the tenant is taken down by its deletionPolicy:
with Retain (the default) its data stays on the host.

Examples:
  cbctl delete tenant ky04
  cbctl delete -f ky04.yaml"
)]
pub(crate) struct Args {
    /// KIND NAME… or KIND/NAME…
    #[arg(value_name = "KIND NAME", add = crate::complete::objects())]
    objects: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// Say what would be done
    #[arg(long, value_enum, value_name = "HOW", default_value = "none", num_args = 0..=1,
          default_missing_value = "client", require_equals = true)]
    dry_run: DryRun,
    /// Wait until the objects are gone
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = true,
          default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    wait: bool,
    /// How long to wait, for example 90s or 5m
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = wait::duration)]
    timeout: Duration,
    /// That an object is not there is no failure
    #[arg(long)]
    ignore_not_found: bool,
}

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[Format::Name])?;
    let mut targets = match (args.objects.is_empty(), args.files.filename.is_empty()) {
        (true, true) => {
            return Err(CommandError::usage("you must say what to delete")
                .hint("cbctl delete KIND NAME, or cbctl delete -f FILE"));
        }
        (false, false) => {
            return Err(CommandError::usage(
                "names cannot be given together with files",
            ));
        }
        (false, true) => by_name(&args.objects)?,
        (true, false) => by_file(&args.files, context)?,
    };
    // An Application can go when no tenant uses it any more.
    targets.sort_by_key(|(kind, _)| *kind == Kind::Application);
    let (mut gone, mut failed) = (Vec::new(), false);
    for (kind, name) in targets {
        match one(context, kind, &name, args.dry_run).await {
            Ok(()) => {
                say(context, kind, &name, args.dry_run);
                gone.push((kind, name));
            }
            Err(error) if error.is_final() => return Err(error.into()),
            Err(error) if args.ignore_not_found && error.is_refused_as("NotFound") => {}
            Err(error) => {
                context.ui.error(&error.into());
                failed = true;
            }
        }
    }
    if args.wait && args.dry_run == DryRun::None {
        for kind in Kind::ALL {
            let names = gone.iter().filter(|(k, _)| *k == kind);
            let names: Vec<String> = names.map(|(_, name)| name.clone()).collect();
            let left = wait::until_gone(context, kind, names, args.timeout).await?;
            failed |= !left.is_empty();
        }
    }
    if failed {
        Err(CommandError::said())
    } else {
        Ok(0)
    }
}

async fn one(context: &Context, kind: Kind, name: &str, dry_run: DryRun) -> Result<(), Error> {
    match dry_run {
        DryRun::Client => context.client.get(kind, name).await.map(drop),
        other => {
            context
                .client
                .delete(kind, name, other == DryRun::Server)
                .await
        }
    }
}

fn say(context: &Context, kind: Kind, name: &str, dry_run: DryRun) {
    let line = match context.output {
        Some(_) => full_name(kind, name),
        None => {
            let suffix = dry_run.suffix();
            format!("{} \"{}\" deleted{suffix}", kind_word(kind), one_line(name))
        }
    };
    context.ui.line(&line);
}

fn by_name(words: &[String]) -> Result<Vec<(Kind, String)>, CommandError> {
    let mut out = Vec::new();
    for wanted in resource::parse(words)? {
        let Some(names) = wanted.names else {
            return Err(CommandError::usage(format!(
                "you must say which {} to delete",
                wanted.kind.plural()
            ))
            .hint(format!("cbctl delete {} NAME", wanted.kind.singular())));
        };
        for name in names {
            if !out.contains(&(wanted.kind, name.clone())) {
                out.push((wanted.kind, name));
            }
        }
    }
    Ok(out)
}

/// The objects of manifests. Only what they are is needed, so a spec that would
/// be refused does not matter; a document without kind or name does.
fn by_file(files: &Files, context: &Context) -> Result<Vec<(Kind, String)>, CommandError> {
    let sources = manifests::read(files, Folders::Kubectl)?;
    let (mut out, mut bad) = (Vec::new(), Vec::new());
    for source in &sources {
        let documents = &source.file.documents;
        let named = documents
            .iter()
            .all(|d| d.kind.is_some() && d.name.is_some());
        if documents.is_empty() || !named {
            let errors = source.file.errors.iter();
            bad.extend(
                errors
                    .filter(|error| error.severity == Severity::Error)
                    .cloned(),
            );
        }
        for document in documents {
            if let (Some(kind), Some(name)) = (document.kind, &document.name)
                && !out.contains(&(kind, name.clone()))
            {
                out.push((kind, name.clone()));
            }
        }
    }
    if !bad.is_empty() {
        return Err(refuse(&context.ui, &texts(&bad), "nothing was deleted"));
    }
    Ok(out)
}
