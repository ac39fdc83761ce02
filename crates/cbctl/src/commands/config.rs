//! `cbctl config`: the contexts, each of which is one host's operator.

mod kubeconfig;

use std::path::{Path, PathBuf};

use cb_core::types::shown;

use crate::cli::{Context, Done};
use crate::config::{Config, HostContext};
use crate::error::{CommandError, plain};
use crate::files;
use crate::output::table::{Table, or_none};
use crate::output::{Format, document};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A context is the unix socket of an operator, or its address with TLS, a certificate authority
and a token. A socket on another machine is reached through SSH:
  ssh -N -L /run/user/1000/web1.sock:/run/cb/operator.sock root@web1 &
  cbctl config set-context web1 --server unix:///run/user/1000/web1.sock

They are in $CBCTL_CONFIG, else in ~/.config/cbctl/config.yaml.

Examples:
  ssh root@web2 cbctl kubeconfig ann --role edit >ann.kubeconfig
  cbctl config set-context web2 --kubeconfig ann.kubeconfig
  cbctl config use-context web2
  cbctl --context web1 get tenants"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the contexts
    GetContexts {
        /// Leave out the headers
        #[arg(long)]
        no_headers: bool,
    },
    /// Show the context that is used without --context
    CurrentContext,
    /// Use another context from now on
    UseContext {
        /// The context
        #[arg(add = crate::complete::contexts())]
        name: String,
    },
    /// Make a context, or change one
    SetContext(Set),
    /// Remove a context
    DeleteContext {
        /// The context
        #[arg(add = crate::complete::contexts())]
        name: String,
    },
}

#[derive(Debug, clap::Args)]
struct Set {
    /// The context
    name: String,
    // The global option has this name too; here it is what is written.
    #[arg(from_global)]
    server: Option<String>,
    /// The certificate authority of an https server, a file in PEM
    #[arg(long, value_name = "FILE")]
    certificate_authority: Option<PathBuf>,
    /// The file that holds the token for an https server
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Take all of it from a kubeconfig, as `cbctl kubeconfig` prints it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["certificate_authority", "token_file"])]
    kubeconfig: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let mut config = Config::load()?;
    let ui = &context.ui;
    if !matches!(args.command, Command::GetContexts { .. }) {
        Format::among(context.output, &[])?;
    }
    match &args.command {
        Command::GetContexts { no_headers } => list(&config, !no_headers, context)?,
        Command::CurrentContext => match &config.current_context {
            Some(name) => ui.line(name),
            None => {
                return Err(CommandError::failed("current-context is not set")
                    .hint("`cbctl config use-context NAME` sets it"));
            }
        },
        Command::UseContext { name } => {
            known(&config, name)?;
            config.current_context = Some(name.clone());
            config.save()?;
            ui.line(&format!("Switched to context \"{}\".", shown(name)));
        }
        Command::SetContext(set) => {
            let made = set.apply(&mut config)?;
            config.save()?;
            let done = if made { "created" } else { "modified" };
            ui.line(&format!("Context \"{}\" {done}.", shown(&set.name)));
        }
        Command::DeleteContext { name } => {
            let gone = known(&config, name)?.clone();
            config.contexts.retain(|one| one.name != *name);
            if config.current_context.as_ref() == Some(name) {
                config.current_context = None;
                ui.note("warning: this was the current context; the local socket is used now");
            }
            config.save()?;
            remove_own(&gone)?;
            ui.line(&format!("deleted context {}", shown(name)));
        }
    }
    Ok(0)
}

impl Set {
    /// Returns whether the context is new.
    fn apply(&self, config: &mut Config) -> Result<bool, CommandError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
        if self.name.is_empty() || !self.name.chars().all(is_plain) {
            let message = format!("`{}` is not a name of a context", shown(&self.name));
            return Err(CommandError::usage(message).hint("letters, digits and . _ - @"));
        }
        let new = config.find(&self.name).is_none();
        let mut changed = config.find(&self.name).cloned().unwrap_or_default();
        changed.name.clone_from(&self.name);
        if let Some(path) = &self.kubeconfig {
            let read = kubeconfig_in(path)?;
            let file = |what: &str, text: &str| self.beside(what, text);
            changed.certificate_authority = Some(file("ca.pem", &read.certificate_authority)?);
            changed.token_file = Some(file("token", &read.token)?);
            changed.server = read.server;
        }
        if let Some(server) = &self.server {
            changed.server.clone_from(server);
        } else if changed.server.is_empty() {
            return Err(CommandError::usage("a new context needs --server")
                .hint("--server unix:///PATH or --server https://HOST:PORT"));
        }
        // The file is read from any folder.
        let full = |path: &PathBuf| {
            std::path::absolute(path)
                .map_err(|error| CommandError::failed(format!("{}: {error}", path.display())))
        };
        if let Some(path) = &self.certificate_authority {
            changed.certificate_authority = Some(full(path)?);
        }
        if let Some(path) = &self.token_file {
            changed.token_file = Some(full(path)?);
        }
        changed.endpoint()?;
        config.contexts.retain(|one| one.name != self.name);
        config.contexts.push(changed);
        config.contexts.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(new)
    }
}

impl Set {
    /// Writes a part of a kubeconfig beside the file of contexts, for its
    /// owner alone.
    fn beside(&self, what: &str, text: &str) -> Result<PathBuf, CommandError> {
        let file = Config::path()?;
        let folder = file.parent().unwrap_or(Path::new("/"));
        let path = folder.join(format!("{}.{what}", self.name));
        files::write(&path, &format!("{}\n", text.trim_end()), 0o600).map_err(|error| {
            CommandError::failed(format!(
                "cannot write {}: {}",
                path.display(),
                plain(&error)
            ))
        })?;
        Ok(path)
    }
}

/// Reads a kubeconfig.
fn kubeconfig_in(path: &Path) -> Result<kubeconfig::Read, CommandError> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| CommandError::failed(format!("cannot read {shown}: {}", plain(&error))))?;
    kubeconfig::parse(&text).ok_or_else(|| {
        CommandError::failed(format!(
            "{shown} is no kubeconfig whose current context has a server, a certificate authority and a token in it"
        ))
        .hint("`cbctl kubeconfig NAME` prints one on the host")
    })
}

/// Removes what was written for a context out of a kubeconfig.
fn remove_own(gone: &HostContext) -> Result<(), CommandError> {
    let file = Config::path()?;
    let paths = gone.certificate_authority.iter().chain(&gone.token_file);
    for path in paths.filter(|path| path.parent() == file.parent()) {
        let name = path.file_name().map(|name| name.to_string_lossy());
        if name.is_some_and(|name| name.starts_with(&format!("{}.", gone.name))) {
            std::fs::remove_file(path).map_err(|error| {
                let message = format!("cannot remove {}: {}", path.display(), plain(&error));
                CommandError::failed(message)
            })?;
        }
    }
    Ok(())
}

fn known<'a>(config: &'a Config, name: &str) -> Result<&'a HostContext, CommandError> {
    config.find(name).ok_or_else(|| {
        let message = format!("no context exists with the name: \"{}\"", shown(name));
        CommandError::failed(message).hint("`cbctl config get-contexts` lists them")
    })
}

fn list(config: &Config, headers: bool, context: &Context) -> Result<(), CommandError> {
    Format::among(context.output, &[Format::Name, Format::Yaml, Format::Json])?;
    match context.output {
        Some(Format::Name) => config.names().iter().for_each(|name| context.ui.line(name)),
        Some(format) => {
            let value = serde_json::to_value(config)
                .map_err(|error| CommandError::failed(format!("cannot write contexts: {error}")))?;
            context.ui.print(&document(&value, format)?);
        }
        None => {
            let mut table = Table::new(["CURRENT", "NAME", "SERVER", "TOKEN"]);
            for one in &config.contexts {
                let current = config.current_context.as_ref() == Some(&one.name);
                let token = one
                    .token_file
                    .as_ref()
                    .map(|path| path.display().to_string());
                table.row(vec![
                    if current { "*" } else { "" }.into(),
                    one.name.clone(),
                    one.server.clone(),
                    or_none(token),
                ]);
            }
            context.ui.print(&table.render(headers));
        }
    }
    Ok(())
}
