//! Contexts: which host's operator a command talks to.
//!
//! They are in `$CBCTL_CONFIG`, else `cbctl/config.yaml` in the folder of
//! configurations (`$XDG_CONFIG_HOME`, else `~/.config`). A context is a unix
//! socket or a URL with what it takes to be let in. What must not live here:
//! connections.

use std::path::{Path, PathBuf};

use cb_core::types::shown;
use serde::{Deserialize, Serialize};

use crate::error::{CommandError, plain};
use crate::files;

/// The socket of an operator with the default Host.
pub(crate) const DEFAULT_SOCKET: &str = "/run/cb/operator.sock";

/// The file of contexts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Config {
    /// The context that is used without `--context`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) current_context: Option<String>,
    /// All contexts.
    pub(crate) contexts: Vec<HostContext>,
}

/// One host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct HostContext {
    /// Its name.
    pub(crate) name: String,
    /// `unix:///PATH` or `https://HOST:PORT`.
    pub(crate) server: String,
    /// The file of the certificate authority of an https server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate_authority: Option<PathBuf>,
    /// The file that holds the token for an https server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
}

/// Where an operator listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A unix socket.
    Socket(PathBuf),
    /// TLS.
    Tls(TlsEndpoint),
}

/// A server with TLS, and what it takes to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsEndpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) certificate_authority: Option<PathBuf>,
    pub(crate) token_file: Option<PathBuf>,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Endpoint::Socket(path) => write!(f, "{}", path.display()),
            Endpoint::Tls(TlsEndpoint { host, port, .. }) => write!(f, "https://{host}:{port}"),
        }
    }
}

impl Config {
    /// The file.
    pub(crate) fn path() -> Result<PathBuf, CommandError> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(path) = set("CBCTL_CONFIG") {
            return Ok(path.into());
        }
        let base = set("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| set("HOME").map(|home| Path::new(&home).join(".config")));
        let base = base.ok_or_else(|| {
            CommandError::failed("there is no place for the file of contexts")
                .hint("set HOME, or CBCTL_CONFIG to the file")
        })?;
        Ok(base.join("cbctl").join("config.yaml"))
    }

    /// Reads the file; an absent one holds nothing.
    pub(crate) fn load() -> Result<Self, CommandError> {
        // Where there is no place for a file, there is none.
        let Ok(path) = Self::path() else {
            return Ok(Self::default());
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => {
                let message = format!("cannot read {}: {}", path.display(), plain(&error));
                return Err(CommandError::failed(message));
            }
        };
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_yaml::from_str(&text).map_err(|error| {
            CommandError::failed(format!("{}: {error}", path.display()))
                .hint("`cbctl config` writes it; put it right, or remove it")
        })
    }

    /// Writes the file, for its owner alone.
    pub(crate) fn save(&self) -> Result<(), CommandError> {
        let path = Self::path()?;
        let text = serde_yaml::to_string(self)
            .map_err(|error| CommandError::failed(format!("cannot write contexts: {error}")))?;
        files::write(&path, &text, 0o600).map_err(|error| {
            CommandError::failed(format!(
                "cannot write {}: {}",
                path.display(),
                plain(&error)
            ))
        })
    }

    /// The names of all contexts.
    pub(crate) fn names(&self) -> Vec<String> {
        self.contexts.iter().map(|one| one.name.clone()).collect()
    }

    /// The context of this name.
    pub(crate) fn find(&self, name: &str) -> Option<&HostContext> {
        self.contexts.iter().find(|one| one.name == name)
    }

    /// Where to ask: the server of the command line, else the context of the
    /// command line, else the current context, else the default socket.
    pub(crate) fn endpoint(
        &self,
        server: Option<&str>,
        context: Option<&str>,
    ) -> Result<Endpoint, CommandError> {
        if let Some(server) = server {
            let plain = HostContext {
                server: server.to_owned(),
                ..HostContext::default()
            };
            return plain.endpoint();
        }
        let Some(name) = context.or(self.current_context.as_deref()) else {
            return Ok(Endpoint::Socket(DEFAULT_SOCKET.into()));
        };
        let found = self.find(name).ok_or_else(|| {
            let message = format!("there is no context \"{}\"", shown(name));
            CommandError::usage(message).hint("`cbctl config get-contexts` lists them")
        })?;
        found.endpoint()
    }
}

impl HostContext {
    /// Where the context's operator listens.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, CommandError> {
        let wrong = || {
            CommandError::usage(format!("`{}` is no server", shown(&self.server))).hint(
                "write unix:///PATH with the full path of the operator's socket, or https://HOST:PORT",
            )
        };
        let path = self.server.strip_prefix("unix://").unwrap_or(&self.server);
        if path.starts_with('/') {
            return Ok(Endpoint::Socket(path.into()));
        }
        let rest = self.server.strip_prefix("https://").ok_or_else(wrong)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse::<u16>().map_err(|_| wrong())?)
            }
            _ => (rest, 443),
        };
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let is_name = |c: char| c.is_ascii_alphanumeric() || ".-:".contains(c);
        if host.is_empty() || !host.chars().all(is_name) {
            return Err(wrong());
        }
        Ok(Endpoint::Tls(TlsEndpoint {
            host: host.to_owned(),
            port,
            certificate_authority: self.certificate_authority.clone(),
            token_file: self.token_file.clone(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(server: &str) -> Option<String> {
        let endpoint = Config::default().endpoint(Some(server), None).ok()?;
        Some(endpoint.to_string())
    }

    #[test]
    fn a_server_is_a_socket_or_https() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(endpoint("unix:///run/x.sock"), text("/run/x.sock"));
        assert_eq!(endpoint("/run/x.sock"), text("/run/x.sock"));
        assert_eq!(endpoint("https://host:6443/"), text("https://host:6443"));
        assert_eq!(endpoint("https://[::1]:6443"), text("https://::1:6443"));
        assert_eq!(endpoint("https://host"), text("https://host:443"));
        for bad in [
            "unix://x.sock",
            "http://host:1",
            "https://:1",
            "https://a b",
            "https://h:x",
        ] {
            assert_eq!(endpoint(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_command_line_comes_before_the_file() {
        let config: Config = serde_yaml::from_str(
            "currentContext: a\ncontexts:\n- {name: a, server: /a}\n- {name: b, server: /b}\n",
        )
        .unwrap();
        let at = |server, context| config.endpoint(server, context).unwrap().to_string();
        assert_eq!(at(None, None), "/a");
        assert_eq!(at(None, Some("b")), "/b");
        assert_eq!(at(Some("/c"), Some("b")), "/c");
        assert!(config.endpoint(None, Some("x")).is_err());
        let none = Config::default().endpoint(None, None).unwrap();
        assert_eq!(none.to_string(), DEFAULT_SOCKET);
    }
}
