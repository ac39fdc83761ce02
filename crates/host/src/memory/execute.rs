//! The actions on a host in memory, each in the effects it is made of.
//!
//! It does what it is told, also to what is not the operator's: that this does
//! not happen is for the planner, and the properties test the planner.

use std::path::{Path, PathBuf};

use cb_core::desired::{Credential, Folder, FolderOwner, ManagedFile, Release};
use cb_core::layout::Layout;
use cb_core::observed::User;
use cb_core::plan::Action;
use cb_core::status::ProblemReason;
use cb_core::types::TenantName;

use super::disk::Node;
use super::world::{DAEMON_RELOAD, NGINX_RELOAD, World, failed};
use crate::host::{ActionError, Done};

type Result<T = (), E = ActionError> = std::result::Result<T, E>;

impl World {
    pub(super) fn execute(&mut self, tenant: &TenantName, action: &Action) -> Result<Done> {
        match action {
            Action::EnsureUser { user, file } => return self.ensure_user(user, file),
            Action::EnsureFolder { folder, user } => self.ensure_folder(folder, user)?,
            Action::InstallRelease(release) => self.install(release)?,
            Action::WriteFile(file) => self.write_file(file)?,
            Action::WriteCredential(file) => {
                self.effect(format!("write {}", file.path.display()))?;
                let content = String::from_utf8_lossy(file.content.reveal());
                let node = Node::file(&content, Credential::MODE);
                let put = self.put(&file.path, node);
                put.map_err(|message| failed(ProblemReason::FileFailed, message))?;
            }
            Action::RemoveCredential(path) => self.remove_file(path)?,
            Action::WriteUnit(file) => {
                self.mark_pending(DAEMON_RELOAD)?;
                self.write_file(file)?;
            }
            Action::SetAside(path) | Action::Adopt(path) => self.set_aside(tenant, path)?,
            Action::RemoveUnit(path) => {
                self.mark_pending(DAEMON_RELOAD)?;
                self.remove_file(path)?;
            }
            Action::ReloadUnits => {
                self.effect("reload systemd")?;
                self.daemon_reload();
                self.unmark(DAEMON_RELOAD)?;
            }
            Action::Enable(units) => self.enable(units)?,
            Action::Disable(units) => {
                for unit in units {
                    let link = self.wants(unit);
                    self.remove_file(&link)?;
                }
            }
            Action::Stop(unit) => {
                self.effect(format!("stop {unit}"))?;
                self.systemd(unit, |systemd, _| systemd.stop(unit));
            }
            Action::Start { unit, reset, .. } => return self.start(unit, *reset),
            Action::WriteSite(file) => self.change_sites(&file.path, Some(file))?,
            Action::RemoveSite(path) => self.change_sites(path, None)?,
            Action::ArchiveData(tenant) => self.archive(tenant)?,
            Action::RemoveFile(path) => self.remove_file(path)?,
            Action::RemoveUser(user) => self.remove_user(tenant, user)?,
            Action::RecordPorts(_)
            | Action::RecordStale(_)
            | Action::RecordStarted { .. }
            | Action::RecordRetained
            | Action::RemoveRecord => {
                return Err(failed(
                    ProblemReason::Failed,
                    format!("cannot {action}: it is the operator's"),
                ));
            }
        }
        Ok(Done::default())
    }

    fn write_file(&mut self, file: &ManagedFile) -> Result {
        self.effect(format!("write {}", file.path.display()))?;
        self.put(&file.path, Node::file(&file.content, file.mode))
            .map_err(|message| failed(ProblemReason::FileFailed, message))
    }

    fn remove_file(&mut self, path: &Path) -> Result {
        self.effect(format!("remove {}", path.display()))?;
        self.disk.remove(path);
        self.changed(path);
        Ok(())
    }

    fn mark_pending(&mut self, name: &str) -> Result {
        let marker = self.marker(name);
        self.effect(format!("mark {name} as pending"))?;
        self.put(&marker, Node::file("", 0o600))
            .map_err(|message| failed(ProblemReason::FileFailed, message))
    }

    fn unmark(&mut self, name: &str) -> Result {
        let marker = self.marker(name);
        self.effect(format!("mark {name} as done"))?;
        self.disk.remove(&marker);
        Ok(())
    }

    fn ensure_user(&mut self, user: &str, file: &ManagedFile) -> Result<Done> {
        self.write_file(file)?;
        self.effect(format!("make user {user}"))?;
        let mut made = None;
        // systemd-sysusers makes whoever the definition names.
        for line in file
            .content
            .lines()
            .filter_map(|line| line.strip_prefix("u "))
        {
            let name = line.split(' ').next().unwrap_or_default();
            if !self.users.contains_key(name) {
                let taken = |id: &u32| self.users.values().any(|u| u.uid == *id || u.gid == *id);
                let free = (100..1000).rev().find(|id| !taken(id));
                let id = free.ok_or_else(|| {
                    failed(ProblemReason::UserFailed, "no user id below 1000 is free")
                })?;
                self.users
                    .insert(name.to_owned(), User { uid: id, gid: id });
                made = Some(id);
            }
        }
        if !self.users.contains_key(user) {
            let message = format!("{} does not define user {user}", file.path.display());
            return Err(failed(ProblemReason::UserFailed, message));
        }
        Ok(Done {
            uid: made,
            ..Done::default()
        })
    }

    fn ensure_folder(&mut self, folder: &Folder, user: &str) -> Result {
        let shown = folder.path.display();
        let (uid, gid) = match folder.owner {
            FolderOwner::Root => (0, 0),
            FolderOwner::Tenant => match self.users.get(user) {
                Some(user) => (user.uid, user.gid),
                None => {
                    return Err(failed(
                        ProblemReason::UserMissing,
                        format!("{shown}: there is no user {user}"),
                    ));
                }
            },
        };
        match self.disk.get(&folder.path) {
            None => {
                if !folder
                    .path
                    .parent()
                    .is_some_and(|parent| self.disk.is_folder(parent))
                {
                    return Err(failed(
                        ProblemReason::FileFailed,
                        format!("cannot make {shown}: it has no parent"),
                    ));
                }
                self.effect(format!("make folder {shown}"))?;
                let of_root = Node::Folder {
                    mode: 0o700,
                    uid: 0,
                    gid: 0,
                };
                self.disk.0.insert(folder.path.clone(), of_root);
            }
            Some(Node::Folder { .. }) => {}
            Some(_) => {
                return Err(failed(
                    ProblemReason::Conflict,
                    format!("{shown} is not a folder"),
                ));
            }
        }
        self.effect(format!("set owner and mode of {shown}"))?;
        self.disk.0.insert(
            folder.path.clone(),
            Node::Folder {
                mode: folder.mode,
                uid,
                gid,
            },
        );
        self.changed(&folder.path);
        Ok(())
    }

    fn install(&mut self, release: &Release) -> Result {
        let partial = release
            .path
            .with_file_name(format!(".{}.partial", release.version));
        self.effect(format!("copy release {}", release.version))?;
        self.disk.make_folders(&partial);
        self.effect(format!("put release {} in place", release.version))?;
        self.disk.rename(&partial, &release.path);
        self.changed(&release.path);
        Ok(())
    }

    fn enable(&mut self, units: &[String]) -> Result {
        for unit in units {
            let link = self.wants(unit);
            self.effect(format!("enable {unit}"))?;
            let target = Path::new(self.spec.paths.units.as_str()).join(unit);
            self.put(&link, Node::Link(target))
                .map_err(|message| failed(ProblemReason::FileFailed, message))?;
        }
        Ok(())
    }

    fn start(&mut self, unit: &str, reset: bool) -> Result<Done> {
        if reset {
            self.effect(format!("reset {unit}"))?;
            self.systemd(unit, |systemd, _| systemd.reset(unit));
        }
        self.effect(format!("start {unit}"))?;
        let started = self.systemd(unit, |systemd, around| systemd.start(unit, around));
        let invocation_id =
            started.map_err(|message| failed(ProblemReason::StartFailed, message))?;
        self.effect(format!("hear that {unit} has started"))?;
        Ok(Done {
            invocation_id: Some(invocation_id),
            ..Done::default()
        })
    }

    /// Writes or removes a site after a test of all sites as they would be.
    fn change_sites(&mut self, path: &PathBuf, file: Option<&ManagedFile>) -> Result {
        if !self.nginx.running {
            return Err(failed(
                ProblemReason::NginxNotRunning,
                "nginx does not run; start it",
            ));
        }
        let live = self.sites();
        let mut staged = live.clone();
        match file {
            Some(file) => drop(staged.insert(path.clone(), file.content.clone())),
            None => drop(staged.remove(path)),
        }
        if !self.nginx.accepts(&staged) {
            let (reason, message) = if self.nginx.accepts(&live) {
                (
                    ProblemReason::SiteRejected,
                    format!("nginx rejects {}", path.display()),
                )
            } else {
                (
                    ProblemReason::NginxBroken,
                    "nginx's configuration is broken without this change".to_owned(),
                )
            };
            return Err(failed(reason, message));
        }
        self.mark_pending(NGINX_RELOAD)?;
        match file {
            Some(file) => self.write_file(file)?,
            None => self.remove_file(path)?,
        }
        self.effect("reload nginx")?;
        let sites = self.sites();
        self.nginx.reload(sites);
        self.unmark(NGINX_RELOAD)
    }

    fn set_aside(&mut self, tenant: &TenantName, path: &Path) -> Result {
        self.mark_pending(DAEMON_RELOAD)?;
        self.effect(format!("set {} aside", path.display()))?;
        let folder = Layout::new(&self.spec).set_aside(tenant);
        self.disk.make_folders(&folder);
        let name = path.display().to_string().replace('/', "-");
        let taken = |n: &u32| self.disk.get(&folder.join(format!("{name}@{n}"))).is_some();
        let number = (1..).find(|n| !taken(n)).unwrap_or_default();
        self.disk
            .rename(path, &folder.join(format!("{name}@{number}")));
        self.changed(path);
        Ok(())
    }

    fn archive(&mut self, tenant: &TenantName) -> Result {
        for unit in self.running_as(tenant) {
            self.violations
                .push(format!("the data of {tenant} was moved while {unit} ran"));
        }
        let layout = Layout::new(&self.spec);
        let (data, env) = (layout.data(tenant), layout.env_dir(tenant));
        let mine = layout.backups().join(tenant.as_str());
        let number = (1..).find(|n: &u32| !self.disk.is_folder(&mine.join(n.to_string())));
        let target = mine.join(number.unwrap_or_default().to_string());
        self.effect(format!("make folder {}", target.display()))?;
        self.disk.make_folders(&target);
        for (from, name) in [(data, "data"), (env, "env")] {
            if self.disk.get(&from).is_some() {
                self.effect(format!("move {} into the backups", from.display()))?;
                self.disk.rename(&from, &target.join(name));
                self.changed(&from);
            }
        }
        Ok(())
    }

    fn remove_user(&mut self, tenant: &TenantName, user: &str) -> Result {
        if let Some(unit) = self.running_as(tenant).first() {
            let message = format!("user {user} is used by processes of {unit}");
            return Err(failed(ProblemReason::UserFailed, message));
        }
        self.effect(format!("remove user {user}"))?;
        self.users.remove(user);
        Ok(())
    }
}
