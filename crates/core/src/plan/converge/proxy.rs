//! The nginx site and its certificate.
//!
//! Each certificate is a file of its own, which is written before the site that
//! names it and removed once no site does: nginx never finds another
//! certificate than the one that was tested with the site.

use std::path::PathBuf;

use super::compare::Difference;
use super::{Planner, is_owned};
use crate::desired::ManagedFile;
use crate::layout::Layout;
use crate::mark::Owner;
use crate::observed::Observed;
use crate::plan::{Action, Aspect};
use crate::status::ProblemReason;

impl Planner<'_> {
    pub(super) fn proxy(&mut self) {
        let desired = self.desired;
        let held = desired
            .services
            .iter()
            .find_map(|s| Some((s.port, self.port_holder(s)?)));
        let path = self.layout.site_file(&self.desired.tenant);
        if let Some(tls) = &desired.tls {
            if tls.blocked {
                let trouble = tls.trouble.as_deref().unwrap_or("it is not there");
                let message = format!(
                    "spec.tls: the certificate cannot be used: {trouble}; the last good site stays"
                );
                return self.block(Aspect::Proxy, ProblemReason::CertificateInvalid, message);
            }
            if let Some((file, _)) = &tls.certificate
                && !self.certificate(file)
            {
                return;
            }
        }
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
                    return self.block(Aspect::Proxy, ProblemReason::PortTaken, message);
                }
                Difference::Differs(reason) => {
                    self.make_room(Aspect::Proxy, file);
                    self.step(Aspect::Proxy, Action::WriteSite(file.clone()), reason);
                }
                Difference::Conflict(message) => {
                    return self.block(Aspect::Proxy, ProblemReason::Conflict, message);
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
        self.old_sites();
        self.old_certificates();
    }

    /// The file of the certificate, before the site that names it. Returns
    /// whether there will be one.
    fn certificate(&mut self, file: &ManagedFile) -> bool {
        match self.differs(file) {
            Difference::None => {}
            Difference::Differs(reason) => {
                self.make_room(Aspect::Proxy, file);
                self.step(Aspect::Proxy, Action::WriteFile(file.clone()), reason);
            }
            Difference::Conflict(message) => {
                self.block(Aspect::Proxy, ProblemReason::Conflict, message);
                return false;
            }
        }
        true
    }

    /// Certificates that nothing names once the site is live.
    fn old_certificates(&mut self) {
        let tls = self.desired.tls.as_ref();
        let served = tls.and_then(|tls| tls.certificate.as_ref());
        let served = served.map(|(file, _)| &file.path);
        let old: Vec<_> = certificates(self.observed, &self.owner, self.layout)
            .filter(|path| Some(*path) != served)
            .cloned()
            .collect();
        for path in old {
            let reason = "it is no longer served";
            self.step(Aspect::Proxy, Action::RemoveFile(path), reason);
        }
    }
}

/// The certificates that are kept for a tenant.
pub(in crate::plan) fn certificates<'a>(
    observed: &'a Observed,
    owner: &Owner,
    layout: Layout<'_>,
) -> impl Iterator<Item = &'a PathBuf> {
    let folder = layout.certificates();
    let ours =
        move |path: &&PathBuf| path.parent() == Some(&folder) && is_owned(observed, path, owner);
    observed.paths.keys().filter(ours)
}
