//! `cbctl get`: objects as a table, YAML, JSON or names.

mod watch;

use cb_core::api::Kind;

use crate::cli::{Context, Done};
use crate::error::CommandError;
use crate::object::{Object, full_name};
use crate::output::columns::{Style, table};
use crate::output::sort::Field;
use crate::output::{Format, bundle, document};
use crate::resource::{self, Wanted};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cbctl get tenants
  cbctl get tenant ky04 -o yaml
  cbctl get tenants,applications -o wide
  cbctl get tn -l ring=canary --show-labels
  cbctl get tn --sort-by .metadata.creationTimestamp
  cbctl get tenant ky04 -w")]
pub(crate) struct Args {
    /// KIND [NAME…], KIND,KIND or KIND/NAME…
    #[arg(required = true, value_name = "KIND [NAME]", add = crate::complete::objects())]
    objects: Vec<String>,
    /// Only objects with these labels, as `a=b,c!=d,e in (f,g),!h`
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Sort by a field, for example .spec.version
    #[arg(long, value_name = "FIELD")]
    sort_by: Option<Field>,
    /// Go on showing objects as they change
    #[arg(short, long)]
    watch: bool,
    /// Show the labels as the last column
    #[arg(long)]
    show_labels: bool,
    /// Leave out the headers
    #[arg(long)]
    no_headers: bool,
}

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    let wanted = resource::parse(&args.objects)?;
    if args.watch {
        return watch::run(&wanted, args, context).await;
    }
    let mut found = find(&wanted, args.selector.as_deref(), context).await?;
    if let Some(field) = &args.sort_by {
        for (_, objects) in &mut found.objects {
            field.sort(objects)?;
        }
    }
    match context.output {
        None | Some(Format::Wide) => tables(&found.objects, args, context),
        Some(Format::Name) => {
            for (kind, objects) in &found.objects {
                for object in objects {
                    context.ui.line(&full_name(*kind, object.name()));
                }
            }
        }
        Some(format) => {
            let objects: Vec<Object> = found.objects.iter().flat_map(|(_, o)| o.clone()).collect();
            let alone = matches!(wanted.as_slice(),
                [Wanted { names: Some(names), .. }] if names.len() == 1);
            if !objects.is_empty() || found.errors.is_empty() {
                context
                    .ui
                    .print(&document(&bundle(&objects, alone), format)?);
            }
        }
    }
    for error in &found.errors {
        context.ui.error(error);
    }
    if found.errors.is_empty() {
        Ok(0)
    } else {
        Err(CommandError::said())
    }
}

/// What was found, and what was not.
pub(super) struct Found {
    pub(super) objects: Vec<(Kind, Vec<Object>)>,
    pub(super) errors: Vec<CommandError>,
}

/// Gets the objects that are named. That one is not there does not keep the
/// others from being shown.
pub(super) async fn find(
    wanted: &[Wanted],
    selector: Option<&str>,
    context: &Context,
) -> Result<Found, CommandError> {
    let mut found = Found {
        objects: Vec::new(),
        errors: Vec::new(),
    };
    for Wanted { kind, names } in wanted {
        let objects = match names {
            None => context.client.list(*kind, selector).await?,
            Some(_) if selector.is_some() => {
                return Err(name_and_selector());
            }
            Some(names) => {
                let mut objects = Vec::new();
                for name in names {
                    match context.client.get(*kind, name).await {
                        Ok(object) => objects.push(object),
                        Err(error) if error.is_final() => return Err(error.into()),
                        Err(error) => found.errors.push(error.into()),
                    }
                }
                objects
            }
        };
        found.objects.push((*kind, objects));
    }
    Ok(found)
}

fn name_and_selector() -> CommandError {
    CommandError::usage("a name cannot be given together with a selector")
}

fn style(args: &Args, context: &Context, full_names: bool) -> Style {
    Style {
        wide: context.output == Some(Format::Wide),
        labels: args.show_labels,
        full_names,
        now: context.ui.now,
    }
}

fn tables(found: &[(Kind, Vec<Object>)], args: &Args, context: &Context) {
    let style = style(args, context, found.len() > 1);
    let shown = found.iter().filter(|(_, objects)| !objects.is_empty());
    let mut tables = Vec::new();
    for (kind, objects) in shown {
        tables.push(table(*kind, objects, style).render(!args.no_headers));
    }
    let asked_by_name = args.objects.len() > 1 || args.objects.iter().any(|o| o.contains('/'));
    if tables.is_empty() && !asked_by_name {
        context.ui.note("No resources found");
    }
    context.ui.print(&tables.join("\n"));
}
