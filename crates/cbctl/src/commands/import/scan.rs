//! What there is on the machine: unit files without the operator's mark, the
//! environment that they name, and the sites that pass to their ports.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cb_core::adopt::{Handmade, SiteFile, UnitFile, environment};
use cb_core::api::Host;
use cb_core::layout::{unit_name, user_name};
use cb_core::mark::Owner;
use cb_core::observed::Secret;
use cb_core::types::{ObjectName, TenantName};

use crate::error::{CommandError, plain};

/// Everything that was found.
pub(super) struct Found {
    pub(super) tenants: Vec<FoundTenant>,
    /// What looks like a tenant and cannot be taken for one.
    pub(super) complaints: Vec<String>,
}

/// One tenant's things.
pub(super) struct FoundTenant {
    pub(super) name: TenantName,
    /// The services in the order of the command line.
    pub(super) services: Vec<FoundService>,
    /// The sites that pass to its ports and to no others.
    pub(super) sites: Vec<(PathBuf, SiteFile)>,
    /// The files of its environment.
    pub(super) env_files: Vec<PathBuf>,
    /// The home folder of the user that the operator would have it run as, if
    /// there is one.
    pub(super) home: Option<PathBuf>,
}

/// One service.
pub(super) struct FoundService {
    pub(super) name: ObjectName,
    pub(super) file: PathBuf,
    pub(super) unit: UnitFile,
    /// All that it gets. Values may be secrets.
    pub(super) environment: BTreeMap<String, String>,
    pub(super) port: u16,
}

impl FoundService {
    /// The folder that it runs in, without links: a release, however it is
    /// called.
    pub(super) fn folder(&self) -> Option<PathBuf> {
        let folder = Path::new(self.unit.directory.as_ref()?);
        Some(std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned()))
    }
}

/// Looks at the unit folder and at nginx's.
pub(super) fn scan(host: &Host, services: &[ObjectName]) -> Result<Found, CommandError> {
    let folder = Path::new(host.spec.paths.units.as_str());
    let files = list(folder)?;
    let sites = sites(host);
    let mut found = Found {
        tenants: Vec::new(),
        complaints: Vec::new(),
    };
    let Some(first) = services.first() else {
        return Ok(found);
    };
    let suffix = format!("-{first}.service");
    let mut names: Vec<TenantName> = Vec::new();
    for file in &files {
        let Some(slug) = file.strip_suffix(&suffix) else {
            continue;
        };
        match slug.parse::<TenantName>() {
            Ok(name) => names.push(name),
            Err(error) => found.complaints.push(format!("{file}: {error}")),
        }
    }
    for name in names {
        match tenant(&name, folder, services, &sites) {
            Ok(Some(tenant)) => found.tenants.push(tenant),
            Ok(None) => {}
            Err(complaint) => found.complaints.push(format!("{name}: {complaint}")),
        }
    }
    Ok(found)
}

fn list(folder: &Path) -> Result<Vec<String>, CommandError> {
    let failed = |error: std::io::Error| {
        CommandError::failed(format!(
            "cannot read {}: {}",
            folder.display(),
            plain(&error)
        ))
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        names.push(
            entry
                .map_err(failed)?
                .file_name()
                .to_string_lossy()
                .into_owned(),
        );
    }
    names.sort_unstable();
    Ok(names)
}

/// The tenant, unless the operator has it already.
fn tenant(
    name: &TenantName,
    folder: &Path,
    services: &[ObjectName],
    sites: &[(PathBuf, SiteFile)],
) -> Result<Option<FoundTenant>, String> {
    let mut out = FoundTenant {
        name: name.clone(),
        services: Vec::new(),
        sites: Vec::new(),
        env_files: Vec::new(),
        home: home(&user_name(name)),
    };
    for service in services {
        let file = folder.join(unit_name(name, service.as_str()));
        let text = read(&file)?;
        if Owner::of(text.as_bytes()).is_some() {
            return Ok(None);
        }
        let unit = UnitFile::parse(&text);
        let mut files = Handmade::new();
        for path in &unit.environment_files {
            files.insert(path.clone(), Secret::new(read(path)?));
            if !out.env_files.contains(path) {
                out.env_files.push(path.clone());
            }
        }
        let environment = environment(&unit, &files);
        let port = port(service, &unit, &environment).ok_or_else(|| {
            format!(
                "{} does not say the port: neither a variable PORT nor a number in its command",
                file.display()
            )
        })?;
        out.services.push(FoundService {
            name: service.clone(),
            file,
            unit,
            environment,
            port,
        });
    }
    let ports: Vec<u16> = out.services.iter().map(|service| service.port).collect();
    for (path, site) in sites {
        let own = site.ports().iter().any(|port| ports.contains(port));
        if own && site.ports().iter().any(|port| !ports.contains(port)) {
            return Err(format!(
                "{} passes to ports of others too; give each tenant a file of its own first",
                path.display()
            ));
        }
        if own {
            out.sites.push((path.clone(), site.clone()));
        }
    }
    Ok(Some(out))
}

/// The home folder of a user of this machine.
fn home(user: &str) -> Option<PathBuf> {
    let users = read(Path::new("/etc/passwd")).ok()?;
    let mut lines = users.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| {
        (fields.next() == Some(user)).then(|| fields.nth(4).map(PathBuf::from))?
    })
}

/// The port of a service: its variable, or the one number in its command that
/// can be a port.
fn port(
    service: &ObjectName,
    unit: &UnitFile,
    environment: &BTreeMap<String, String>,
) -> Option<u16> {
    let own = cb_core::desired::port_variable(service.as_str());
    let named = ["PORT", own.as_str()].into_iter();
    let named = named.filter_map(|name| environment.get(name)?.parse().ok());
    let mut words = unit.command.iter().skip(1);
    let number = |word: &String| {
        let last = word.rsplit(['=', ':']).next()?;
        last.parse::<u16>().ok().filter(|port| *port >= 1024)
    };
    let mut all = named.chain(words.by_ref().filter_map(number));
    all.next()
}

/// The sites that nginx's usual folders have.
fn sites(host: &Host) -> Vec<(PathBuf, SiteFile)> {
    let config = Path::new(host.spec.nginx.config.as_str());
    let beside = config.parent().unwrap_or(Path::new("/etc/nginx"));
    let mut folders = vec![PathBuf::from(host.spec.nginx.sites.as_str())];
    for name in ["conf.d", "sites-enabled"] {
        let folder = beside.join(name);
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    let mut out = Vec::new();
    for folder in folders {
        for name in list(&folder).unwrap_or_default() {
            let path = folder.join(name);
            let Ok(text) = read(&path) else { continue };
            if Owner::of(text.as_bytes()).is_none() {
                out.push((path, SiteFile::parse(&text)));
            }
        }
    }
    out
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {}", path.display(), plain(&error)))
}
