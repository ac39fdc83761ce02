//! A destination of copies: its object store, its keys, its listing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cb_core::types::{BackupId, ObjectName, TenantName};
use futures::TryStreamExt as _;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{
    BackoffConfig, Certificate, ClientOptions, ObjectMeta, ObjectStore, RetryConfig,
};

use crate::config::{Config, S3};
use crate::error::Error;
use crate::folder;
use crate::source::blocking;

/// How often a request is repeated before a call fails as
/// [`Error::Unavailable`]: about two seconds against a server that is down. The
/// caller tries again much later.
const RETRIES: usize = 4;

/// How long one request may take: a part of 8 MiB at 70 kB/s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// A destination of copies. Cheap to make: nothing is asked of a server before
/// the first call.
#[derive(Debug)]
pub struct Destination {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The folder, if the destination is one.
    pub(crate) folder: Option<PathBuf>,
    prefix: Option<ObjectName>,
    /// What errors call it.
    name: String,
}

/// The objects of one copy, by what follows the copy's key.
pub(crate) type Objects = BTreeMap<String, ObjectMeta>;

impl Destination {
    /// A destination by its settings.
    ///
    /// # Errors
    /// [`Error::Settings`] for an endpoint or certificates that cannot be used;
    /// [`Error::Local`] if the file of certificates cannot be read;
    /// [`Error::NoDestination`] and [`Error::Settings`] for a folder that is
    /// missing or open to others.
    pub fn new(config: &Config) -> Result<Self, Error> {
        match config {
            Config::Folder { path } => {
                let name = format!("the folder {}", path.display());
                folder::check(path, &name)?;
                let store = LocalFileSystem::new_with_prefix(path)
                    .map_err(|error| Error::from_store(&name, "open it", &error))?;
                Ok(Self {
                    store: Arc::new(store.with_fsync(true)),
                    folder: Some(path.clone()),
                    prefix: None,
                    name,
                })
            }
            Config::S3(s3) => Ok(Self {
                store: bucket(s3)?,
                folder: None,
                prefix: s3.prefix.clone(),
                name: match &s3.endpoint {
                    Some(endpoint) => format!("the bucket {} at {endpoint}", s3.bucket),
                    None => format!("the bucket {} in {}", s3.bucket, s3.region),
                },
            }),
        }
    }

    /// What the destination is called in messages. It holds no secret.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key of a tenant's copies. All parts are of types that hold no `/`
    /// and are not `..`, so that no key leaves the prefix.
    pub(crate) fn tenant_key(&self, tenant: &TenantName) -> Key {
        let prefix = self.prefix.as_ref().map(ObjectName::as_str);
        Key::from_iter(prefix.into_iter().chain([tenant.as_str()]))
    }

    /// The key of one copy.
    pub(crate) fn copy_key(&self, tenant: &TenantName, id: &BackupId) -> Key {
        self.tenant_key(tenant).join(id.as_str())
    }

    /// The objects of one copy; none if there is no such copy.
    pub(crate) async fn objects(
        &self,
        tenant: &TenantName,
        id: &BackupId,
    ) -> Result<Objects, Error> {
        let key = self.copy_key(tenant, id);
        Ok(self.list_below(&key).await?.into_iter().collect())
    }

    /// The objects below a key, by what follows it. This is what every call
    /// begins with, because its answer tells a missing bucket from an empty one.
    pub(crate) async fn list_below(&self, key: &Key) -> Result<Vec<(String, ObjectMeta)>, Error> {
        if let Some(folder) = &self.folder {
            let (folder, name) = (folder.clone(), self.name.clone());
            blocking(move || folder::check(&folder, &name)).await?;
        }
        let found: Vec<ObjectMeta> = self
            .store
            .list(Some(key))
            .try_collect()
            .await
            .map_err(|error| self.failed("list copies", &error))?;
        let below = |meta: ObjectMeta| {
            let parts = meta.location.prefix_match(key)?;
            let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
            Some((parts.join("/"), meta))
        };
        Ok(found.into_iter().filter_map(below).collect())
    }

    pub(crate) fn failed(&self, action: &str, error: &object_store::Error) -> Error {
        Error::from_store(&self.name, action, error)
    }

    pub(crate) fn damaged(&self, key: &Key, problem: impl Into<String>) -> Error {
        Error::Damaged {
            destination: self.name.clone(),
            key: key.to_string(),
            problem: problem.into(),
        }
    }

    pub(crate) fn not_found(&self, tenant: &TenantName, id: &BackupId) -> Error {
        Error::NotFound {
            destination: self.name.clone(),
            tenant: tenant.clone(),
            id: id.clone(),
        }
    }
}

fn bucket(s3: &S3) -> Result<Arc<dyn ObjectStore>, Error> {
    // One for the whole process; whatever was chosen before is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = ClientOptions::new().with_timeout(REQUEST_TIMEOUT);
    if let Some(path) = &s3.ca_file {
        let pem = std::fs::read(path).map_err(Error::local("read", path))?;
        let unusable = || Error::Settings {
            field: "caFile",
            problem: format!("{} has no certificate in PEM form", path.display()),
        };
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|_| unusable())?;
        if certificates.is_empty() {
            return Err(unusable());
        }
        client = client.with_no_system_certificates(true);
        for certificate in certificates {
            client = client.with_root_certificate(certificate);
        }
    }
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(s3.bucket.as_str())
        .with_region(s3.region.as_str())
        .with_access_key_id(&s3.credentials.access_key_id)
        .with_secret_access_key(&s3.credentials.secret)
        // Deleting many at once is not part of every such server.
        .with_disable_bulk_delete(true)
        .with_retry(RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: RETRIES,
            retry_timeout: REQUEST_TIMEOUT,
        });
    if let Some(endpoint) = &s3.endpoint {
        if is_plain(endpoint.as_str())? {
            // No certificate is looked at, so none has to be on the host.
            client = client
                .with_allow_http(true)
                .with_no_system_certificates(true);
        }
        builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
    }
    match builder.with_client_options(client).build() {
        Ok(store) => Ok(Arc::new(store)),
        Err(error) => Err(Error::Settings {
            field: "s3",
            problem: error.to_string(),
        }),
    }
}

/// Whether an endpoint is spoken to without TLS.
fn is_plain(endpoint: &str) -> Result<bool, Error> {
    let wrong = |problem: &str| Error::Settings {
        field: "endpoint",
        problem: problem.to_owned(),
    };
    let url = url::Url::parse(endpoint).map_err(|error| wrong(&error.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("leave the user and password out of the URL"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("leave what begins with `?` or `#` out of the URL"));
    }
    let local = match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => return Err(wrong("write a URL with a host")),
    };
    match url.scheme() {
        "https" => Ok(false),
        "http" if local => Ok(true),
        _ => Err(wrong(
            "write an https URL: copies hold secrets, and only a server on this host is spoken to without TLS",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn secrets_leave_the_host_through_tls_alone() {
        for tls in ["https://s3.example.org", "https://10.0.0.1:9000/"] {
            assert!(!is_plain(tls).unwrap(), "{tls}");
        }
        for local in [
            "http://127.0.0.1:9000",
            "http://[::1]:9000",
            "http://localhost:1",
        ] {
            assert!(is_plain(local).unwrap(), "{local}");
        }
        for refused in [
            "http://s3.example.org",
            "http://10.0.0.1:9000",
            "http://localhost.example.org",
            "https://user:s3cr3t@s3.example.org",
            "https://s3.example.org?x=1",
            "s3.example.org",
            "ftp://s3.example.org",
        ] {
            let error = is_plain(refused).unwrap_err().to_string();
            assert!(!error.contains("s3cr3t"), "{error}");
        }
    }
}
