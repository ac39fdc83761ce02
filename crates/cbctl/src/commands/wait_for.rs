//! `cbctl wait`: waits until objects have a condition, or are gone.

use std::time::Duration;

use cb_core::api::Kind;

use super::get::{Found, find};
use super::wait::{self, Condition, Target};
use crate::cli::{Context, Done};
use crate::error::CommandError;
use crate::object::full_name;
use crate::output::Format;
use crate::resource::{self, Wanted};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cbctl wait tenant/ky04 --for=condition=Ready
  cbctl wait tenants --all --for=condition=Drifted=False --timeout 2m
  cbctl wait tenant/oh09 --for=delete")]
pub(crate) struct Args {
    /// KIND/NAME…, KIND NAME…, or KIND with a selector or --all
    #[arg(required = true, value_name = "KIND/NAME", add = crate::complete::objects())]
    objects: Vec<String>,
    /// What is waited for: condition=TYPE, condition=TYPE=STATUS or delete
    #[arg(long = "for", value_name = "WHAT")]
    what: What,
    /// Only objects with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with = "all")]
    selector: Option<String>,
    /// All objects of the kind that there are now
    #[arg(long)]
    all: bool,
    /// How long to wait, for example 90s or 5m; 0 looks once
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = wait::duration)]
    timeout: Duration,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// A condition of tenants.
    Has(Condition),
    /// That there is no such object any more.
    Gone,
}

impl std::str::FromStr for What {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "delete" {
            return Ok(What::Gone);
        }
        match text.strip_prefix("condition=") {
            Some(condition) => condition.parse().map(What::Has),
            None => Err("write condition=TYPE, condition=TYPE=STATUS or delete".into()),
        }
    }
}

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[])?;
    let wanted = resource::parse(&args.objects)?;
    if wanted.iter().any(|of| of.names.is_none()) && args.selector.is_none() && !args.all {
        return Err(
            CommandError::usage("you must say which objects to wait for")
                .hint("name them, or select them by labels with -l, or wait for --all"),
        );
    }
    if wanted.iter().any(|of| of.names.is_some()) && args.all {
        return Err(CommandError::usage(
            "a name cannot be given together with --all",
        ));
    }
    let good = match &args.what {
        What::Has(condition) => met(&wanted, condition, args, context).await?,
        What::Gone => gone(&wanted, args, context).await?,
    };
    if good {
        Ok(0)
    } else {
        Err(CommandError::said())
    }
}

async fn met(
    wanted: &[Wanted],
    condition: &Condition,
    args: &Args,
    context: &Context,
) -> Result<bool, CommandError> {
    if let Some(other) = wanted.iter().find(|of| of.kind != Kind::Tenant) {
        let message = format!("{} have no conditions", other.kind.plural());
        return Err(CommandError::usage(message).hint("only tenants have them"));
    }
    let Found { objects, errors } = find(wanted, args.selector.as_deref(), context).await?;
    for error in &errors {
        context.ui.error(error);
    }
    let targets: Vec<Target> = objects
        .iter()
        .flat_map(|(_, objects)| objects)
        .map(|object| Target {
            name: object.name().to_owned(),
            generation: object.generation(),
            placed: false,
        })
        .collect();
    if targets.is_empty() && errors.is_empty() {
        return Err(CommandError::failed("no matching resources found"));
    }
    let met = wait::until_met(context, targets, condition, args.timeout).await?;
    Ok(met && errors.is_empty())
}

/// One that is not there is gone: that is what is waited for.
async fn gone(wanted: &[Wanted], args: &Args, context: &Context) -> Result<bool, CommandError> {
    let mut good = true;
    for Wanted { kind, names } in wanted {
        let names = match names {
            Some(names) => names.clone(),
            None => {
                let objects = context.client.list(*kind, args.selector.as_deref()).await?;
                let names = objects.iter().map(|object| object.name().to_owned());
                names.collect()
            }
        };
        let left = wait::until_gone(context, *kind, names.clone(), args.timeout).await?;
        for name in names.iter().filter(|name| !left.contains(name)) {
            let name = full_name(*kind, name);
            context.ui.line(&format!("{name} condition met"));
        }
        good &= left.is_empty();
    }
    Ok(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_is_written_as_for_kubectl() {
        let what = |text: &str| text.parse::<What>().ok();
        assert_eq!(what("delete"), Some(What::Gone));
        let ready = "Ready=True".parse().unwrap();
        assert_eq!(what("condition=Ready"), Some(What::Has(ready)));
        for bad in ["Ready", "condition=", "condition=Ready=maybe", "create", ""] {
            assert_eq!(what(bad), None, "{bad}");
        }
    }
}
