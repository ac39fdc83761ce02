//! The ownership mark in every managed file (law 3: hands off what is not ours).
//!
//! The first line of a managed file names its owner. A file without the mark,
//! or with another owner's, is a conflict: reported, never overwritten.

const PREFIX: &str = "# cb-operator: owner=";

/// Who owns a managed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A tenant, by name.
    Tenant(String),
    /// The host as a whole.
    Host,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Owner::Tenant(name) => write!(f, "tenant/{name}"),
            Owner::Host => f.write_str("host"),
        }
    }
}

impl Owner {
    /// The lines that start a managed file: the mark and a word for people.
    #[must_use]
    pub fn header(&self) -> String {
        format!(
            "{PREFIX}{self}\n# Written by cb-operator from the manifest; changes made here are put back.\n"
        )
    }

    /// The owner that a file's first line names; `None` if it has no mark.
    #[must_use]
    pub fn of(content: &[u8]) -> Option<Owner> {
        let line = content.split(|&byte| byte == b'\n').next()?;
        let owner = std::str::from_utf8(line).ok()?.strip_prefix(PREFIX)?;
        match owner.split_once('/') {
            Some(("tenant", name)) => Some(Owner::Tenant(name.to_owned())),
            None if owner == "host" => Some(Owner::Host),
            _ => None,
        }
    }
}
