//! `cbctl token`: who may use the API over TCP.

use std::time::Duration;

use cb_core::access::{Role, Scope};
use cb_core::types::TenantName;
use jiff::Timestamp;
use serde_json::json;

use crate::cli::{Context, Done};
use crate::client::tokens::{Made, Token, Wanted};
use crate::error::CommandError;
use crate::output::age::age;
use crate::output::table::{Table, or_none};
use crate::output::{Format, document, one_line};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cbctl token create ci --role edit --expires 90d
  cbctl token create north --role view --tenants ky04,oh09
  cbctl token create canary --role edit --selector ring=canary
  cbctl token list
  cbctl token revoke ci")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a token and print it; it is never shown again
    Create {
        /// Its name, for the list and the audit log
        name: String,
        #[command(flatten)]
        grant: Grant,
    },
    /// Show the tokens
    List,
    /// End a token
    Revoke {
        /// Its name
        name: String,
    },
}

/// What a token is good for.
#[derive(Debug, clap::Args)]
pub(crate) struct Grant {
    /// How much it may do: view, edit or admin
    #[arg(long, value_name = "ROLE", default_value = "view")]
    role: Role,
    /// Only for these tenants
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        conflicts_with = "selector"
    )]
    tenants: Vec<TenantName>,
    /// Only for tenants with these labels
    #[arg(long, value_name = "LABELS")]
    selector: Option<String>,
    /// For how long it is good: 90d, 12h, 30m; for ever without
    #[arg(long, value_name = "TIME", value_parser = span)]
    expires: Option<Duration>,
}

impl Grant {
    /// A token of this name with this grant.
    pub(crate) fn named(&self, name: &str) -> Wanted {
        Wanted {
            name: name.to_owned(),
            role: self.role,
            scope: Scope {
                tenants: self.tenants.clone(),
                selector: self.selector.clone(),
            },
            expires_in_seconds: self
                .expires
                .map(|time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX)),
        }
    }
}

/// A time with one unit.
fn span(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number and a unit: 30m, 12h or 90d".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86400,
        _ => return Err(wrong()),
    };
    let number: u32 = text[..text.len() - unit.len_utf8()]
        .parse()
        .map_err(|_| wrong())?;
    match number.checked_mul(seconds) {
        Some(0) => Err("a token that is good for no time is good for nothing".into()),
        Some(seconds) => Ok(Duration::from_secs(seconds.into())),
        None => Err("a token may be good for 136 years, or for ever without --expires".into()),
    }
}

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[Format::Yaml, Format::Json, Format::Name])?;
    match &args.command {
        Command::Create { name, grant } => {
            let made = context.client.create_token(&grant.named(name)).await?;
            create(&made, context)?;
        }
        Command::List => list(&context.client.tokens().await?, context)?,
        Command::Revoke { name } => {
            context.client.revoke_token(name).await?;
            context
                .ui
                .line(&format!("token {} revoked", one_line(name)));
        }
    }
    Ok(0)
}

fn create(made: &Made, context: &Context) -> Result<(), CommandError> {
    match context.output {
        Some(format @ (Format::Yaml | Format::Json)) => {
            context.ui.print(&document(&json!(made), format)?);
        }
        // Alone on standard output, so that it can go where it is needed.
        _ => context.ui.line(&made.secret),
    }
    Ok(())
}

fn list(tokens: &[Token], context: &Context) -> Result<(), CommandError> {
    match context.output {
        Some(Format::Name) => tokens
            .iter()
            .for_each(|t| context.ui.line(&one_line(&t.name))),
        Some(format) => context
            .ui
            .print(&document(&json!({"tokens": tokens}), format)?),
        None => {
            let now = context.ui.now;
            let mut table = Table::new(vec!["NAME", "ROLE", "TENANTS", "EXPIRES", "AGE"]);
            for token in tokens {
                table.row(vec![
                    one_line(&token.name),
                    token.role.as_str().to_owned(),
                    scope(&token.scope),
                    expires(token),
                    age(time(token.created.as_deref()), now),
                ]);
            }
            context.ui.print(&table.render(true));
        }
    }
    Ok(())
}

fn time(text: Option<&str>) -> Option<Timestamp> {
    text.and_then(|text| text.parse().ok())
}

fn scope(scope: &Scope) -> String {
    if let Some(selector) = &scope.selector {
        return one_line(selector);
    }
    let names: Vec<&str> = scope.tenants.iter().map(TenantName::as_str).collect();
    if names.is_empty() {
        return "all".to_owned();
    }
    names.join(",")
}

fn expires(token: &Token) -> String {
    match &token.expires {
        Some(_) if token.expired => "expired".to_owned(),
        at => or_none(at.as_deref().map(one_line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_number_and_a_unit() {
        assert_eq!(span("90d"), Ok(Duration::from_secs(90 * 86400)));
        assert_eq!(span("30m"), Ok(Duration::from_secs(1800)));
        for wrong in ["", "d", "90", "90w", "0h", "-1d", "9ä", "99999999d"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
