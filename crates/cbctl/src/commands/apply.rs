//! `cbctl apply`: sends manifests to the operator, document by document, each
//! with its own text.
//!
//! Law 12: bad input is refused whole. Every file is checked here first, then
//! the operator judges all of them together, and only then anything is sent.

use std::collections::BTreeMap;
use std::time::Duration;

use cb_core::api::Kind;
use cb_core::manifest::AnyObject;
use cb_core::yaml::Path;

use super::wait::{self, Condition, Target};
use super::{DryRun, plan_error, refuse, texts};
use crate::cli::{Context, Done};
use crate::client::Error;
use crate::client::api::{PlanRequest, Written};
use crate::error::CommandError;
use crate::manifests::{self, Files, Folders, Manifest, Source};
use crate::object::{Object, full_name};
use crate::output::{Format, bundle, document};
use cb_core::selector::Selector;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cbctl apply -f ky04.yaml
  cbctl apply -f manifests/ -R --dry-run=server
  cbctl apply -f ky04.yaml --wait --timeout 2m")]
pub(crate) struct Args {
    #[command(flatten)]
    files: Files,
    /// Only objects with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<Selector>,
    /// Say what would be done
    #[arg(long, value_enum, value_name = "HOW", default_value = "none", num_args = 0..=1,
          default_missing_value = "client", require_equals = true)]
    dry_run: DryRun,
    /// Wait until the tenants are ready, or have another condition
    #[arg(long, value_name = "CONDITION", num_args = 0..=1, default_missing_value = "Ready",
          require_equals = true)]
    wait: Option<Condition>,
    /// How long to wait, for example 90s or 5m
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = wait::duration)]
    timeout: Duration,
}

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[Format::Name, Format::Yaml, Format::Json])?;
    if args.files.filename.is_empty() {
        return Err(CommandError::usage("you must say what to apply").hint("cbctl apply -f FILE"));
    }
    let sources = manifests::read(&args.files, Folders::Kubectl)?;
    let selector = args.selector.clone().unwrap_or_default();
    let manifests = good(&sources, &selector, context)?;
    if args.dry_run != DryRun::Client {
        judged(&sources, &selector, context).await?;
    }
    let mut sending = Sending {
        context,
        dry_run: args.dry_run,
        written: BTreeMap::new(),
        failed: false,
    };
    sending.all(&manifests).await?;
    sending.show(&manifests)?;
    let mut failed = sending.failed;
    if let Some(condition) = args.wait.as_ref().filter(|_| args.dry_run == DryRun::None) {
        let targets = targets(&manifests, &sending.written, context);
        failed |= !wait::until_met(context, targets, condition, args.timeout).await?;
    }
    if failed {
        Err(CommandError::said())
    } else {
        Ok(0)
    }
}

/// The objects, if nothing is wrong with any of them.
fn good(
    sources: &[Source],
    selector: &Selector,
    context: &Context,
) -> Result<Vec<Manifest>, CommandError> {
    let mut errors = manifests::errors(sources);
    errors.extend(manifests::named_twice(sources));
    let manifests = match manifests::objects(sources, selector) {
        Ok(manifests) if errors.is_empty() => manifests,
        Ok(_) => Vec::new(),
        Err(more) => {
            errors.extend(more);
            Vec::new()
        }
    };
    if !errors.is_empty() {
        let refused = refuse(&context.ui, &texts(&errors), "nothing was applied");
        let status = Path::from(["status"]);
        return Err(if errors.iter().any(|error| error.path == status) {
            refused.hint(
                "what `cbctl get -o yaml` shows is no manifest: \
                 leave out the status, and of metadata all but name, labels and annotations",
            )
        } else {
            refused
        });
    }
    if let Some(host) = manifests.iter().find(|m| m.kind() == Kind::Host) {
        let message = format!(
            "host \"{}\" cannot be applied; nothing was applied",
            host.name()
        );
        return Err(CommandError::failed(message).hint(
            "edit its file on the machine (by default /etc/cb/host.yaml) and restart the operator",
        ));
    }
    if manifests.is_empty() {
        return Err(CommandError::failed("no objects passed to apply"));
    }
    Ok(manifests)
}

/// Lets the operator judge everything together, as it will be.
async fn judged(
    sources: &[Source],
    selector: &Selector,
    context: &Context,
) -> Result<(), CommandError> {
    let request = PlanRequest {
        manifests: manifests::for_plan(sources, selector),
        // Only the errors are asked for.
        tenants: Some(Vec::new()),
    };
    let errors = context.client.plan(&request).await?.errors;
    if errors.is_empty() {
        return Ok(());
    }
    let errors: Vec<String> = errors.iter().map(plan_error).collect();
    Err(refuse(&context.ui, &errors, "nothing was applied"))
}

/// Objects on their way.
struct Sending<'a> {
    context: &'a Context,
    dry_run: DryRun,
    /// What became of each, by kind and name.
    written: BTreeMap<(Kind, String), Written>,
    failed: bool,
}

impl Sending<'_> {
    /// Sends all. One that is refused does not stop the others, and is sent
    /// again as long as others go through: it may need what they give up.
    async fn all(&mut self, manifests: &[Manifest]) -> Result<(), CommandError> {
        let mut left: Vec<&Manifest> = manifests.iter().collect();
        loop {
            let (mut refused, mut moved) = (Vec::new(), false);
            for manifest in left {
                match self.one(manifest).await {
                    Ok(written) => {
                        moved |= written.result != "unchanged";
                        self.say(manifest, &written.result);
                        let key = (manifest.kind(), manifest.name().to_owned());
                        self.written.insert(key, written);
                    }
                    Err(error) if error.is_final() => return Err(error.into()),
                    Err(error) if error.is_refused_as("Invalid") => refused.push((manifest, error)),
                    Err(error) => self.fail(error),
                }
            }
            if refused.is_empty() || !moved || self.dry_run != DryRun::None {
                for (_, error) in refused {
                    self.fail(error);
                }
                return Ok(());
            }
            left = refused.into_iter().map(|(manifest, _)| manifest).collect();
        }
    }

    async fn one(&self, manifest: &Manifest) -> Result<Written, Error> {
        let client = &self.context.client;
        let at = (manifest.kind(), manifest.name());
        match self.dry_run {
            DryRun::Client => self.compared(manifest).await,
            DryRun::None => client.put(at, &manifest.text, false).await,
            DryRun::Server => match client.put(at, &manifest.text, true).await {
                // By itself it needs what the others bring, and all together
                // were judged good.
                Err(error) if error.is_refused_as("Invalid") => self.compared(manifest).await,
                done => done,
            },
        }
    }

    /// What would become of an object, by a look at what there is.
    async fn compared(&self, manifest: &Manifest) -> Result<Written, Error> {
        let live = self
            .context
            .client
            .find(manifest.kind(), manifest.name())
            .await?;
        let object = manifest.shown();
        let result = match &live {
            None => "created",
            Some(live) if live.essence() == object.essence() => "unchanged",
            Some(_) => "configured",
        };
        Ok(Written {
            result: result.to_owned(),
            object,
        })
    }

    fn say(&self, manifest: &Manifest, result: &str) {
        let name = full_name(manifest.kind(), manifest.name());
        match self.context.output {
            None => {
                let suffix = self.dry_run.suffix();
                self.context.ui.line(&format!("{name} {result}{suffix}"));
            }
            Some(Format::Name) => self.context.ui.line(&name),
            Some(_) => {}
        }
    }

    fn fail(&mut self, error: Error) {
        self.context.ui.error(&error.into());
        self.failed = true;
    }

    /// The objects, if they were asked for, in the order they were sent.
    fn show(&self, manifests: &[Manifest]) -> Result<(), CommandError> {
        let Some(format) = self.context.output.filter(|format| *format != Format::Name) else {
            return Ok(());
        };
        let objects: Vec<Object> = manifests
            .iter()
            .filter_map(|m| self.written.get(&(m.kind(), m.name().to_owned())))
            .map(|written| written.object.clone())
            .collect();
        if !objects.is_empty() {
            let alone = manifests.len() == 1;
            self.context
                .ui
                .print(&document(&bundle(&objects, alone), format)?);
        }
        Ok(())
    }
}

/// The tenants to wait for. A suspended one is left as it is and never becomes
/// ready.
fn targets(
    manifests: &[Manifest],
    written: &BTreeMap<(Kind, String), Written>,
    context: &Context,
) -> Vec<Target> {
    let mut out = Vec::new();
    for manifest in manifests {
        let AnyObject::Tenant(tenant) = &manifest.object else {
            continue;
        };
        let Some(written) = written.get(&(Kind::Tenant, manifest.name().to_owned())) else {
            continue;
        };
        if tenant.spec.suspend {
            let name = full_name(Kind::Tenant, manifest.name());
            context
                .ui
                .note(&format!("{name} is suspended and not waited for"));
            continue;
        }
        out.push(Target {
            name: manifest.name().to_owned(),
            generation: written.object.generation(),
            placed: !tenant.spec.placement.host_selector.is_empty(),
        });
    }
    out
}
