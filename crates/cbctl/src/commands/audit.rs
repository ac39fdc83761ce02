//! `cbctl audit`: who changed what, from where.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::wait;
use crate::cli::{Context, Done};
use crate::client::audit::Entry;
use crate::error::CommandError;
use crate::output::table::{Table, or_none};
use crate::output::{Format, document, one_line};
use crate::resource;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Every request that was to change something is in the log, refused ones too; over the socket
or with a token of role admin it can be read. USER is user:NAME on the socket, token:NAME over
TCP. CODE is that of HTTP: 200 and 201 done, 403 refused.

Examples:
  cbctl audit
  cbctl audit --since 2h --for tenant/ky04
  cbctl audit --user token:ci -o json"
)]
pub(crate) struct Args {
    /// Only changes of this time until now, for example 90s or 2h
    #[arg(long, value_name = "TIME", value_parser = wait::duration)]
    since: Option<Duration>,
    /// Only changes by this user, as token:NAME, user:NAME or NAME
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only changes of this object
    #[arg(long = "for", value_name = "KIND/NAME", add = crate::complete::objects())]
    about: Option<String>,
    /// Only so many of the newest
    #[arg(long, value_name = "NUMBER", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(1..=1000))]
    tail: u64,
    /// Leave out the headers
    #[arg(long)]
    no_headers: bool,
}

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[Format::Yaml, Format::Json])?;
    let entries = context.client.audit(&query(args, context.ui.now)?).await?;
    if let Some(format) = context.output {
        let items = json!({ "items": entries });
        context.ui.print(&document(&items, format)?);
    } else if entries.is_empty() {
        context.ui.note("No changes found");
    } else {
        context.ui.print(&table(&entries).render(!args.no_headers));
    }
    Ok(0)
}

fn query(args: &Args, now: Timestamp) -> Result<Vec<(&'static str, String)>, CommandError> {
    let mut query = vec![("limit", args.tail.to_string())];
    if let Some(since) = args.since {
        let since = SignedDuration::try_from(since).ok();
        let start = since.and_then(|since| now.checked_sub(since).ok());
        query.push(("since", start.unwrap_or(Timestamp::UNIX_EPOCH).to_string()));
    }
    query.extend(args.user.clone().map(|user| ("user", user)));
    if let Some(word) = &args.about {
        let (kind, name) = resource::single(std::slice::from_ref(word))?;
        query.push(("kind", kind.plural().to_owned()));
        query.push(("name", name));
    }
    Ok(query)
}

fn table(entries: &[Entry]) -> Table {
    let mut table = Table::new(["TIME", "USER", "FROM", "METHOD", "PATH", "CODE", "RESULT"]);
    for entry in entries {
        let path = match &entry.name {
            Some(name) if !entry.path.ends_with(&format!("/{name}")) => {
                format!("{}/{name}", entry.path)
            }
            _ => entry.path.clone(),
        };
        table.row(vec![
            one_line(&entry.time),
            one_line(&entry.user),
            one_line(&entry.from),
            one_line(&entry.method),
            one_line(&path),
            entry.code.to_string(),
            or_none(entry.result.as_deref().map(one_line)),
        ]);
    }
    table
}
