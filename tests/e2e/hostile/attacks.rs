//! What a taken-over application tries, and what stops it: the table that
//! `docs/security.md` shows.
//!
//! `NAME` in an attack stands for a fact of the host that the test finds out.

/// Something that is tried from inside a tenant's service.
pub(super) struct Attack {
    /// In words, for the table.
    pub(super) what: &'static str,
    /// The attack of `tenant.pl` and its arguments.
    pub(super) command: &'static str,
    /// The kernel's names of the errors it may end with, or words of the
    /// program that says no.
    pub(super) ends: &'static [&'static str],
    /// What stops it, for the table.
    pub(super) by: &'static str,
    /// Whether it works for root outside of the sandbox: what fails inside is
    /// then not the attack itself.
    pub(super) works_outside: bool,
}

/// An attack that works for root outside.
const fn real(
    what: &'static str,
    command: &'static str,
    ends: &'static [&'static str],
    by: &'static str,
) -> Attack {
    Attack {
        what,
        command,
        ends,
        by,
        works_outside: true,
    }
}

/// An attack that the test host itself has no place for, or that would harm it
/// or the machine below.
const fn inside(
    what: &'static str,
    command: &'static str,
    ends: &'static [&'static str],
    by: &'static str,
) -> Attack {
    Attack {
        works_outside: false,
        ..real(what, command, ends, by)
    }
}

const HIDDEN: &str = "`TemporaryFileSystem=/var/lib/cb`";
const CLOSED: &str = "`InaccessiblePaths=`";
const NO_RUN: &str = "`TemporaryFileSystem=/run`";
const READ_ONLY: &str = "`ProtectSystem=strict`, and files are root's";
const NO_PROC: &str = "`ProtectProc=invisible`";
const PID_ONLY: &str = "`ProcSubset=pid`";
const DEVICES: &str = "`PrivateDevices=`";
const CALLS: &str = "`SystemCallFilter=`";
const FAMILIES: &str = "`RestrictAddressFamilies=`";
const NFTABLES: &str = "nftables";
const NO_SPACES: &str = "`RestrictNamespaces=`";
const NO_CODE: &str = "`MemoryDenyWriteExecute=`";

const MISSING: &[&str] = &["ENOENT"];
const DENIED: &[&str] = &["EACCES"];
const FORBIDDEN: &[&str] = &["EPERM"];
const FIXED: &[&str] = &["EROFS"];
const FIXED_OR_DENIED: &[&str] = &["EROFS", "EACCES"];
const NO_FAMILY: &[&str] = &["EAFNOSUPPORT"];
const REFUSED: &[&str] = &["ECONNREFUSED"];

/// All of them.
pub(super) const ATTACKS: &[Attack] = &[
    // Another tenant's files.
    real(
        "read another tenant's database",
        "read VICTIM/db/tenant.duckdb",
        MISSING,
        HIDDEN,
    ),
    real(
        "write another tenant's database",
        "write VICTIM/db/tenant.duckdb",
        MISSING,
        HIDDEN,
    ),
    real(
        "read another tenant's uploads",
        "read VICTIM/uploads/letter",
        MISSING,
        HIDDEN,
    ),
    real(
        "write another tenant's uploads",
        "write VICTIM/uploads/letter",
        MISSING,
        HIDDEN,
    ),
    real(
        "list the tenants' folders",
        "list /var/lib/cb/tenants evil",
        &["nothing of others"],
        HIDDEN,
    ),
    real(
        "read another tenant's `.env`",
        "read /etc/cb/tenants/ky04/.env",
        DENIED,
        CLOSED,
    ),
    real(
        "write another tenant's `.env`",
        "write /etc/cb/tenants/ky04/.env",
        DENIED,
        CLOSED,
    ),
    real(
        "read its own `.env` file",
        "read /etc/cb/tenants/evil/.env",
        DENIED,
        CLOSED,
    ),
    real(
        "read another tenant's credentials",
        "read /run/credentials/ky04-api.service/token",
        &["ENOENT", "EACCES"],
        NO_RUN,
    ),
    real(
        "read another tenant's backups",
        "read /var/lib/cb/backups/ky04/kept/database.duckdb",
        MISSING,
        HIDDEN,
    ),
    real(
        "write another tenant's backups",
        "write /var/lib/cb/backups/ky04/kept/database.duckdb",
        MISSING,
        HIDDEN,
    ),
    real(
        "read its own backups",
        "list /var/lib/cb/backups",
        MISSING,
        HIDDEN,
    ),
    real(
        "read another application's release",
        "read /var/lib/cb/releases/tiny/v1/VERSION",
        MISSING,
        HIDDEN,
    ),
    real(
        "write its own release",
        "write /var/lib/cb/releases/evil/v1/VERSION",
        FIXED_OR_DENIED,
        "`BindReadOnlyPaths=`, and files are root's",
    ),
    real(
        "read another tenant's files through a link in its own",
        "through OWN/uploads/link VICTIM/uploads/letter",
        MISSING,
        HIDDEN,
    ),
    inside(
        "put a link in the place of its own folder",
        "replace OWN/uploads /etc",
        FIXED,
        HIDDEN,
    ),
    inside(
        "hard-link a file of the host into its own folder",
        "link /etc/passwd OWN/uploads/passwd",
        &["EXDEV", "EPERM"],
        "each shown folder is a mount of its own",
    ),
    real(
        "read another tenant's file in `/tmp`",
        "read /tmp/letter",
        MISSING,
        "`TemporaryFileSystem=/tmp`",
    ),
    real(
        "read another tenant's memory in `/dev/shm`",
        "read /dev/shm/letter",
        MISSING,
        "`TemporaryFileSystem=/dev/shm`",
    ),
    real(
        "attach another tenant's System V shared memory",
        "shared 4660",
        MISSING,
        "`PrivateIPC=`",
    ),
    real(
        "read another tenant's journal",
        "run Campaign journalctl -q -u ky04-api",
        &["No journal files"],
        "`InaccessiblePaths=/var/log`, `TemporaryFileSystem=/run`",
    ),
    inside(
        "give a file of its own to another tenant",
        "own OWN/uploads/given UID",
        FORBIDDEN,
        "`CapabilityBoundingSet=`, `SystemCallFilter=`",
    ),
    // Other processes.
    real(
        "see the processes of others",
        "see",
        &["its own processes alone"],
        NO_PROC,
    ),
    real(
        "read the environment of another tenant's process",
        "read /proc/PID/environ",
        MISSING,
        NO_PROC,
    ),
    real(
        "read files through another process",
        "read /proc/PID/root/etc/passwd",
        MISSING,
        NO_PROC,
    ),
    real(
        "read the environment of the operator",
        "read /proc/OPERATOR/environ",
        MISSING,
        NO_PROC,
    ),
    inside(
        "open another process's memory",
        "write /proc/PID/mem",
        MISSING,
        NO_PROC,
    ),
    real(
        "read another process's memory",
        "memory PID",
        &["ESRCH", "EPERM"],
        "its own user",
    ),
    inside("trace another process", "trace PID", FORBIDDEN, CALLS),
    inside(
        "take a descriptor of another process",
        "pidfd PID",
        FORBIDDEN,
        CALLS,
    ),
    real(
        "signal another tenant's process",
        "signal PID",
        FORBIDDEN,
        "its own user",
    ),
    real(
        "signal the operator",
        "signal OPERATOR",
        FORBIDDEN,
        "its own user",
    ),
    real(
        "move processes into another tenant's cgroup",
        "cgroup GROUP",
        FIXED_OR_DENIED,
        "`ProtectControlGroups=`",
    ),
    // Sockets and ports.
    real(
        "connect to another tenant's api",
        "connect 127.0.0.1 PORT",
        REFUSED,
        NFTABLES,
    ),
    real(
        "connect to the operator's metrics",
        "connect 127.0.0.1 9643",
        REFUSED,
        NFTABLES,
    ),
    inside(
        "listen on a port of the host",
        "listen 127.0.0.1 81",
        DENIED,
        "`CapabilityBoundingSet=`",
    ),
    real(
        "open a raw socket",
        "socket 2 3 1",
        FORBIDDEN,
        "`CapabilityBoundingSet=`",
    ),
    real(
        "open a packet socket",
        "socket 17 3 768",
        NO_FAMILY,
        FAMILIES,
    ),
    real(
        "open a netlink socket",
        "socket 16 3 0",
        NO_FAMILY,
        FAMILIES,
    ),
    inside(
        "open a socket of the kernel's cryptography",
        "socket 38 5 0",
        NO_FAMILY,
        FAMILIES,
    ),
    inside(
        "open a socket to the hypervisor",
        "socket 40 1 0",
        NO_FAMILY,
        FAMILIES,
    ),
    // The operator and the host's services.
    real(
        "use the operator's API",
        "unix /run/cb/operator.sock",
        MISSING,
        NO_RUN,
    ),
    real(
        "read the operator's records",
        "read /var/lib/cb/records/ky04.yaml",
        MISSING,
        HIDDEN,
    ),
    real(
        "read another tenant's manifest",
        "read /etc/cb/manifests/ky04.yaml",
        DENIED,
        CLOSED,
    ),
    inside(
        "add a manifest",
        "write /etc/cb/manifests/more.yaml",
        DENIED,
        CLOSED,
    ),
    real(
        "read the Host's file",
        "read /etc/cb/host.yaml",
        DENIED,
        CLOSED,
    ),
    real(
        "read a unit",
        "read /etc/systemd/system/ky04-api.service",
        DENIED,
        CLOSED,
    ),
    real(
        "write a unit",
        "write /etc/systemd/system/ky04-api.service",
        DENIED,
        CLOSED,
    ),
    real(
        "read an nginx site",
        "read /etc/nginx/conf.d/cb-ky04.conf",
        DENIED,
        CLOSED,
    ),
    inside(
        "write an nginx site",
        "write /etc/nginx/conf.d/more.conf",
        DENIED,
        CLOSED,
    ),
    inside(
        "add a cron job",
        "write /etc/cron.d/more",
        FIXED_OR_DENIED,
        READ_ONLY,
    ),
    real(
        "write a program of the host",
        "write /usr/local/bin/cbctl",
        FIXED_OR_DENIED,
        READ_ONLY,
    ),
    real(
        "read the passwords",
        "read /etc/shadow",
        DENIED,
        "its own user",
    ),
    real(
        "connect to D-Bus",
        "unix /run/dbus/system_bus_socket",
        MISSING,
        NO_RUN,
    ),
    real(
        "have systemd stop another tenant, over D-Bus",
        "run - busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager GetUnit s ky04-api.service",
        &["No such file"],
        NO_RUN,
    ),
    real(
        "have systemd show another tenant",
        "run Campaign systemctl show ky04-api",
        &["Host is down", "No such file"],
        NO_RUN,
    ),
    real(
        "connect to systemd's own socket",
        "unix /run/systemd/private",
        MISSING,
        NO_RUN,
    ),
    real(
        "tell systemd that it is another service",
        "unix /run/systemd/notify",
        MISSING,
        NO_RUN,
    ),
    real(
        "have systemd run a program as root",
        "run uid=0 systemd-run -q --wait --pipe id",
        &["Host is down", "No such file"],
        NO_RUN,
    ),
    // Privileges.
    real(
        "make a set-uid file",
        "setuid_file OWN/uploads/suid",
        FORBIDDEN,
        "`RestrictSUIDSGID=`",
    ),
    real(
        "give a file capabilities",
        "capable OWN/uploads/capable",
        FORBIDDEN,
        "`CapabilityBoundingSet=`",
    ),
    real(
        "make a device",
        "node OWN/uploads/device",
        FORBIDDEN,
        "`CapabilityBoundingSet=`",
    ),
    inside(
        "become root by a set-uid program",
        "run uid=0 su -c id",
        &["su:"],
        "`NoNewPrivileges=`",
    ),
    inside(
        "become root by a system call",
        "call setuid",
        FORBIDDEN,
        CALLS,
    ),
    // The kernel.
    inside(
        "change a sysctl",
        "write /proc/sys/kernel/core_pattern",
        MISSING,
        PID_ONLY,
    ),
    inside(
        "use the magic SysRq key",
        "write /proc/sysrq-trigger",
        MISSING,
        PID_ONLY,
    ),
    inside(
        "read the kernel's memory",
        "read /proc/kcore",
        MISSING,
        PID_ONLY,
    ),
    inside(
        "change a setting of the kernel in `/sys`",
        "write /sys/kernel/mm/transparent_hugepage/enabled",
        FIXED_OR_DENIED,
        "`ProtectKernelTunables=`",
    ),
    inside(
        "open the machine's memory",
        "read /dev/mem",
        MISSING,
        DEVICES,
    ),
    inside("open the kernel's log", "read /dev/kmsg", MISSING, DEVICES),
    inside("read the kernel's log", "call syslog", FORBIDDEN, CALLS),
    inside("load a module", "call init_module", FORBIDDEN, CALLS),
    inside(
        "load a module from a file",
        "call finit_module",
        FORBIDDEN,
        CALLS,
    ),
    inside("unload a module", "call delete_module", FORBIDDEN, CALLS),
    inside("load another kernel", "call kexec_load", FORBIDDEN, CALLS),
    inside(
        "load another kernel from a file",
        "call kexec_file_load",
        FORBIDDEN,
        CALLS,
    ),
    inside("restart the machine", "call reboot", FORBIDDEN, CALLS),
    inside("load a BPF program", "call bpf", FORBIDDEN, CALLS),
    inside(
        "handle page faults (userfaultfd)",
        "call userfaultfd",
        FORBIDDEN,
        CALLS,
    ),
    inside("use io_uring", "call io_uring_setup", FORBIDDEN, CALLS),
    inside(
        "watch performance counters",
        "call perf_event_open",
        FORBIDDEN,
        CALLS,
    ),
    inside("watch all files", "call fanotify_init", FORBIDDEN, CALLS),
    inside(
        "open a file by its handle",
        "call open_by_handle_at",
        FORBIDDEN,
        CALLS,
    ),
    inside(
        "add a key to the kernel's",
        "call add_key",
        FORBIDDEN,
        CALLS,
    ),
    inside("read the kernel's keys", "call keyctl", FORBIDDEN, CALLS),
    inside(
        "use the machine's ports (iopl)",
        "call iopl",
        FORBIDDEN,
        CALLS,
    ),
    inside(
        "use the machine's ports (ioperm)",
        "call ioperm",
        FORBIDDEN,
        CALLS,
    ),
    inside("set the clock", "call clock_settime", FORBIDDEN, CALLS),
    inside("set the time of day", "call settimeofday", FORBIDDEN, CALLS),
    inside("rename the host", "call sethostname", FORBIDDEN, CALLS),
    inside("swap to a file of its own", "call swapon", FORBIDDEN, CALLS),
    inside("change quotas", "call quotactl", FORBIDDEN, CALLS),
    inside("account all processes", "call acct", FORBIDDEN, CALLS),
    real(
        "change its personality",
        "call personality",
        FORBIDDEN,
        "`LockPersonality=`",
    ),
    inside(
        "take a real-time priority",
        "call sched_setscheduler",
        FORBIDDEN,
        CALLS,
    ),
    real(
        "take a higher priority",
        "call setpriority",
        FORBIDDEN,
        CALLS,
    ),
    // The walls themselves.
    real(
        "make a user namespace",
        "call unshare_user",
        FORBIDDEN,
        NO_SPACES,
    ),
    real(
        "make a mount namespace",
        "call unshare_mount",
        FORBIDDEN,
        NO_SPACES,
    ),
    real(
        "make a network namespace",
        "call unshare_network",
        FORBIDDEN,
        NO_SPACES,
    ),
    inside("join another namespace", "call setns", FORBIDDEN, NO_SPACES),
    inside("mount a file system", "call mount", FORBIDDEN, CALLS),
    inside(
        "mount the system writable",
        "call remount",
        FORBIDDEN,
        CALLS,
    ),
    inside(
        "unmount what hides `/run`",
        "call umount2",
        FORBIDDEN,
        CALLS,
    ),
    inside(
        "take another root (chroot)",
        "call chroot",
        FORBIDDEN,
        CALLS,
    ),
    inside(
        "take another root (pivot_root)",
        "call pivot_root",
        FORBIDDEN,
        CALLS,
    ),
    real(
        "run code that it wrote to memory",
        "code",
        FORBIDDEN,
        NO_CODE,
    ),
    real(
        "make memory executable that it wrote",
        "protect",
        FORBIDDEN,
        NO_CODE,
    ),
    // Floods.
    real(
        "flood the host with processes",
        "fork 200",
        &["EAGAIN"],
        "`TasksMax=`, `LimitNPROC=`",
    ),
    real(
        "fill `/tmp`",
        "space /tmp 16",
        &["ENOSPC"],
        "`TemporaryFileSystem=/tmp:size=`",
    ),
    real(
        "fill `/dev/shm`",
        "space /dev/shm 16",
        &["ENOSPC"],
        "`TemporaryFileSystem=/dev/shm:size=`",
    ),
    real(
        "write a file that fills the disk",
        "space OWN/uploads 32",
        &["EFBIG"],
        "`LimitFSIZE=`",
    ),
    real(
        "make a sparse file that fills backups",
        "size OWN/uploads/large 1099511627776",
        &["EFBIG"],
        "`LimitFSIZE=`",
    ),
    real(
        "open all files that the host can",
        "descriptors 1000",
        &["EMFILE"],
        "`LimitNOFILE=`",
    ),
    real(
        "dump its memory to the disk",
        "core",
        FORBIDDEN,
        "`LimitCORE=`",
    ),
];

/// What is no attack of its own, but what the test watches for.
pub(super) const TRICKS: &[(&str, &str)] = &[
    ("log in another tenant's name", "the journal's own fields"),
    ("answer on another tenant's port", NFTABLES),
    (
        "have a link to another tenant's database backed up",
        "the job runs as the tenant's user, and does not follow it",
    ),
    ("have a FIFO backed up", "the job takes regular files alone"),
    ("take all memory", "`MemoryMax=`, `OOMPolicy=kill`"),
];

/// The table, as the documentation has it.
pub(super) fn table() -> String {
    let rows = ATTACKS.iter().map(|attack| (attack.what, attack.by));
    let rows = rows.chain(TRICKS.iter().copied());
    let mut out = String::from("| attack | stopped by |\n|---|---|\n");
    for (what, by) in rows {
        out += &format!("| {what} | {by} |\n");
    }
    out
}
