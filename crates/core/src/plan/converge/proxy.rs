//! The nginx site.

use super::Planner;
use super::compare::Difference;
use crate::plan::{Action, Aspect, BlockReason};

impl Planner<'_> {
    pub(super) fn proxy(&mut self) {
        let desired = self.desired;
        let held = desired
            .services
            .iter()
            .find_map(|s| Some((s.port, self.port_holder(s)?)));
        let path = self.layout.site_file(&self.desired.tenant);
        match &desired.site {
            Some(file) => match self.differs(file) {
                Difference::None if self.observed.site_loaded == Some(false) => {
                    let reason = "nginx has not read it since it was touched";
                    self.step(Aspect::Proxy, Action::WriteSite(file.clone()), reason);
                }
                Difference::None => {}
                // It would show another's pages under the tenant's domains.
                Difference::Differs(_) if let Some((port, uid)) = held => {
                    let message = format!(
                        "the site is not put live while port {port} is bound by a process of user id {uid}"
                    );
                    self.block(Aspect::Proxy, BlockReason::PortTaken, message);
                }
                Difference::Differs(reason) => {
                    self.make_room(Aspect::Proxy, file);
                    self.step(Aspect::Proxy, Action::WriteSite(file.clone()), reason);
                }
                Difference::Conflict(message) => {
                    self.block(Aspect::Proxy, BlockReason::Conflict, message)
                }
            },
            None if self.is_owned(&path) => {
                self.step(
                    Aspect::Proxy,
                    Action::RemoveSite(path),
                    "the tenant has no domains",
                );
            }
            None => {}
        }
    }
}
