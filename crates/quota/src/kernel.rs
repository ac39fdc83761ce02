//! The system calls: quotactl_fd(2), and the two ioctls for the attributes of
//! an inode.
//!
//! The only `unsafe` of the project. Each call gives the kernel one pointer to
//! a value of the kernel's own layout that lives for as long as the call; the
//! layouts are checked below. A kernel that does not know a call answers with
//! an error and touches nothing.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr::from_mut;

use rustix::io::{Errno, Result};
use rustix::ioctl::{Getter, Opcode, Setter, ioctl, opcode};

/// `QCMD(cmd, type)` of `linux/quota.h` for projects.
const fn command(of: c_int) -> c_int {
    const PRJQUOTA: c_int = 2;
    of << 8 | PRJQUOTA
}

const Q_GETQUOTA: c_int = command(0x80_0007);
const Q_SETQUOTA: c_int = command(0x80_0008);
const Q_XGETQSTATV: c_int = command((b'X' as c_int) << 8 | 8);

/// `FS_QUOTA_PDQ_ACCT` and `FS_QUOTA_PDQ_ENFD` of `linux/dqblk_xfs.h`.
const COUNTED_AND_HELD: u16 = 1 << 4 | 1 << 5;

/// `struct fs_quota_statv` of `linux/dqblk_xfs.h`, of which the flags are read.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct State {
    version: u8,
    pad: u8,
    flags: u16,
    in_core: u32,
    files: [[u64; 3]; 3],
    limits: [u32; 5],
    pad_end: [u32; 1],
    pad_more: [u64; 7],
}

const _: () = assert!(size_of::<State>() == 160);

/// `struct fsxattr` of `linux/fs.h`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    pad: [u8; 8],
}

const _: () = assert!(size_of::<Attributes>() == 28);

/// `FS_XFLAG_PROJINHERIT`.
const INHERIT: u32 = 1 << 9;

impl Attributes {
    pub(crate) fn project(self) -> u32 {
        self.project
    }

    pub(crate) fn inherits(self) -> bool {
        self.flags & INHERIT != 0
    }

    pub(crate) fn set(&mut self, project: u32, inherits: bool) {
        self.project = project;
        self.flags = self.flags & !INHERIT | if inherits { INHERIT } else { 0 };
    }
}

pub(crate) fn projects_are_held(state: State) -> bool {
    state.flags & COUNTED_AND_HELD == COUNTED_AND_HELD
}

pub(crate) fn quota_state(file: BorrowedFd<'_>) -> Result<State> {
    let mut state = State {
        version: 1,
        ..State::default()
    };
    // SAFETY: Q_XGETQSTATV of version 1 writes a `fs_quota_statv`.
    unsafe { quotactl(file, Q_XGETQSTATV, 0, from_mut(&mut state).cast())? };
    Ok(state)
}

pub(crate) fn get_quota(file: BorrowedFd<'_>, project: u32) -> Result<libc::dqblk> {
    let mut found = no_limits();
    // SAFETY: Q_GETQUOTA writes an `if_dqblk`.
    unsafe { quotactl(file, Q_GETQUOTA, project, from_mut(&mut found).cast())? };
    Ok(found)
}

/// `blocks` of 1024 bytes.
pub(crate) fn set_limits(
    file: BorrowedFd<'_>,
    project: u32,
    blocks: u64,
    inodes: u64,
) -> Result<()> {
    let mut wanted = libc::dqblk {
        dqb_bhardlimit: blocks,
        dqb_ihardlimit: inodes,
        dqb_valid: libc::QIF_LIMITS,
        ..no_limits()
    };
    // SAFETY: Q_SETQUOTA reads an `if_dqblk`.
    unsafe { quotactl(file, Q_SETQUOTA, project, from_mut(&mut wanted).cast()) }
}

fn no_limits() -> libc::dqblk {
    libc::dqblk {
        dqb_bhardlimit: 0,
        dqb_bsoftlimit: 0,
        dqb_curspace: 0,
        dqb_ihardlimit: 0,
        dqb_isoftlimit: 0,
        dqb_curinodes: 0,
        dqb_btime: 0,
        dqb_itime: 0,
        dqb_valid: 0,
    }
}

/// # Safety
/// `value` points to what the command reads or writes.
unsafe fn quotactl(
    file: BorrowedFd<'_>,
    command: c_int,
    project: u32,
    value: *mut c_void,
) -> Result<()> {
    let file = file.as_raw_fd();
    // SAFETY: the file is open, and the caller vouches for the pointer.
    let result = unsafe { libc::syscall(libc::SYS_quotactl_fd, file, command, project, value) };
    if result == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    Err(Errno::from_io_error(&error).unwrap_or(Errno::INVAL))
}

const FS_IOC_FSGETXATTR: Opcode = opcode::read::<Attributes>(b'X', 31);
const FS_IOC_FSSETXATTR: Opcode = opcode::write::<Attributes>(b'X', 32);

pub(crate) fn get_attributes(file: BorrowedFd<'_>) -> Result<Attributes> {
    // SAFETY: FS_IOC_FSGETXATTR writes a `fsxattr`.
    unsafe { ioctl(file, Getter::<FS_IOC_FSGETXATTR, Attributes>::new()) }
}

pub(crate) fn set_attributes(file: BorrowedFd<'_>, attributes: Attributes) -> Result<()> {
    // SAFETY: FS_IOC_FSSETXATTR reads a `fsxattr`.
    unsafe {
        ioctl(
            file,
            Setter::<FS_IOC_FSSETXATTR, Attributes>::new(attributes),
        )
    }
}
