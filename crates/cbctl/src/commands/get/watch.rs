//! `cbctl get --watch`: the objects as they are, then every one that changes.
//!
//! An operator that ends the watch, or that cannot go on from where it was, is
//! asked anew; what changed meanwhile is shown then.

use std::collections::BTreeMap;
use std::time::Instant;

use cb_core::api::Kind;
use serde_json::Value;

use super::{Args, style};
use crate::cli::{Context, Done};
use crate::client::Error;
use crate::error::CommandError;
use crate::object::{Object, full_name};
use crate::output::columns::table;
use crate::output::{Format, document};
use crate::resource::Wanted;

/// Shows the objects and goes on showing changes.
pub(super) async fn run(wanted: &[Wanted], args: &Args, context: &Context) -> Done {
    let [Wanted { kind, names }] = wanted else {
        return Err(CommandError::usage(
            "only one kind can be watched at a time",
        ));
    };
    let name = match names.as_deref() {
        None => None,
        Some([name]) if args.selector.is_none() => Some(name.as_str()),
        Some([_]) => return Err(super::name_and_selector()),
        Some(_) => {
            return Err(
                CommandError::usage("only one object can be watched by name")
                    .hint("leave the names out, or select by labels with -l"),
            );
        }
    };
    if let Some(name) = name {
        // Its absence is an error, as without --watch.
        context.client.get(*kind, name).await?;
    }
    let mut watching = Watching {
        kind: *kind,
        args,
        context,
        shown: BTreeMap::new(),
        since: Instant::now(),
        widths: None,
    };
    let selection = Selection {
        name,
        labels: args.selector.as_deref(),
    };
    loop {
        let revision = watching.list(selection).await?;
        watching.follow(selection, &revision).await?;
    }
}

/// Which objects of the kind.
#[derive(Clone, Copy)]
struct Selection<'a> {
    name: Option<&'a str>,
    labels: Option<&'a str>,
}

struct Watching<'a> {
    kind: Kind,
    args: &'a Args,
    context: &'a Context,
    /// The objects as they were last shown.
    shown: BTreeMap<String, Object>,
    /// When the context's time was read, for ages.
    since: Instant,
    /// The columns of the first table; later rows stand under them.
    widths: Option<Vec<usize>>,
}

impl Watching<'_> {
    /// Shows what is not shown yet of all that there is. Gives the revision.
    async fn list(&mut self, selection: Selection<'_>) -> Result<String, CommandError> {
        let client = &self.context.client;
        let (mut objects, revision) = client.list_at(self.kind, selection.labels).await?;
        objects.retain(|object| selection.name.is_none_or(|name| object.name() == name));
        if let Some(field) = &self.args.sort_by {
            field.sort(&mut objects)?;
        }
        let is_new = |object: &&Object| match self.shown.get(object.name()) {
            Some(shown) => !is_same(shown, object),
            None => true,
        };
        let new: Vec<Object> = objects.iter().filter(is_new).cloned().collect();
        let gone: Vec<Object> = self
            .shown
            .values()
            .filter(|shown| objects.iter().all(|object| object.name() != shown.name()))
            .cloned()
            .collect();
        self.show(&gone)?;
        self.show(&new)?;
        let named = objects.into_iter().map(|o| (o.name().to_owned(), o));
        self.shown = named.collect();
        Ok(revision)
    }

    /// Shows changes until the watch ends.
    async fn follow(
        &mut self,
        selection: Selection<'_>,
        revision: &str,
    ) -> Result<(), CommandError> {
        let client = &self.context.client;
        let changes = client
            .watch_from(self.kind, selection.labels, revision)
            .await;
        let mut changes = match changes {
            // The list is too old already.
            Err(error) if error.is_refused_as("Expired") => return Ok(()),
            changes => changes?,
        };
        loop {
            let mut change = match changes.next().await {
                Ok(Some(change)) => change,
                // The operator may be restarted: the next list says if it is gone.
                Ok(None) | Err(Error::Broken(_)) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let kind = change["type"].as_str().unwrap_or_default().to_owned();
            let object = Object::new(change["object"].take());
            if selection.name.is_some_and(|name| object.name() != name) {
                continue;
            }
            match kind.as_str() {
                "ADDED" | "MODIFIED" => {
                    self.show(std::slice::from_ref(&object))?;
                    self.shown.insert(object.name().to_owned(), object);
                }
                "DELETED" => {
                    self.show(std::slice::from_ref(&object))?;
                    self.shown.remove(object.name());
                }
                // Too far behind.
                "ERROR" => return Ok(()),
                _ => {}
            }
        }
    }

    fn show(&mut self, objects: &[Object]) -> Result<(), CommandError> {
        let ui = &self.context.ui;
        match self.context.output {
            None | Some(Format::Wide) if objects.is_empty() => {}
            None | Some(Format::Wide) => {
                let mut style = style(self.args, self.context, false);
                style.now += self.since.elapsed();
                let table = table(self.kind, objects, style);
                let first = self.widths.is_none();
                let widths = self.widths.get_or_insert_with(|| table.widths());
                let headers = first && !self.args.no_headers;
                ui.print(&table.render_under(headers, widths));
            }
            Some(Format::Name) => {
                for object in objects {
                    ui.line(&full_name(self.kind, object.name()));
                }
            }
            Some(format) => {
                for object in objects {
                    ui.print(&one(object.value(), format)?);
                }
            }
        }
        Ok(())
    }
}

/// Whether nothing changed but the count of changes, which an operator that was
/// restarted begins anew.
fn is_same(a: &Object, b: &Object) -> bool {
    let [a, b] = [a, b].map(|object| {
        let mut value = object.value().clone();
        if let Some(metadata) = value["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
        }
        value
    });
    a == b
}

/// A document of several, one after the other.
fn one(value: &Value, format: Format) -> Result<String, CommandError> {
    let start = if format == Format::Yaml { "---\n" } else { "" };
    Ok(format!("{start}{}", document(value, format)?))
}
