//! Why a tenant is not ready: a closed, documented list.
//!
//! The reference `docs/reasons.md` is written from it, so every reason says
//! what it means, what the operator does and what a person should do.

use serde::{Deserialize, Serialize};

use crate::documented::documented;

documented! {
    /// Why a tenant is not ready. It is the `reason` of a condition, and of the
    /// alert if a person is needed.
    enum ProblemReason;
    Refused:
        "The manifest has an error, or cannot take effect beside the others.",
        "Keeps the tenant as it was accepted last; of a new one it makes nothing.",
        "Correct the manifest where the message says; `cbctl validate` checks it beforehand.";
    ApplicationNotFound:
        "No manifest has the Application that the tenant names.",
        "Leaves what is there as it is.",
        "Write the Application, or correct `spec.application`.";
    DoesNotFit:
        "The tenant asks for something that its Application or the Host does not have.",
        "Leaves what is there as it is.",
        "Do what the message says, in the manifest that it names.";
    PortTaken:
        "Another process holds a port of the tenant.",
        "Starts no service in vain, and tries again.",
        "End that process (`ss -ltnp` shows it), or free the port that the manifest fixes.";
    PortsExhausted:
        "The Host's range has no port left.",
        "Gives the tenant none; the others keep theirs.",
        "Enlarge `ports` of the Host, or delete tenants.";
    Conflict:
        "Something of this name is there that the operator did not make.",
        "Does not touch it.",
        "Move it away, or [take it over](import.md).";
    DataMissing:
        "A folder of the tenant's data is gone.",
        "Does not start the tenant on an empty one.",
        "Mount it, or restore it.";
    UserMissing:
        "The tenant's user is not there when a folder is made for it.",
        "Tries again, with the user.",
        "Look for what removes the user.";
    UserFailed:
        "The tenant's user cannot be made or removed.",
        "Tries again.",
        "Do what the message says; `journalctl -u systemd-sysusers` may have more.";
    FileFailed:
        "A file or folder cannot be written, read or removed.",
        "Tries again.",
        "Do what the message says, with the path that it names.";
    DiskFull:
        "There is no room for what has to be written.",
        "Leaves the file that was there, tries again, and looks at what each tenant has.",
        "Make room.";
    SystemdRefused:
        "systemd does not do what it is asked for.",
        "Tries again.",
        "See `journalctl -b -u init.scope` and the unit that the message names.";
    Unreachable:
        "systemd does not answer just now.",
        "Tries again at once when it does.",
        "Nothing, unless it lasts; then see `systemctl status dbus`.";
    HostUnreachable:
        "The host cannot be looked at: systemd or the kernel does not answer.",
        "Does nothing on what it does not see, and tries again.",
        "Nothing, unless it lasts; then do what the message says.";
    RecordNotSaved:
        "What the operator is about to do cannot be recorded, so it is not done.",
        "Tries again.",
        "Make `/var/lib/cb` writable, with room on its disk.";
    Failed:
        "A service, or an order to the host, has failed and will not be well by itself.",
        "Starts a service again after a growing pause; tries again.",
        "See the message, and `journalctl -u UNIT` of the unit that it names.";
    Fought:
        "What was put right is undone again and again.",
        "Waits longer each time before it puts it right.",
        "Find who does it, see [drift.md](drift.md#when-something-fights).";
    ReleaseUnavailable:
        "The release cannot be had from its source.",
        "Leaves the version that runs, and tries again.",
        "Put it there, or correct the Application's source, see [releases.md](releases.md).";
    BuildFailed:
        "The build of the release has failed.",
        "Leaves the version that runs, and builds again after a while.",
        "See the message and [releases.md](releases.md).";
    Queued:
        "An upgrade, backup or restore waits for its turn.",
        "Begins it when another one has ended.",
        "Nothing.";
    Upgrading:
        "An upgrade goes on.",
        "Goes on with it.",
        "Nothing.";
    BackingUp:
        "A backup is being made.",
        "Goes on with it.",
        "Nothing.";
    Restoring:
        "A backup is being restored.",
        "Goes on with it.",
        "Nothing.";
    RollingBack:
        "An operation has failed, and what it did is undone.",
        "Goes on with it.",
        "Nothing; see [upgrades.md](upgrades.md) when it is done.";
    UpgradeFailed:
        "The tenant runs the version before the one that it asks for: the upgrade has failed.",
        "Does not try the same again by itself.",
        "See [upgrades.md](upgrades.md), then `cbctl upgrade retry`, or ask for another version.";
    RollbackFailed:
        "An operation has failed and cannot be undone. It is halted; nothing of it is lost.",
        "Touches nothing of the tenant.",
        "Do what the message says, then `cbctl upgrade retry`, see [upgrades.md](upgrades.md).";
    WalDoesNotReplay:
        "The log of the tenant's database is damaged, and an operation is halted by that.",
        "Leaves the database and its log as they are, and keeps a copy of both.",
        "See [upgrades.md](upgrades.md).";
    StartFailed:
        "systemd could not start a service.",
        "Tries again after a growing pause.",
        "See `journalctl -u UNIT`.";
    StopFailed:
        "systemd could not stop a service.",
        "Tries again.",
        "See `journalctl -u UNIT`.";
    Starting:
        "A service has been started and does not answer yet.",
        "Asks again.",
        "Nothing.";
    Restarting:
        "A service has ended, and systemd starts it again.",
        "Waits for it.",
        "Nothing, unless it lasts.";
    CrashLoop:
        "A service exits again and again, shortly after its start.",
        "Starts it again after a growing pause.",
        "See `journalctl -u UNIT`.";
    NotRunning:
        "A service does not run.",
        "Starts it, unless something else that is wrong keeps it from that.",
        "See `journalctl -u UNIT`, and what else is wrong.";
    Unhealthy:
        "A service runs and does not answer as it should.",
        "Asks again.",
        "See `journalctl -u UNIT`.";
    SiteRejected:
        "nginx does not take the tenant's site.",
        "Keeps the last good one; the sites of others go live.",
        "Correct what the message names in the Tenant or its Application.";
    NginxBroken:
        "nginx did not take its configuration even without the change.",
        "Writes no site until it does.",
        "Run `nginx -t` and correct what it says.";
    NginxNotRunning:
        "nginx does not run.",
        "Does not start it: that is not the operator's to decide.",
        "`systemctl start nginx`, or whatever `nginx.unit` of the Host is.";
    NginxReloadFailed:
        "nginx took the configuration and could not be reloaded.",
        "Tries again.",
        "See `journalctl -u nginx`.";
    NginxFailed:
        "The configuration of nginx cannot be tested or written.",
        "Keeps the site that was there, and tries again.",
        "Do what the message says.";
    CertificateInvalid:
        "The certificate that the manifest names cannot be used, and there is none from before.",
        "Serves no site.",
        "Put a good certificate there, see [tls.md](tls.md#what-is-told).";
    Missing:
        "The shared database is not there.",
        "Starts the services without it, and again with it when it is there.",
        "Put it where `sharedServices.i360` of the Host says.";
    NotConfigured:
        "The manifest asks for a shared database that the Host does not have.",
        "Starts the services without it.",
        "Set `sharedServices.i360` of the Host, or take it out of the manifest.";
    SecretUnreadable:
        "A secret is not there, cannot be read, or cannot be decrypted.",
        "Lets services go on with the last good one, and tries again.",
        "Do what the message says, in the file that it names.";
    NginxUserUnknown:
        "It is not known as which user nginx runs, so it cannot be let through.",
        "Lets nobody but the tenant and root reach the tenant's ports.",
        "Set `user` in the configuration of nginx.";
    NftMissing:
        "`nft` is not installed, so nobody is kept from the tenant's ports.",
        "Runs the tenant, and says so.",
        "Install the package `nftables`, or set `network.isolation` of the Host to `Off`.";
    NftFailed:
        "The kernel does not take the rules that keep others from the tenant's ports.",
        "Runs the tenant, says so, and tries again.",
        "Do what the message says.";
    DiskLimitReached:
        "The tenant has as much on disk as it may.",
        "Stops its services, unless the file system itself stores no more than that.",
        "Delete files, or raise `resources.disk`.";
    DiskNearlyFull:
        "The tenant has 80 % or more of what it may have on disk.",
        "Nothing yet; at the limit see `DiskLimitReached`.",
        "Delete files, or raise `resources.disk`.";
    Removing:
        "The manifest is gone, and the tenant is being taken down.",
        "Goes on with it.",
        "Nothing.";
    RemovalFailed:
        "The manifest is gone, and the tenant cannot be taken down in full.",
        "Tries again.",
        "Do what the message says.";
    ManifestRefused:
        "Of the host: a file has an error and is no known tenant's, or an Application's.",
        "Keeps what was accepted last.",
        "Correct the file where the message says; `cbctl validate` checks it beforehand.";
    MassDisappearance:
        "Of the host: more tenants are in no file any more than may go together.",
        "Removes none of them.",
        "Bring the files back, or delete each tenant by name.";
    FolderNotRead:
        "Of the host: the folder of manifests is gone, or cannot be read in full.",
        "Keeps everything as it was accepted last.",
        "Bring the folder back, or correct what the message names.";
    SourceUnreachable:
        "Of the host: the repository of manifests cannot be reached.",
        "Keeps the last good commit, and tries again.",
        "Do what `cbctl source status` says, see [gitops.md](gitops.md).";
    Unsigned:
        "Of the host: the newest commit is not signed by one of the listed keys.",
        "Keeps the last good commit.",
        "Sign it, see [gitops.md](gitops.md).";
    Invalid:
        "Of the host: something in the newest commit has an error.",
        "Keeps the last good commit.",
        "Correct what `cbctl source status` names, and commit.";
    HistoryLost:
        "Of the host: the branch no longer has the commit that was applied last.",
        "Keeps that commit until a person says otherwise.",
        "See `cbctl source status`, then `cbctl source accept COMMIT`, or push the commit again.";
    TooManyRemoved:
        "Of the host: the newest commit removes more tenants than may go together.",
        "Keeps the last good commit until a person says otherwise.",
        "See `cbctl source status`, then `cbctl source accept COMMIT`, or revert the commit.";
    DiskLow:
        "Of the host: less is free on its disk than `disk.keepFree`.",
        "Looks at what every tenant has at once, and stops those at their limit.",
        "Make room.";
}

/// The reference of all reasons as Markdown: `docs/reasons.md`.
#[must_use]
pub fn reference() -> String {
    let mut out = include_str!("reasons.md").to_owned();
    for reason in ProblemReason::ALL {
        let heading = format!("## {reason}");
        reason.about().write(&mut out, &heading, "", "The operator");
    }
    out
}
