//! `cbctl patch`: changes a part of an object's manifest, whose comments and
//! order stay.

use std::path::PathBuf;

use cb_core::yaml;
use clap::ValueEnum;
use serde_json::Value;

use super::DryRun;
use crate::cli::{Context, Done};
use crate::client::changes::PatchKind;
use crate::error::{CommandError, plain};
use crate::object::full_name;
use crate::output::{Format, document};
use crate::resource;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cbctl patch tenant ky04 -p '{\"spec\": {\"resources\": {\"memory\": \"512Mi\"}}}'
  cbctl patch tenant ky04 --type json -p '[{\"op\": \"remove\", \"path\": \"/spec/env/MODE\"}]'
  cbctl patch tenant/ky04 --patch-file change.yaml")]
pub(crate) struct Args {
    /// KIND NAME or KIND/NAME
    #[arg(required = true, value_name = "KIND NAME", num_args = 1..=2,
          add = crate::complete::objects())]
    object: Vec<String>,
    /// How the patch says what it changes
    #[arg(
        long = "type",
        value_enum,
        value_name = "TYPE",
        default_value = "merge"
    )]
    kind: Type,
    /// The patch, as JSON or YAML
    #[arg(
        short,
        long,
        value_name = "PATCH",
        required_unless_present = "patch_file"
    )]
    patch: Option<String>,
    /// A file with the patch
    #[arg(long, value_name = "FILE", conflicts_with = "patch")]
    patch_file: Option<PathBuf>,
    /// Say what would be done
    #[arg(long, value_enum, value_name = "HOW", default_value = "none", num_args = 0..=1,
          default_missing_value = "server", require_equals = true)]
    dry_run: DryRun,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Type {
    /// A piece of the object (RFC 7396)
    Merge,
    /// A list of operations (RFC 6902)
    Json,
}

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[Format::Name, Format::Yaml, Format::Json])?;
    let (kind, name) = resource::single(&args.object)?;
    let patch = read(args)?;
    let how = match args.kind {
        Type::Merge if !patch.is_object() => {
            return Err(CommandError::usage("a merge patch is an object")
                .hint("with --type json it is a list of operations"));
        }
        Type::Json if !patch.is_array() => {
            return Err(CommandError::usage("a JSON patch is a list of operations")
                .hint("[{\"op\": \"replace\", \"path\": \"/spec/version\", \"value\": \"v2\"}]"));
        }
        Type::Merge => PatchKind::Merge,
        Type::Json => PatchKind::Json,
    };
    let dry_run = args.dry_run != DryRun::None;
    let written = context
        .client
        .patch((kind, &name), how, &patch, dry_run)
        .await?;
    let full = full_name(kind, &name);
    match context.output {
        None => {
            let unchanged = if written.result == "unchanged" {
                " (no change)"
            } else {
                ""
            };
            let suffix = args.dry_run.suffix();
            context
                .ui
                .line(&format!("{full} patched{unchanged}{suffix}"));
        }
        Some(Format::Name) => context.ui.line(&full),
        Some(format) => context.ui.print(&document(written.object.value(), format)?),
    }
    Ok(0)
}

/// The patch, from the command line or its file.
fn read(args: &Args) -> Result<Value, CommandError> {
    let (text, place) = match (&args.patch, &args.patch_file) {
        (Some(text), _) => (text.clone(), "--patch".to_owned()),
        (None, Some(path)) => {
            let shown = path.display().to_string();
            let text = std::fs::read_to_string(path).map_err(|error| {
                CommandError::failed(format!("cannot read {shown}: {}", plain(&error)))
            })?;
            (text, shown)
        }
        (None, None) => return Err(CommandError::usage("you must say what to change")),
    };
    let parsed = yaml::parse(&text);
    if let Some(error) = parsed.errors.first() {
        let line = error.position.line;
        let message = format!("{place}: line {line}: {}", error.message);
        return Err(CommandError::usage(message));
    }
    match parsed.documents.as_slice() {
        [document] => Ok(document.root.to_json()),
        _ => Err(CommandError::usage(format!(
            "{place} must hold one document"
        ))),
    }
}
