//! What the environment says: one tenant's names, ports and files.
//!
//! `CB_VERSION` is deliberately no setting: a service reports the release it
//! runs from, see [`crate::release`].

use std::path::PathBuf;

/// What both services are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// `CB_TENANT`: the tenant's slug.
    pub slug: String,
    /// `CB_DISPLAY_NAME`: the tenant's name for people; the slug if unset.
    pub display_name: String,
}

/// What the api is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiSettings {
    /// Whose api this is.
    pub tenant: Tenant,
    /// `PORT`, else `CB_API_PORT`.
    pub port: u16,
    /// `CB_DATABASE_PATH`: the tenant's DuckDB file.
    pub database: PathBuf,
    /// `CB_UPLOADS_DIR`: the tenant's folder of uploads.
    pub uploads: PathBuf,
    /// `OLLAMA_URL`: the shared LLM service, if there is one.
    pub ollama_url: Option<String>,
    /// `I360_DATABASE_PATH`: the shared voter database, if the tenant may
    /// read it.
    pub i360: Option<PathBuf>,
}

/// What the frontend is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontendSettings {
    /// Whose frontend this is.
    pub tenant: Tenant,
    /// `PORT`, else `CB_FRONTEND_PORT`.
    pub port: u16,
    /// `CB_API_PORT`: where the tenant's api listens.
    pub api_port: u16,
}

/// Why the environment cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A variable is missing or empty.
    #[error("the environment variable {0} is not set")]
    Missing(&'static str),
    /// A port is not one.
    #[error("{name} is `{value}`; it must be a port from 1 to 65535")]
    Port {
        /// The variable.
        name: &'static str,
        /// What it says.
        value: String,
    },
}

/// A source of variables, normally `|name| std::env::var(name).ok()`. An empty
/// variable counts as unset.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

impl ApiSettings {
    /// Reads the api's settings.
    ///
    /// # Errors
    /// The first variable that is missing or wrong.
    pub fn read(lookup: Lookup<'_>) -> Result<ApiSettings, SettingsError> {
        Ok(ApiSettings {
            tenant: Tenant::read(lookup)?,
            port: own_port(lookup, "CB_API_PORT")?,
            database: required(lookup, "CB_DATABASE_PATH")?.into(),
            uploads: required(lookup, "CB_UPLOADS_DIR")?.into(),
            ollama_url: optional(lookup, "OLLAMA_URL"),
            i360: optional(lookup, "I360_DATABASE_PATH").map(PathBuf::from),
        })
    }
}

impl FrontendSettings {
    /// Reads the frontend's settings.
    ///
    /// # Errors
    /// The first variable that is missing or wrong.
    pub fn read(lookup: Lookup<'_>) -> Result<FrontendSettings, SettingsError> {
        Ok(FrontendSettings {
            tenant: Tenant::read(lookup)?,
            port: own_port(lookup, "CB_FRONTEND_PORT")?,
            api_port: port(lookup, "CB_API_PORT")?,
        })
    }
}

impl Tenant {
    fn read(lookup: Lookup<'_>) -> Result<Tenant, SettingsError> {
        let slug = required(lookup, "CB_TENANT")?;
        let display_name = optional(lookup, "CB_DISPLAY_NAME").unwrap_or_else(|| slug.clone());
        Ok(Tenant { slug, display_name })
    }
}

fn own_port(lookup: Lookup<'_>, fallback: &'static str) -> Result<u16, SettingsError> {
    match port(lookup, "PORT") {
        Err(SettingsError::Missing(_)) => port(lookup, fallback),
        found => found,
    }
}

fn port(lookup: Lookup<'_>, name: &'static str) -> Result<u16, SettingsError> {
    let value = required(lookup, name)?;
    match value.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(SettingsError::Port { name, value }),
    }
}

fn required(lookup: Lookup<'_>, name: &'static str) -> Result<String, SettingsError> {
    optional(lookup, name).ok_or(SettingsError::Missing(name))
}

fn optional(lookup: Lookup<'_>, name: &str) -> Option<String> {
    lookup(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frontend(variables: &[(&str, &str)]) -> Result<FrontendSettings, SettingsError> {
        FrontendSettings::read(&|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn port_falls_back_to_the_services_own_variable() {
        let base = [
            ("CB_TENANT", "ky04"),
            ("CB_API_PORT", "32301"),
            ("CB_FRONTEND_PORT", "32300"),
        ];
        let settings = frontend(&base).unwrap();
        assert_eq!((settings.port, settings.api_port), (32300, 32301));
        assert_eq!(settings.tenant.display_name, "ky04");
        let settings = frontend(&[&base[..], &[("PORT", "8080")]].concat()).unwrap();
        assert_eq!(settings.port, 8080);
    }

    #[test]
    fn a_missing_or_wrong_variable_is_named() {
        assert_eq!(frontend(&[]), Err(SettingsError::Missing("CB_TENANT")));
        let error = frontend(&[("CB_TENANT", "a"), ("PORT", "0")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "PORT is `0`; it must be a port from 1 to 65535"
        );
    }
}
