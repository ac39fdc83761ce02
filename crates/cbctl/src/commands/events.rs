//! `cbctl events`: what happened, as `kubectl events` shows it.

use std::collections::BTreeMap;

use cb_core::api::Kind;
use clap::ValueEnum;
use jiff::Timestamp;

use crate::cli::{Context, Done};
use crate::error::CommandError;
use crate::object::Object;
use crate::output::age::age;
use crate::output::table::Table;
use crate::output::{Format, bundle, document};
use crate::resource;

/// How wide columns are where rows come one by one.
const WIDTHS: [usize; 4] = [21, 7, 18, 20];

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cbctl events
  cbctl events --for tenant/ky04 -w
  cbctl events --types Warning -o yaml")]
pub(crate) struct Args {
    /// Go on showing events as they happen
    #[arg(short, long)]
    watch: bool,
    /// Only events of this object
    #[arg(long = "for", value_name = "KIND/NAME")]
    about: Option<String>,
    /// Only events of these types
    #[arg(
        long,
        value_enum,
        value_name = "TYPE",
        value_delimiter = ',',
        ignore_case = true
    )]
    types: Vec<Type>,
    /// Leave out the headers
    #[arg(long)]
    no_headers: bool,
}

/// The type of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Type {
    /// Part of the ordinary course
    #[value(name = "Normal")]
    Normal,
    /// A person may have to look
    #[value(name = "Warning")]
    Warning,
}

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[Format::Wide, Format::Json, Format::Yaml])?;
    let fields = selector(args)?;
    let wanted = |event: &Object| {
        let kind = event.text("/type").unwrap_or_default();
        args.types.is_empty() || args.types.iter().any(|of| format!("{of:?}") == kind)
    };
    let mut listed = context.client.events(&fields).await?;
    listed.items.retain(wanted);
    listed.items.sort_by_key(last_seen);
    show_all(&listed.items, args, context)?;
    if !args.watch {
        return Ok(0);
    }
    // What was shown, so that nothing is shown twice after a new list.
    let count = |event: &Object| (event.name().to_owned(), occurrences(event));
    let mut shown: BTreeMap<String, u64> = listed.items.iter().map(count).collect();
    let mut revision = listed.revision;
    loop {
        let mut changes = context.client.watch_events(&fields, &revision).await?;
        while let Some(mut change) = changes.next().await? {
            let kind = change["type"].as_str().unwrap_or_default().to_owned();
            let event = Object::new(change["object"].take());
            match kind.as_str() {
                "ADDED" | "MODIFIED" if wanted(&event) => show_new(&event, &mut shown, context)?,
                "DELETED" => drop(shown.remove(event.name())),
                // Too far behind.
                "ERROR" => break,
                _ => {}
            }
        }
        let mut listed = context.client.events(&fields).await?;
        listed.items.retain(wanted);
        listed.items.sort_by_key(last_seen);
        for event in &listed.items {
            show_new(event, &mut shown, context)?;
        }
        revision = listed.revision;
    }
}

fn selector(args: &Args) -> Result<String, CommandError> {
    let Some(word) = &args.about else {
        return Ok(String::new());
    };
    let wanted = resource::parse(std::slice::from_ref(word))?;
    match wanted.as_slice() {
        [one] => match one.names.as_deref() {
            Some([name]) => Ok(about(one.kind, name)),
            _ => Err(CommandError::usage("--for takes one object").hint("write KIND/NAME")),
        },
        _ => Err(CommandError::usage("--for takes one object").hint("write KIND/NAME")),
    }
}

/// The field selector of an object's events.
pub(super) fn about(kind: Kind, name: &str) -> String {
    format!("regarding.kind={},regarding.name={name}", kind.as_str())
}

/// The events of one object, those last seen at the end.
pub(super) fn table(mut events: Vec<Object>, now: Timestamp) -> Table {
    events.sort_by_key(last_seen);
    let mut table = Table::new(["TYPE", "REASON", "LAST SEEN", "MESSAGE"]);
    for event in &events {
        let [seen, kind, reason, _, message] = row(event, false, now);
        table.row(vec![kind, reason, seen, message]);
    }
    table
}

fn show_all(events: &[Object], args: &Args, context: &Context) -> Result<(), CommandError> {
    if let Some(format @ (Format::Json | Format::Yaml)) = context.output {
        if args.watch {
            return events
                .iter()
                .try_for_each(|event| show_document(event, format, context));
        }
        context.ui.print(&document(&bundle(events, false), format)?);
        return Ok(());
    }
    if events.is_empty() && !args.watch {
        context.ui.note("No events found");
        return Ok(());
    }
    let mut headers = ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"].map(str::to_owned);
    if args.watch {
        pad(&mut headers);
    }
    let mut table = Table::new(headers);
    for event in events {
        table.row(row(event, args.watch, context.ui.now).to_vec());
    }
    context.ui.print(&table.render(!args.no_headers));
    Ok(())
}

/// Shows an event unless it was shown with this count.
fn show_new(
    event: &Object,
    shown: &mut BTreeMap<String, u64>,
    context: &Context,
) -> Result<(), CommandError> {
    let count = occurrences(event);
    if shown.insert(event.name().to_owned(), count) == Some(count) {
        return Ok(());
    }
    if let Some(format @ (Format::Json | Format::Yaml)) = context.output {
        return show_document(event, format, context);
    }
    let mut table = Table::new([""; 5]);
    // It happened just now, also where the time is fixed.
    let now = event.time("/deprecatedLastTimestamp");
    let now = now.map_or(context.ui.now, |last| last.max(context.ui.now));
    let row = row(event, true, now).to_vec();
    table.row(row);
    context.ui.print(&table.render(false));
    Ok(())
}

fn show_document(event: &Object, format: Format, context: &Context) -> Result<(), CommandError> {
    let start = if format == Format::Yaml { "---\n" } else { "" };
    let text = document(event.value(), format)?;
    context.ui.print(&format!("{start}{text}"));
    Ok(())
}

fn row(event: &Object, padded: bool, now: Timestamp) -> [String; 5] {
    let text = |pointer| event.text(pointer).unwrap_or_default();
    let regarding = format!(
        "{}/{}",
        text("/regarding/kind").to_lowercase(),
        text("/regarding/name")
    );
    let last = age(last_seen(event), now);
    let seen = match occurrences(event) {
        0 | 1 => last,
        count => {
            let first = age(event.time("/deprecatedFirstTimestamp"), now);
            format!("{last} (x{count} over {first})")
        }
    };
    let mut row = [
        seen,
        text("/type").to_owned(),
        text("/reason").to_owned(),
        regarding,
        text("/note").to_owned(),
    ];
    if padded {
        pad(&mut row);
    }
    row
}

fn pad(row: &mut [String; 5]) {
    for (cell, width) in row.iter_mut().zip(WIDTHS) {
        *cell = format!("{cell:width$}");
    }
}

fn last_seen(event: &Object) -> Option<Timestamp> {
    event.time("/deprecatedLastTimestamp")
}

fn occurrences(event: &Object) -> u64 {
    event.value()["deprecatedCount"].as_u64().unwrap_or(1)
}
