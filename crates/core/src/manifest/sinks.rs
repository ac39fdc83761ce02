//! What is wrong with a Host's alert sinks that their shape cannot say.

use std::collections::BTreeMap;

use super::Finding;
use crate::alert::Template;
use crate::api::{AlertSink, Alerts};
use crate::types::{HostPath, HttpUrl};
use crate::yaml::Path;

/// Checks all sinks.
#[must_use]
pub(super) fn check(of: &Alerts) -> Vec<Finding> {
    let sinks = Path::from(["spec", "alerts", "sinks"]);
    let mut out = Vec::new();
    let mut seen = BTreeMap::new();
    for (n, sink) in of.sinks.iter().enumerate() {
        let at = sinks.index(n);
        if let Some(first) = seen.insert(&sink.name, n) {
            let message = format!("`{}` is also the name of {}", sink.name, sinks.index(first));
            out.push(Finding::new(at.key("name"), message).hint("rename one of the two"));
        }
        one(sink, &at, &mut out);
    }
    out
}

fn one(sink: &AlertSink, at: &Path, out: &mut Vec<Finding>) {
    let kinds = [
        sink.alertmanager.is_some(),
        sink.slack.is_some(),
        sink.webhook.is_some(),
        sink.command.is_some(),
        sink.email.is_some(),
    ];
    if kinds.into_iter().filter(|is| *is).count() != 1 {
        let message = "a sink is one of `alertmanager`, `slack`, `webhook`, `command` and `email`";
        out.push(Finding::new(at.clone(), message).hint("write exactly one of them"));
    }
    if let Some(of) = &sink.alertmanager {
        url(&of.url, &of.url_file, &at.key("alertmanager"), out);
    }
    if let Some(of) = &sink.slack {
        url(&of.url, &of.url_file, &at.key("slack"), out);
    }
    if let Some(of) = &sink.webhook {
        let at = at.key("webhook");
        url(&of.url, &of.url_file, &at, out);
        let template = of.body.as_ref().map(|body| body.parse::<Template>());
        if let Some(Err(message)) = template {
            out.push(Finding::new(at.key("body"), message));
        }
    }
}

fn url(url: &Option<HttpUrl>, file: &Option<HostPath>, at: &Path, out: &mut Vec<Finding>) {
    if url.is_some() == file.is_some() {
        let finding = Finding::new(at.clone(), "the URL is in `url` or in `urlFile`");
        out.push(finding.hint("write exactly one of them"));
    }
    let host = url.as_ref().and_then(|url| {
        let (_, rest) = url.as_str().split_once("://")?;
        rest.split(['/', '?', '#']).next()
    });
    // Law 11: everybody who may use the API sees the Host.
    if host.is_some_and(|host| host.contains('@')) {
        let finding = Finding::new(at.key("url"), "a URL with a password is a secret");
        out.push(finding.hint("write it into a file and name that in `urlFile`"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(yaml: &str) -> Vec<String> {
        let alerts: Alerts = serde_yaml::from_str(yaml).unwrap();
        check(&alerts)
            .iter()
            .map(|finding| format!("{}: {}", finding.path, finding.message))
            .collect()
    }

    /// Law 12: what is wrong is said with its field, and nothing of a password.
    #[test]
    fn a_sink_is_one_thing_with_one_url() {
        let good = "{sinks: [{name: a, alertmanager: {url: 'http://a:9093'}}, \
                    {name: b, webhook: {urlFile: /b, body: '{\"x\": \"{{ id }}\"}'}}]}";
        assert!(findings(good).is_empty());
        let bad = findings(
            "{sinks: [{name: a}, {name: a, slack: {}}, \
             {name: b, webhook: {url: 'https://u:hunter2@h/x', body: '{{nope}}'}}]}",
        );
        let starts = [
            "spec.alerts.sinks[0]: a sink is one of",
            "spec.alerts.sinks[1].name: `a` is also the name of spec.alerts.sinks[0]",
            "spec.alerts.sinks[1].slack: the URL is in",
            "spec.alerts.sinks[2].webhook.url: a URL with a password",
            "spec.alerts.sinks[2].webhook.body: there is no `{{nope}}`",
        ];
        assert_eq!(bad.len(), starts.len(), "{bad:#?}");
        for (found, start) in bad.iter().zip(starts) {
            assert!(found.starts_with(start), "{found}");
            assert!(!found.contains("hunter2"));
        }
    }
}
