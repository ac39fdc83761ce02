//! What a service is let out of its sandbox for, and the limits of services.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Resources;
use crate::types::Cpu;

/// How the sandbox of a service differs from everyone's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Sandbox {
    /// What the service may do that services may not. `cbctl validate` and the
    /// status of each tenant list it. Default: nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<SandboxException>,
}

impl Sandbox {
    /// Whether it is everyone's.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self == &Self::default()
    }

    /// Whether the service has this exception.
    #[must_use]
    pub fn allows(&self, exception: SandboxException) -> bool {
        self.allow.contains(&exception)
    }
}

/// Something that a service may do although services may not.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum SandboxException {
    /// Run code that it writes to memory, as the just-in-time compilers of
    /// Node.js, Java, .NET and LuaJIT do.
    WritableCode,
    /// Make namespaces, as the sandboxes of browsers and of other programs do.
    /// What they do in them often needs `AllSystemCalls` too.
    Namespaces,
    /// Ask the kernel for the host's network interfaces and routes
    /// (`AF_NETLINK`).
    Netlink,
    /// See all processes of the host, and what `/proc` tells of the machine.
    OtherProcesses,
    /// Change its priority, its processors and its limits (`@resources` of
    /// systemd).
    Scheduling,
    /// Make every system call that its user may make, and not those of ordinary
    /// services alone.
    AllSystemCalls,
}

impl SandboxException {
    /// The word in manifests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WritableCode => "WritableCode",
            Self::Namespaces => "Namespaces",
            Self::Netlink => "Netlink",
            Self::OtherProcesses => "OtherProcesses",
            Self::Scheduling => "Scheduling",
            Self::AllSystemCalls => "AllSystemCalls",
        }
    }

    /// What it lets a taken-over service do, for a person who has to decide.
    #[must_use]
    pub fn risk(self) -> &'static str {
        match self {
            Self::WritableCode => "it may run code that was written to its memory",
            Self::Namespaces => "it may make namespaces, where much more of the kernel is reached",
            Self::Netlink => "it may see the host's network interfaces and routes",
            Self::OtherProcesses => "it sees the processes of all tenants",
            Self::Scheduling => "it may change its priority, processors and limits",
            Self::AllSystemCalls => "it reaches all of the kernel that its user does",
        }
    }
}

/// The limits of a service, all known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes.
    pub memory: u64,
    /// Processor time; without a limit if absent.
    pub cpu: Option<Cpu>,
    /// Processes and threads.
    pub tasks: u32,
    /// The size of one file in bytes.
    pub file_size: u64,
    /// Open files and connections of one process.
    pub open_files: u32,
    /// Each folder of temporary files in bytes.
    pub temporary: u64,
}

impl Limits {
    /// Memory if nothing says otherwise.
    const MEMORY: u64 = 2 << 30;
    /// Processes and threads if nothing says otherwise.
    const TASKS: u32 = 512;
    /// The size of one file if nothing says otherwise.
    const FILE_SIZE: u64 = 64 << 30;
    /// Open files if nothing says otherwise.
    const OPEN_FILES: u32 = 16384;
    /// Temporary files if nothing says otherwise.
    const TEMPORARY: u64 = 256 << 20;

    /// The limits that a tenant's and the Host's words mean.
    #[must_use]
    pub fn of(tenant: &Resources, defaults: &Resources) -> Self {
        let given = tenant.or(defaults);
        Self {
            memory: given.memory.map_or(Self::MEMORY, |m| m.bytes()),
            cpu: given.cpu,
            tasks: given.tasks.unwrap_or(Self::TASKS),
            file_size: given.file_size.map_or(Self::FILE_SIZE, |m| m.bytes()),
            open_files: given.open_files.unwrap_or(Self::OPEN_FILES),
            temporary: given.temporary.map_or(Self::TEMPORARY, |m| m.bytes()),
        }
    }
}
