//! Attacks on the kernel, on the walls of the sandbox, and floods.

use super::{Attack, CALLS, FIXED_OR_DENIED, FORBIDDEN, MISSING, inside, real};

const PID_ONLY: &str = "`ProcSubset=pid`";
const DEVICES: &str = "`PrivateDevices=`";
const NO_SPACES: &str = "`RestrictNamespaces=`";
const NO_CODE: &str = "`MemoryDenyWriteExecute=`";

/// All of them.
pub(super) const ATTACKS: &[Attack] = &[
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
        "make a file that nobody can delete",
        "immutable OWN/uploads/held",
        FORBIDDEN,
        "`CapabilityBoundingSet=`",
    ),
    inside(
        "freeze the file system of all",
        "freeze OWN/uploads",
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
    inside(
        "read what is typed at the console",
        "read /dev/console",
        MISSING,
        DEVICES,
    ),
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
