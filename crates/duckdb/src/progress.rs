//! Lines of JSON on stderr that say how far a command is, if asked for.

use std::io::Write;

use serde_json::Value;

/// Where progress goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    pub(crate) wanted: bool,
}

impl Progress {
    /// Says one thing. A reader that went away stops nobody's migration.
    pub(crate) fn say(self, line: &Value) {
        if self.wanted {
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        }
    }
}
