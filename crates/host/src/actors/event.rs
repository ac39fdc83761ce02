//! The bytes of fanotify's events, see fanotify(7): `struct
//! fanotify_event_metadata`, followed by records of information.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use data_encoding::HEXLOWER;

/// `struct fanotify_event_metadata` without the records.
const METADATA: usize = 24;
/// The version that this is written for.
const VERSION: u8 = 3;
/// Kinds of records: a folder with and without a name in it.
const FOLDER_AND_NAME: u8 = 2;
const FOLDER: u8 = 3;
/// A record's header and `__kernel_fsid_t`.
const HEADER: usize = 4 + 8;

const DELETE_SELF: u64 = 0x400;
const MOVE_SELF: u64 = 0x800;
const OVERFLOW: u64 = 0x4000;

/// How the kernel names a folder: the type of its file handle and its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Handle {
    kind: i32,
    bytes: Vec<u8>,
}

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    mask: u64,
    /// The process, or 0 if it is of another namespace.
    pub(super) pid: i32,
    /// The folder that it happened in.
    pub(super) folder: Option<Handle>,
    /// The file; `.` is the folder itself.
    pub(super) name: Option<OsString>,
    /// Events were lost before this one.
    pub(super) overflow: bool,
}

impl Event {
    /// Whether it happened to the folder itself.
    pub(super) fn is_self(&self) -> bool {
        self.name.as_ref().is_none_or(|name| name == ".")
    }

    /// Whether what it happened to is not at its place any more.
    pub(super) fn is_gone(&self) -> bool {
        self.mask & (DELETE_SELF | MOVE_SELF) != 0
    }
}

impl Handle {
    /// The handle in a line of `/proc/PID/fdinfo/FD` about a mark.
    pub(super) fn of_mark(line: &str) -> Option<Self> {
        let fields = line.strip_prefix("fanotify ")?;
        let field = |name: &str| {
            fields
                .split(' ')
                .find_map(|field| field.strip_prefix(name)?.strip_prefix(':'))
        };
        Some(Self {
            kind: i32::from_str_radix(field("fhandle-type")?, 16).ok()?,
            bytes: HEXLOWER.decode(field("f_handle")?.as_bytes()).ok()?,
        })
    }
}

/// The events of one reading. What is not understood ends it.
pub(super) fn parse(mut bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some((event, rest)) = one(bytes) {
        events.push(event);
        bytes = rest;
    }
    events
}

fn one(bytes: &[u8]) -> Option<(Event, &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(array(bytes, 0)?)).ok()?;
    if length < METADATA || bytes.len() < length || bytes[4] != VERSION {
        return None;
    }
    let (event, rest) = bytes.split_at(length);
    let metadata = usize::from(u16::from_ne_bytes(array(event, 6)?));
    let mask = u64::from_ne_bytes(array(event, 8)?);
    let mut found = Event {
        mask,
        pid: i32::from_ne_bytes(array(event, 20)?),
        folder: None,
        name: None,
        overflow: mask & OVERFLOW != 0,
    };
    let mut records = event.get(metadata..).unwrap_or_default();
    while let Some((kind, record, rest)) = record(records) {
        records = rest;
        if matches!(kind, FOLDER_AND_NAME | FOLDER)
            && let Some((handle, name)) = folder(record)
        {
            found.folder = Some(handle);
            found.name = (kind == FOLDER_AND_NAME).then_some(name);
        }
    }
    Some((found, rest))
}

/// The kind and content of the first record.
fn record(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let length = usize::from(u16::from_ne_bytes(array(bytes, 2)?));
    if length < HEADER || bytes.len() < length {
        return None;
    }
    let (record, rest) = bytes.split_at(length);
    Some((record[0], &record[HEADER..], rest))
}

/// `struct file_handle` and a name that ends with a zero.
fn folder(bytes: &[u8]) -> Option<(Handle, OsString)> {
    let length = usize::try_from(u32::from_ne_bytes(array(bytes, 0)?)).ok()?;
    let kind = i32::from_ne_bytes(array(bytes, 4)?);
    let handle = bytes.get(8..8 + length)?.to_vec();
    let name = bytes.get(8 + length..)?;
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let handle = Handle {
        kind,
        bytes: handle,
    };
    Some((handle, OsString::from_vec(name.to_vec())))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_mark_names_its_handle() {
        let line = "fanotify ino:13 sdev:fe00000 mflags:0 mask:3cc ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:1300000000000000";
        let handle = Handle::of_mark(line).unwrap();
        assert_eq!(handle.kind, 1);
        assert_eq!(handle.bytes, [0x13, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Handle::of_mark("fanotify flags:e00 event-flags:8000"), None);
        assert_eq!(Handle::of_mark("pos:\t0"), None);
    }

    #[test]
    fn an_event_names_folder_file_and_process() {
        let mut bytes = Vec::new();
        let name = b"a.conf\0\0";
        let record = HEADER + 8 + 4 + name.len();
        let length = u32::try_from(METADATA + record).unwrap();
        bytes.extend(length.to_ne_bytes());
        bytes.extend([VERSION, 0]);
        bytes.extend(24u16.to_ne_bytes());
        bytes.extend(8u64.to_ne_bytes());
        bytes.extend((-1i32).to_ne_bytes());
        bytes.extend(812i32.to_ne_bytes());
        bytes.extend([FOLDER_AND_NAME, 0]);
        bytes.extend(u16::try_from(record).unwrap().to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(4u32.to_ne_bytes());
        bytes.extend(1i32.to_ne_bytes());
        bytes.extend([7, 0, 0, 0]);
        bytes.extend(name);
        let twice = [bytes.clone(), bytes].concat();
        let events = parse(&twice);
        assert_eq!(events.len(), 2);
        assert_eq!(events[1].pid, 812);
        assert_eq!(events[1].name.as_ref().unwrap(), "a.conf");
        assert_eq!(events[1].folder.as_ref().unwrap().bytes, [7, 0, 0, 0]);
        assert!(!events[1].is_self() && !events[1].overflow);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fail(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            parse(&bytes);
        }
    }
}
