//! Where copies go: plain data that the caller reads from the Host and from
//! the credentials' file.

use std::fmt;
use std::path::PathBuf;

use cb_core::types::{BucketName, HttpUrl, ObjectName};

use crate::error::Error;

/// A destination of copies.
#[derive(Debug, Clone)]
pub enum Config {
    /// A folder, for example a mount of another machine's disk. It must exist
    /// already, so that copies do not land on the host's own disk while the
    /// mount is away, and be closed to others: copies hold secrets.
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// A bucket of an S3-compatible object store.
    S3(S3),
}

/// A bucket of an S3-compatible object store.
#[derive(Debug, Clone)]
pub struct S3 {
    /// The bucket. It must exist already.
    pub bucket: BucketName,
    /// What all keys begin with, before a `/`. `None`: nothing.
    pub prefix: Option<ObjectName>,
    /// The region that requests are signed for.
    pub region: ObjectName,
    /// The server's URL. `None`: Amazon's for the region. Only a server on the
    /// host itself is spoken to without TLS.
    pub endpoint: Option<HttpUrl>,
    /// What requests are signed with.
    pub credentials: Credentials,
    /// A PEM file with the certificates of the authorities that the server's
    /// certificate is checked against, and no others. `None`: the system's.
    pub ca_file: Option<PathBuf>,
}

/// An access key of an object store. Its secret is never shown.
#[derive(Clone)]
pub struct Credentials {
    pub(crate) access_key_id: String,
    pub(crate) secret: String,
}

impl Credentials {
    /// Reads the content of a credentials' file: two lines, the access key's
    /// identifier and its secret.
    ///
    /// # Errors
    /// [`Error::Settings`] if there are not two lines of printable characters.
    /// The message repeats nothing of the content.
    pub fn parse(content: &str) -> Result<Self, Error> {
        let lines: Vec<&str> = content.lines().map(str::trim_end).collect();
        let printable = |line: &str| !line.is_empty() && line.chars().all(|c| c.is_ascii_graphic());
        match lines.as_slice() {
            [id, secret] if printable(id) && printable(secret) => Ok(Self {
                access_key_id: (*id).to_owned(),
                secret: (*secret).to_owned(),
            }),
            _ => Err(Error::Settings {
                field: "credentials",
                problem: "write two lines: the access key's identifier and its secret".to_owned(),
            }),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_two_lines_and_never_shown() {
        for good in [
            "AKIA1\ns3cr3t/+=\n",
            "AKIA1\r\ns3cr3t/+=\r\n",
            "AKIA1\ns3cr3t/+=",
        ] {
            let credentials = Credentials::parse(good).unwrap();
            assert_eq!(credentials.access_key_id, "AKIA1");
            assert_eq!(credentials.secret, "s3cr3t/+=");
            assert!(!format!("{credentials:?}").contains("s3cr3t"));
        }
        for bad in [
            "",
            "\n\n",
            "AKIA1",
            "AKIA1 s3cr3t",
            "AKIA1\ns3cr3t\nmore",
            "AKIA1\ns3c r3t",
        ] {
            let error = Credentials::parse(bad).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3c"), "{error}");
        }
    }
}
