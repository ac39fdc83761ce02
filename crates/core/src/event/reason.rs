//! Why an event happened: a closed, documented list.
//!
//! The reference `docs/events.md` is written from it, so every reason says what
//! it means, what the operator does and what a person should do.

use serde::{Deserialize, Serialize};

use crate::documented::documented;

/// Whether an event is part of the ordinary course.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventType {
    /// It is.
    Normal,
    /// A person may have to look.
    Warning,
}

impl EventType {
    /// `Normal` or `Warning`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        }
    }
}

documented! {
    /// Why an event happened.
    enum Reason;
    /// Whether it is part of the ordinary course.
    fn kind -> EventType;
    Created: Normal,
        "A manifest of a tenant that was not known here was accepted.",
        "Gives the tenant ports and brings it up.",
        "Nothing.";
    ManifestAccepted: Normal,
        "A changed manifest of a known tenant was accepted.",
        "Brings the host to what the manifest says now.",
        "Nothing.";
    ManifestRefused: Warning,
        "A manifest has an error, or cannot take effect beside the others.",
        "Keeps what was accepted last; nothing is changed or removed because of this file.",
        "Correct the manifest where the message says; `cbctl validate` checks it beforehand.";
    Applied: Normal,
        "Steps of a plan were executed because a manifest or an Application changed.",
        "Looks again, and reports Ready once the services answer.",
        "Nothing.";
    Ready: Normal,
        "All services of the tenant run and answer, and its site is live.",
        "Keeps looking.",
        "Nothing.";
    NotReady: Warning,
        "Something keeps the tenant from being ready, and will not pass by itself.",
        "Goes on trying, after a growing pause where it failed.",
        "Read the message, and `cbctl describe tenant NAME` for all conditions.";
    Removed: Normal,
        "The tenant was taken down because its manifest is gone.",
        "With deletionPolicy Retain, keeps data, `.env` and user; with Delete, moves the data \
         into the backups.",
        "Nothing, if it was meant; otherwise put the manifest back.";
    DriftDetected: Warning,
        "Something on the host is not as it was applied: driftPolicy is Detect, or it is not the \
         operator that can undo it, or systemd restarts a service that ended.",
        "Reports it and changes nothing.",
        "See `cbctl drift`; undo the change on the host, or put it into the manifest, or set \
         driftPolicy to Correct.";
    DriftCorrected: Normal,
        "Something on the host was not as it was applied.",
        "Has put it back.",
        "Find out who changed it: changes belong in the manifest.";
    DriftFought: Warning,
        "What the operator puts right is undone again and again.",
        "Goes on with a growing pause.",
        "Find what fights it, for example another configuration tool, and stop it or set \
         driftPolicy to Detect.";
    ServiceCrashed: Warning,
        "A service has ended by itself.",
        "Leaves the restart to systemd; a unit that has failed for good is started again \
         after a growing pause.",
        "See `journalctl -u UNIT` for why it ended.";
    DiskNearlyFull: Warning,
        "A tenant has 80 % or more of what it may have on disk.",
        "Goes on looking; at the limit, the file system refuses to store more, or, where it has \
         no project quotas, the operator stops the tenant's services.",
        "Delete files, or raise the tenant's `resources.disk`.";
    DiskLimitReached: Warning,
        "A tenant has as much on disk as it may, on a file system without project quotas.",
        "Has stopped the tenant's services, and starts them again once there is less, or the \
         limit is higher. Other tenants are not touched.",
        "Raise the tenant's `resources.disk` or delete files of it.";
    DiskLow: Warning,
        "The file system of the tenants' folders has less free space than the Host's \
         `disk.keepFree`.",
        "Looks at what every tenant has on disk at once, and stops those at their limit.",
        "Make room, or give the file system more; tenants without `resources.disk` have no limit.";
    UpgradeStarted: Normal,
        "The tenant is being brought to another version.",
        "Prepares the release, stops the services, backs the database up, migrates, starts \
         and checks.",
        "Nothing.";
    UpgradeSucceeded: Normal,
        "The tenant runs the new version and answers with it.",
        "Keeps the backup that was taken before.",
        "Nothing.";
    UpgradeFailed: Warning,
        "The new version did not come up, or a step before that failed.",
        "Goes back to the version before, and does not try this version again until the spec \
         changes or a person asks.",
        "Read the message; correct the cause, then change the version or ask for it again.";
    RolledBack: Warning,
        "After a failed upgrade, database, release and environment are as they were before.",
        "Serves the version before.",
        "See the UpgradeFailed event for why.";
    RollbackFailed: Warning,
        "After a failed upgrade or restore, the state before could not be brought back.",
        "Leaves the tenant as it is and deletes nothing.",
        "Act now: the tenant may be down. Put right what the message says, then `cbctl upgrade \
         retry` goes on, or `cbctl restore` begins with a backup.";
    BackupCreated: Normal,
        "A backup of the tenant's database was taken and verified.",
        "Keeps it for as long as the backup policy says.",
        "Nothing.";
    BackupFailed: Warning,
        "A backup could not be taken, or was not as its source.",
        "Tries again at the next time; an upgrade that needs the backup is not begun.",
        "Do what the message says, for example make room on the disk.";
    BackupCopied: Normal,
        "A backup was copied off the host, read back and compared.",
        "Keeps the copy by the backup policy, also when the backup on the host is gone.",
        "Nothing; `cbctl backup fetch` brings a copy back.";
    BackupNotCopied: Warning,
        "A tenant's backups could not be copied off the host.",
        "Tries again after a growing pause; upgrades and backups go on without.",
        "Do what the message says: the destination is away, or does not take the copies.";
    CertificateIssued: Normal,
        "A certificate was issued for the tenant's domains, or renewed.",
        "Serves it once nginx has accepted it.",
        "Nothing.";
    CertificateNotIssued: Warning,
        "A certificate could not be issued or renewed.",
        "Serves what it has; tries again after a growing pause, or when the domains change.",
        "Read the message: each domain has to lead to this host, and port 80 has to be \
         reachable from outside.";
    CertificateExpiring: Warning,
        "The certificate that is served expires within certificates.warnDays of the Host.",
        "Goes on serving it.",
        "Renew it, or find out what keeps it from being renewed.";
    CertificateExpired: Warning,
        "The certificate that is served has expired.",
        "Goes on serving it; browsers refuse it.",
        "Renew it; the new one is served as soon as it is in its file.";
    CertificateInvalid: Warning,
        "The certificate or key that the manifest names cannot be used: it cannot be read, the \
         two do not belong together, or it is not for all domains.",
        "Serves the certificate before, if there is one; the site stays as it is otherwise.",
        "Put the right files there; they are looked at when they change.";
    Restored: Normal,
        "The tenant's database was restored from a backup.",
        "Starts the services on it.",
        "Nothing.";
    RestoreFailed: Warning,
        "The tenant's database could not be restored from a backup.",
        "Puts back what was there before, and serves it.",
        "Read the message; correct the cause or choose another backup.";
    RolloutStarted: Normal,
        "A rollout was started, goes on after a pause, or is being undone.",
        "Asks its tenants for the version in waves, and waits for each.",
        "Nothing; `cbctl rollout status` shows how far it is.";
    RolloutPaused: Normal,
        "A person paused a rollout.",
        "Lets what was asked for come to its end, and asks no further tenant.",
        "`cbctl rollout resume` has it go on.";
    RolloutSucceeded: Normal,
        "Every tenant of a rollout was asked, and no more failed than may.",
        "Keeps the rollout in the list of those that are over.",
        "Nothing.";
    RolloutFailed: Warning,
        "More tenants of a rollout failed than may, or not every one could be brought back.",
        "Asks no further tenant; each that failed is as it was before its upgrade.",
        "See `cbctl rollout status` for which and why; then have it go on with \
         `cbctl rollout resume --retry-failed`, or bring all back with `cbctl rollout undo`.";
    RolloutUndone: Normal,
        "The tenants that a rollout upgraded are as they were before.",
        "Keeps the backup that was made of each before it was brought back.",
        "Nothing.";
    MassDisappearance: Warning,
        "Tenants' manifests are gone and the tenants were not removed: the folder is empty, \
         cannot be read in full, has errors, or too many went at once.",
        "Keeps all of them running.",
        "Bring the folder of manifests back; if they are meant to go, delete each by name with \
         `cbctl delete`.";
    SourceApplied: Normal,
        "A commit of the repository of manifests took effect.",
        "Brings the tenants to what it says.",
        "Nothing.";
    SourceRefused: Warning,
        "The newest commit of the repository of manifests has an error, is not signed as it \
         must be, does not build on the applied one, or removes many tenants.",
        "Keeps the last good commit in effect, and looks for a newer one.",
        "Do what `cbctl source status` says: push a commit that puts it right, or accept this \
         one if it is meant.";
    SourceUnreachable: Warning,
        "The repository of manifests cannot be asked for new commits.",
        "Keeps the last good commit in effect, and tries again after a growing pause.",
        "Check the network, the server and the key or token; `cbctl source sync` tries at once.";
    AlertUndeliverable: Warning,
        "An alert sink does not take messages.",
        "Keeps the messages and tries again after a growing pause, for a day.",
        "Check the sink with `cbctl alerts test NAME`.";
}

/// The reference of all reasons as Markdown: `docs/events.md`.
#[must_use]
pub fn reference() -> String {
    let mut out = "<!-- Generated from the operator's reasons; do not edit. -->\n\n# Events\n\n\
         `cbctl events` shows what happened, to tenants and to the host. An event that happens \
         again with the same words is counted instead of repeated. Each object keeps its newest \
         events, over restarts of the operator too. Events are also served in Kubernetes' shape \
         at `/apis/events.k8s.io/v1/events`.\n\n\
         These are all the reasons there are.\n"
        .to_owned();
    for reason in Reason::ALL {
        let heading = format!("## {reason}");
        let first = format!("*{}.* ", reason.kind().as_str());
        reason
            .about()
            .write(&mut out, &heading, &first, "The operator");
    }
    out
}
