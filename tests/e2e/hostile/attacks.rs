//! What a taken-over application tries, and what stops it: the table that
//! `docs/security.md` shows.
//!
//! `NAME` in an attack stands for a fact of the host that the test finds out.

mod kernel;

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
const CALLS: &str = "`SystemCallFilter=`";
const FAMILIES: &str = "`RestrictAddressFamilies=`";
const NFTABLES: &str = "nftables";

const MISSING: &[&str] = &["ENOENT"];
const DENIED: &[&str] = &["EACCES"];
const FORBIDDEN: &[&str] = &["EPERM"];
const FIXED: &[&str] = &["EROFS"];
const FIXED_OR_DENIED: &[&str] = &["EROFS", "EACCES"];
const NO_FAMILY: &[&str] = &["EAFNOSUPPORT"];
const REFUSED: &[&str] = &["ECONNREFUSED"];

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Attack> {
    OTHERS.iter().chain(kernel::ATTACKS)
}

/// On other tenants, on the operator and on the host's services.
const OTHERS: &[Attack] = &[
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
        "put a link beside its own folders",
        "lay link OWN/more /etc",
        FIXED,
        HIDDEN,
    ),
    inside(
        "put a link in the place of its `.env`, which root writes",
        "lay link /etc/cb/tenants/evil/.env /etc/shadow",
        DENIED,
        CLOSED,
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
        "open another tenant's message queue",
        "queue letter",
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
        "connect to another tenant's api from an IPv6 socket",
        "connect6 ::ffff:127.0.0.1 PORT",
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
    inside(
        "see who is logged in, over D-Bus",
        "run - busctl call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager ListSessions",
        &["No such file"],
        NO_RUN,
    ),
    real(
        "ask for the host's name, over D-Bus",
        "run - busctl get-property org.freedesktop.hostname1 /org/freedesktop/hostname1 org.freedesktop.hostname1 Hostname",
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
    (
        "swap its database for a link while it is backed up",
        "the job runs as the tenant's user, and does not follow it",
    ),
    (
        "swap a folder for a link while its disk use is counted",
        "counting goes from open folder to open folder",
    ),
    (
        "hold up the counting of its disk use with FIFOs and sockets",
        "only folders and regular files are opened",
    ),
    (
        "confuse a terminal with the names of its files",
        "no name of a tenant's file is shown",
    ),
    (
        "fill the disk with many files",
        "`resources.disk`: quotas, or its services are stopped",
    ),
    (
        "hide what it has on the disk in folders of a great depth",
        "who cannot be counted is stopped",
    ),
    ("take all memory", "`MemoryMax=`, `OOMPolicy=kill`"),
];

/// The table, as the documentation has it.
pub(super) fn table() -> String {
    let rows = all().map(|attack| (attack.what, attack.by));
    let rows = rows.chain(TRICKS.iter().copied());
    let mut out = String::from("| attack | stopped by |\n|---|---|\n");
    for (what, by) in rows {
        out += &format!("| {what} | {by} |\n");
    }
    out
}
