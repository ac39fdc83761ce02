//! What manifests let services do that services may not: nothing is wrong with
//! it, but whoever reviews a manifest should see it.

use super::{AnyObject, Diagnostic, File, Finding, Severity};
use crate::yaml::Path;

/// A warning for each exception from the sandbox in these files.
#[must_use]
pub fn list(files: &[File]) -> Vec<Diagnostic> {
    let mut out = Vec::new();
    for file in files {
        for document in &file.documents {
            let Some(AnyObject::Application(application)) = &document.object else {
                continue;
            };
            let services = Path::from(["spec", "services"]);
            for (n, service) in application.spec.services.iter().enumerate() {
                let allow = services.index(n).key("sandbox").key("allow");
                for (m, exception) in service.sandbox.allow.iter().enumerate() {
                    let message = format!(
                        "service `{}` is let out of its sandbox by `{}`: if it is taken over, {}",
                        service.name,
                        exception.as_str(),
                        exception.risk()
                    );
                    let finding = Finding::new(allow.index(m), message);
                    out.push(document.diagnostic(&file.file, finding, Severity::Warning));
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const APPLICATION: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Application
metadata: {name: cbapp}
spec:
  versions: [{name: v1, folder: {path: /srv/v1}}]
  services:
  - {name: api, command: bin/api, portOffset: 1}
  - name: frontend
    command: bin/node
    portOffset: 0
    sandbox: {allow: [WritableCode]}
";

    #[test]
    fn an_exception_is_a_warning_at_its_place() {
        let file = crate::manifest::parse("cbapp.yaml", APPLICATION.as_bytes());
        assert_eq!(file.errors, []);
        let lines: Vec<String> = list(&[file]).iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "cbapp.yaml:11:23: warning: spec.services[1].sandbox.allow[0]: service `frontend` \
                 is let out of its sandbox by `WritableCode`: if it is taken over, it may run code \
                 that was written to its memory"
            ]
        );
    }
}
