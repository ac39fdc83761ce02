//! The kinds of drift: a closed, documented list.
//!
//! The reference `docs/drift.md` is written from it, so every kind says what
//! it means, what the operator does about it and what a person should do.

use serde::{Deserialize, Serialize};

use crate::documented::documented;

/// Whether `driftPolicy: Correct` undoes a kind of drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The operator puts it right.
    Correct,
    /// The operator reports it: what would undo it is a person's to decide.
    Report,
}

documented! {
    /// How the host differs from what was applied.
    enum DriftKind;
    /// Whether it is undone with `driftPolicy: Correct`.
    fn remedy -> Remedy;
    ServiceStopped: Correct,
        "A service does not run, and neither the operator nor the service itself ended it: \
         somebody stopped it, for example with `systemctl stop`.",
        "Starts it.",
        "Set `spec.suspend` to keep a tenant down.";
    ServiceKilled: Correct,
        "A service was ended by a signal that is sent on purpose, such as KILL or TERM, and not \
         by systemd.",
        "Leaves the restart to systemd, and starts a unit that has failed for good.",
        "Find who sent it; `journalctl -u UNIT` has the time.";
    ServiceCrashed: Correct,
        "A service has exited by itself, has crashed, or ran out of memory.",
        "Leaves the restart to systemd; a unit that has failed for good is started again after \
         a growing pause.",
        "See `journalctl -u UNIT` for why it ended.";
    ServiceRestarted: Correct,
        "A service was restarted while its unit, a drop-in of it, its `.env` or its release was \
         changed, so it may run with the change.",
        "Puts the files right and restarts the service.",
        "Change the manifest instead of the files.";
    ServiceNotListening: Report,
        "A service runs for longer than it may take to start and does not listen on its port.",
        "Reports it.",
        "See `journalctl -u UNIT`; restart the service if it hangs.";
    UnitChanged: Correct,
        "The content of a unit file is not what the operator wrote.",
        "Writes it again; a service that was restarted with the change is restarted.",
        "Change the manifest or the Application instead.";
    UnitMode: Correct,
        "The permissions of a unit file were changed.",
        "Writes it again.",
        "Find what changed it.";
    UnitOwner: Correct,
        "A unit file does not belong to root.",
        "Writes it again.",
        "Find what changed it.";
    UnitDeleted: Correct,
        "A unit file is gone.",
        "Writes it again.",
        "Delete the tenant's manifest to remove its units.";
    UnitReplaced: Correct,
        "Something else is in the place of a unit file.",
        "Moves a symbolic link into the folder `set-aside` of the state folder and writes the \
         file again. A file without the operator's mark, or a folder, is a conflict: it is not \
         touched.",
        "Move what is there away.";
    UnitDropIn: Correct,
        "A drop-in (`UNIT.d/*.conf`, from `systemctl edit` or `systemctl set-property`) overrides \
         a unit.",
        "Moves it into the folder `set-aside` of the state folder; a service that was restarted \
         with it is restarted.",
        "Set limits in `spec.resources`, environment in `spec.env`.";
    UnitMasked: Correct,
        "A unit is masked.",
        "Moves the mask into the folder `set-aside` of the state folder and writes the unit again.",
        "Set `spec.suspend` to keep a tenant down.";
    UnitDisabled: Correct,
        "A unit does not start at boot.",
        "Enables it.",
        "Set `spec.suspend` and disable it to keep a tenant down over boots.";
    FileChanged: Correct,
        "The content of the `.env` or of the user's definition is not what the operator wrote.",
        "Writes it again; a service that was restarted with the change is restarted.",
        "Change `spec.env` instead.";
    FileMode: Correct,
        "The permissions of the `.env` or of the user's definition were changed.",
        "Writes it again.",
        "Find what changed it; secrets may have been read.";
    FileOwner: Correct,
        "The `.env` or the user's definition does not belong to root.",
        "Writes it again.",
        "Find what changed it; secrets may have been read.";
    FileDeleted: Correct,
        "The `.env` or the user's definition is gone.",
        "Writes it again.",
        "Find what removed it.";
    FileReplaced: Correct,
        "Something else is in the place of the `.env` or of the user's definition.",
        "Moves a symbolic link into the folder `set-aside` of the state folder and writes the \
         file again. A file without the operator's mark, or a folder, is a conflict: it is not \
         touched.",
        "Move what is there away.";
    SiteChanged: Correct,
        "The content of the nginx site is not what the operator wrote.",
        "Writes it again and reloads nginx.",
        "Change `spec.domains` or the Application's routes instead.";
    SiteMode: Correct,
        "The permissions of the nginx site were changed.",
        "Writes it again and reloads nginx.",
        "Find what changed it.";
    SiteOwner: Correct,
        "The nginx site does not belong to root.",
        "Writes it again and reloads nginx.",
        "Find what changed it.";
    SiteDeleted: Correct,
        "The nginx site is gone.",
        "Writes it again and reloads nginx.",
        "Remove the tenant's domains from its manifest to take its site down.";
    SiteReplaced: Correct,
        "Something else is in the place of the nginx site.",
        "Moves a symbolic link into the folder `set-aside` of the state folder and writes the \
         file again. A file without the operator's mark, or a folder, is a conflict: it is not \
         touched.",
        "Move what is there away.";
    SiteNotLoaded: Correct,
        "The file of the nginx site was touched after the running nginx read its configuration, \
         so nginx may serve something else.",
        "Tests the site and reloads nginx.",
        "Nothing.";
    PortTaken: Report,
        "A process of another user listens on a port of the tenant.",
        "Reports it, and does not start a service in vain that needs the port.",
        "Stop that process; `ss -ltnp` shows it.";
    UserMissing: Correct,
        "The tenant's Linux user does not exist.",
        "Makes it again. It may get another user id; the folders' owners follow, the files in \
         them do not.",
        "Check the owners of the files in the tenant's folders.";
    UserShell: Correct,
        "The tenant's Linux user can log in: its shell was changed.",
        "Sets the shell back.",
        "Find who changed it, and what was done as this user.";
    UserHome: Report,
        "The home folder of the tenant's Linux user was changed.",
        "Reports it: the user cannot be changed while its services run.",
        "Stop the services, set it back with `usermod --home`, and start them.";
    FolderMissing: Correct,
        "A folder of the tenant is gone, or something else is in its place.",
        "Makes a folder of root's again. A folder of data is never made anew: the tenant is not \
         started without its data.",
        "Mount the file system, or restore the data.";
    FolderOwner: Correct,
        "A folder of the tenant belongs to somebody else.",
        "Sets the owner.",
        "Find what changed it.";
    FolderMode: Correct,
        "The permissions of a folder of the tenant were changed.",
        "Sets them.",
        "Find what changed it; others may have read what is in it.";
    ReleaseChanged: Correct,
        "The installed release is gone, or a file in it was edited, added or removed.",
        "Installs it again, and restarts the services that somebody or systemd has started since \
         the operator started them, as they may run with the change. The others go on with the \
         files that they opened, until they are restarted. A release is for all tenants of its \
         version: the one that is looked at first puts it right, and each restarts its own \
         services.",
        "Find what changed it. With `Detect`, restart the services that were started from it.";
    SchemaChanged: Report,
        "The schema version of the running application is not the one that the last migration \
         left.",
        "Reports it: what the data is worth is a person's to decide.",
        "Find what migrated the database; upgrade to the release that fits, or restore a backup.";
    PortsNotReserved: Correct,
        "Of the host, not of a tenant: the kernel may give ports of the range to outgoing \
         connections, now or after the next boot, because the setting \
         `net.ipv4.ip_local_reserved_ports` or the file `paths.sysctl` was changed.",
        "Reserves the range again, if `defaults.driftPolicy` of the Host is `Correct`; what others \
         reserved stays.",
        "Find what sets it, for example another file in `/etc/sysctl.d`: the setting is one list \
         for the whole host, and the last who writes it wins.";
    NetworkRulesChanged: Correct,
        "Of the host, not of a tenant: the nftables table `inet cb_operator` that keeps tenants \
         from each other's ports, or what loads it at boot, was changed; also while the operator \
         was stopped. That the table is gone after a boot is none.",
        "Loads the table again whatever the policy: `network.isolation` of the Host says that \
         it is enforced.",
        "Find what changes it, for example a reload of `nftables.service`, which flushes all \
         tables. Set `network.isolation` to `Off` to do without.";
}

impl DriftKind {
    /// Those that are of the host itself, and of no tenant.
    pub const OF_HOST: &[DriftKind] =
        &[DriftKind::PortsNotReserved, DriftKind::NetworkRulesChanged];

    /// Whether `driftPolicy: Correct` undoes it.
    #[must_use]
    pub fn is_corrected(self) -> bool {
        self.remedy() == Remedy::Correct
    }

    /// Whether the service ended by itself: systemd restarts it, and what ends
    /// again and again has its own pause.
    #[must_use]
    pub fn is_end_of_run(self) -> bool {
        matches!(self, DriftKind::ServiceKilled | DriftKind::ServiceCrashed)
    }
}

/// The reference of all kinds as Markdown: `docs/drift.md`.
#[must_use]
pub fn reference() -> String {
    let mut out = include_str!("intro.md").to_owned();
    for kind in DriftKind::ALL {
        let heading = format!("### {kind}");
        let operator = "The operator, with `Correct`";
        kind.about().write(&mut out, &heading, "", operator);
    }
    out
}
