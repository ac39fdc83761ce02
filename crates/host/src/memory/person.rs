//! What a person, or another program, does to a host in memory.
//!
//! None of it counts as an effect of the operator.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cb_core::disk::DiskUse;
use cb_core::observed::{Health, User};
use cb_core::secret::{Opened, SecretSource};
use cb_core::types::TenantName;

use super::MemoryHost;
use super::disk::Node;
use super::systemd::{Activity, Run};

impl MemoryHost {
    /// Puts a file, folder or link at a path, with the folders above it, in
    /// place of what is there.
    pub fn put(&self, path: impl AsRef<Path>, node: Node) {
        let path = path.as_ref();
        self.with(|world| {
            if let Some(parent) = path.parent() {
                world.disk.make_folders(parent);
            }
            world.disk.0.insert(path.to_owned(), node);
            world.changed(path);
        });
    }

    /// Changes a file's content. Returns whether there is such a file.
    pub fn edit(&self, path: impl AsRef<Path>, edit: impl FnOnce(&mut String)) -> bool {
        let path = path.as_ref();
        self.with(|world| {
            let Some(Node::File { content, .. }) = world.disk.0.get_mut(path) else {
                return false;
            };
            edit(content);
            world.changed(path);
            true
        })
    }

    /// Removes what is at a path, with all that is in it.
    pub fn delete(&self, path: impl AsRef<Path>) {
        self.with(|world| {
            world.disk.remove(path.as_ref());
            world.changed(path.as_ref());
        });
    }

    /// Has a tenant have this on disk.
    pub fn set_disk_use(&self, tenant: &TenantName, found: DiskUse) {
        self.with(|world| world.disk_uses.insert(tenant.clone(), found));
    }

    /// Leaves so many bytes free on the disk.
    pub fn set_disk_free(&self, bytes: u64) {
        self.with(|world| world.disk_free = bytes);
    }

    /// Sets the mode of what is at a path.
    pub fn chmod(&self, path: impl AsRef<Path>, to: u32) {
        let path = path.as_ref();
        self.with(|world| {
            if let Some(Node::File { mode, .. } | Node::Folder { mode, .. }) =
                world.disk.0.get_mut(path)
            {
                *mode = to;
                world.changed(path);
            }
        });
    }

    /// Gives what is at a path to this user and group.
    pub fn chown(&self, path: impl AsRef<Path>, user: User) {
        let path = path.as_ref();
        self.with(|world| {
            if let Some(Node::File { uid, gid, .. } | Node::Folder { uid, gid, .. }) =
                world.disk.0.get_mut(path)
            {
                (*uid, *gid) = (user.uid, user.gid);
                world.changed(path);
            }
        });
    }

    /// Makes a user.
    pub fn add_user(&self, name: &str, user: User) {
        self.with(|world| world.users.insert(name.to_owned(), user));
    }

    /// Removes a user.
    pub fn delete_user(&self, name: &str) {
        self.with(|world| world.users.remove(name));
    }

    /// `systemctl daemon-reload`
    pub fn daemon_reload(&self) {
        self.with(|world| world.daemon_reload());
    }

    /// `systemctl start UNIT`
    ///
    /// # Errors
    /// systemd's word on why it did not start.
    pub fn start_unit(&self, unit: &str) -> Result<(), String> {
        let start = |world: &mut super::World| {
            world.systemd(unit, |systemd, around| systemd.start(unit, around))
        };
        self.with(start).map(drop)
    }

    /// `systemctl stop UNIT`
    pub fn stop_unit(&self, unit: &str) {
        self.with(|world| world.systemd(unit, |systemd, _| systemd.stop(unit)));
    }

    /// `systemctl restart UNIT`
    ///
    /// # Errors
    /// systemd's word on why it did not start.
    pub fn restart_unit(&self, unit: &str) -> Result<(), String> {
        self.stop_unit(unit);
        self.start_unit(unit)
    }

    /// The unit's process ends; systemd will start it again, see
    /// [`MemoryHost::settle`].
    pub fn crash_unit(&self, unit: &str) {
        if self.running(unit).is_some() {
            self.with(|world| {
                world.systemd(unit, |systemd, _| systemd.end(unit, Activity::Waiting))
            });
        }
    }

    /// The unit ends in the failed state.
    pub fn fail_unit(&self, unit: &str) {
        self.with(|world| world.systemd(unit, |systemd, _| systemd.end(unit, Activity::Failed)));
    }

    /// systemd starts what has exited again, until it runs or has failed.
    pub fn settle(&self) {
        self.with(|world| world.systemd("", |systemd, around| systemd.settle(around)));
    }

    /// Has services with such a run exit as soon as they are started.
    pub fn crash_when(&self, crashes: impl Fn(&Run) -> bool + Send + Sync + 'static) {
        self.with(|world| world.crashes = Arc::new(crashes));
    }

    /// `systemctl enable UNIT`
    pub fn enable_unit(&self, unit: &str) {
        let link = self.with(|world| world.wants(unit));
        self.put(link, Node::Link(PathBuf::from("..").join(unit)));
    }

    /// `systemctl disable UNIT`
    pub fn disable_unit(&self, unit: &str) {
        let link = self.with(|world| world.wants(unit));
        self.delete(link);
    }

    /// Binds a port with a process of this user id.
    pub fn take_port(&self, port: u16, uid: u32) {
        self.with(|world| world.sockets.entry(port).or_default().insert(uid));
    }

    /// Ends the processes of others that have bound this port.
    pub fn free_port(&self, port: u16) {
        self.with(|world| world.sockets.remove(&port));
    }

    /// Stops nginx, or starts it with the sites there are.
    pub fn set_nginx_running(&self, running: bool) {
        self.with(|world| {
            world.nginx.running = running;
            let sites = world.sites();
            world.nginx.reload(sites);
        });
    }

    /// Breaks the part of nginx's configuration that is not the operator's, or
    /// puts it right.
    pub fn set_nginx_broken(&self, broken: bool) {
        self.with(|world| world.nginx.broken = broken);
    }

    /// `nginx -s reload`. Returns whether it has taken the sites over.
    pub fn reload_nginx(&self) -> bool {
        self.with(|world| {
            let sites = world.sites();
            world.nginx.reload(sites)
        })
    }

    /// Has nginx reject sites with such a text.
    pub fn nginx_rejects(&self, rejects: impl Fn(&str) -> bool + Send + Sync + 'static) {
        self.with(|world| world.nginx.rejects = Arc::new(rejects));
    }

    /// Sets what is read from a source of secrets.
    pub fn set_secret(&self, source: SecretSource, read: Result<Opened, String>) {
        self.with(|world| world.secrets.insert(source, read));
    }

    /// Sets what a unit's health check answers while it runs; without, it is
    /// healthy with the version of its environment.
    pub fn set_health(&self, unit: &str, health: Option<Health>) {
        self.with(|world| match health {
            Some(health) => drop(world.health.insert(unit.to_owned(), health)),
            None => drop(world.health.remove(unit)),
        });
    }
}
