//! Where a tenant's things are on the host, all from the Host's `paths` and
//! the tenant's name.

use std::path::{Path, PathBuf};

use crate::api::{HostSpec, Paths};
use crate::types::{ObjectName, TenantName, Version};

/// The folders and names of one host.
#[derive(Debug, Clone, Copy)]
pub struct Layout<'a> {
    paths: &'a Paths,
    sites: &'a str,
    /// Whether the manifests are those of a commit.
    follows: bool,
}

impl<'a> Layout<'a> {
    /// The layout of this host.
    #[must_use]
    pub fn new(host: &'a HostSpec) -> Self {
        Self {
            paths: &host.paths,
            sites: host.nginx.sites.as_str(),
            follows: host.source.git.is_some(),
        }
    }

    fn state(&self, part: &str) -> PathBuf {
        Path::new(self.paths.state.as_str()).join(part)
    }

    /// The folder of manifests. If the Host follows a repository, it is a link
    /// to those of the commit in effect.
    #[must_use]
    pub fn manifests(&self) -> PathBuf {
        match self.follows {
            true => self.state("source/current"),
            false => PathBuf::from(self.paths.manifests.as_str()),
        }
    }

    /// The key of fingerprints of secrets.
    #[must_use]
    pub fn fingerprint_key(&self) -> PathBuf {
        self.state("fingerprint.key")
    }

    /// The folder of records.
    #[must_use]
    pub fn records(&self) -> PathBuf {
        self.state("records")
    }

    /// The folder of release folders, by application and version.
    #[must_use]
    pub fn releases(&self) -> PathBuf {
        self.state("releases")
    }

    /// The folder of tenants' data folders.
    #[must_use]
    pub fn tenants(&self) -> PathBuf {
        self.state("tenants")
    }

    /// The folder of events, by object.
    #[must_use]
    pub fn events(&self) -> PathBuf {
        self.state("events")
    }

    /// The folder of what alert sinks were told and have not taken, by sink.
    #[must_use]
    pub fn alerts(&self) -> PathBuf {
        self.state("alerts")
    }

    /// The folder of the API's tokens.
    #[must_use]
    pub fn tokens(&self) -> PathBuf {
        self.state("tokens")
    }

    /// The folder of the key and certificate of the API's own authority.
    #[must_use]
    pub fn pki(&self) -> PathBuf {
        self.state("pki")
    }

    /// The folder of the log of changes over the API.
    #[must_use]
    pub fn audit(&self) -> PathBuf {
        self.state("audit")
    }

    /// The folder of fleet upgrades.
    #[must_use]
    pub fn rollouts(&self) -> PathBuf {
        self.state("rollouts")
    }

    /// The folder of backups, by tenant.
    #[must_use]
    pub fn backups(&self) -> PathBuf {
        self.state("backups")
    }

    /// The folder of the certificates that nginx serves, each with its key.
    #[must_use]
    pub fn certificates(&self) -> PathBuf {
        self.state("certificates")
    }

    /// The file of a tenant's certificate with this content: another
    /// certificate is another file.
    #[must_use]
    pub fn certificate(&self, tenant: &TenantName, digest: &str) -> PathBuf {
        let digest = digest.get(..16).unwrap_or(digest);
        self.certificates().join(format!("{tenant}.{digest}.pem"))
    }

    /// The folder of what concerns the issuing of certificates: the account,
    /// and what is known of each tenant's orders.
    #[must_use]
    pub fn acme(&self) -> PathBuf {
        self.state("acme")
    }

    /// The certificate that was issued for a tenant, with its key.
    #[must_use]
    pub fn issued(&self, tenant: &TenantName) -> PathBuf {
        self.acme().join("issued").join(format!("{tenant}.pem"))
    }

    /// The folder that nginx answers the challenges of authorities from.
    #[must_use]
    pub fn challenges(&self) -> PathBuf {
        self.state("challenges")
    }

    /// The rules of who may connect to what, for `nft -f`.
    #[must_use]
    pub fn network_rules(&self) -> PathBuf {
        self.state("network.nft")
    }

    /// What was found of people's in the place of a tenant's things.
    #[must_use]
    pub fn set_aside(&self, tenant: &TenantName) -> PathBuf {
        self.state("set-aside").join(tenant.as_str())
    }

    /// The shared, immutable folder of a release.
    #[must_use]
    pub fn release(&self, application: &ObjectName, version: &Version) -> PathBuf {
        self.releases()
            .join(application.as_str())
            .join(version.as_str())
    }

    /// The tenant's data folder: owned by root, so that the tenant cannot
    /// replace what is directly in it.
    #[must_use]
    pub fn data(&self, tenant: &TenantName) -> PathBuf {
        self.tenants().join(tenant.as_str())
    }

    /// The folder of the tenant's database file, owned by the tenant.
    #[must_use]
    pub fn database(&self, tenant: &TenantName) -> PathBuf {
        self.data(tenant).join("db")
    }

    /// The folder of the tenant's uploads, owned by the tenant.
    #[must_use]
    pub fn uploads(&self, tenant: &TenantName) -> PathBuf {
        self.data(tenant).join("uploads")
    }

    /// The folder of the tenant's `.env`.
    #[must_use]
    pub fn env_dir(&self, tenant: &TenantName) -> PathBuf {
        Path::new(self.paths.env.as_str()).join(tenant.as_str())
    }

    /// The tenant's `.env`.
    #[must_use]
    pub fn env_file(&self, tenant: &TenantName) -> PathBuf {
        self.env_dir(tenant).join(".env")
    }

    /// The folder of the files that the tenant's credentials are loaded from.
    #[must_use]
    pub fn credentials(&self, tenant: &TenantName) -> PathBuf {
        self.env_dir(tenant).join("credentials")
    }

    /// The definition of the tenant's user, for systemd-sysusers.
    #[must_use]
    pub fn sysusers_file(&self, tenant: &TenantName) -> PathBuf {
        Path::new(self.paths.sysusers.as_str()).join(format!("cb-{tenant}.conf"))
    }

    /// The unit file of this name.
    #[must_use]
    pub fn unit_file(&self, unit: &str) -> PathBuf {
        Path::new(self.paths.units.as_str()).join(unit)
    }

    /// The tenant's nginx site.
    #[must_use]
    pub fn site_file(&self, tenant: &TenantName) -> PathBuf {
        Path::new(self.sites).join(site_name(tenant))
    }
}

/// The file name of a tenant's nginx site.
#[must_use]
pub fn site_name(tenant: &TenantName) -> String {
    format!("cb-{tenant}.conf")
}

/// The tenant's Linux user and group.
#[must_use]
pub fn user_name(tenant: &TenantName) -> String {
    format!("cb-{tenant}")
}

/// The unit of one of the tenant's services.
#[must_use]
pub fn unit_name(tenant: &TenantName, service: &str) -> String {
    format!("{tenant}-{service}.service")
}
