//! Random states of a host and random wishes.

use cb_core::api::Host as HostObject;
use cb_core::observed::User;
use cb_core::secret::{FingerprintKey, Opened, SecretSource, SecretValue};
use cb_host::memory::{MemoryHost, Node};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::json;

use super::operator::{Wanted, World};

pub(crate) const I360: &str = "/srv/i360/voters.duckdb";
pub(crate) const SECRET: &str = "/etc/cb/secrets/ky04";
pub(crate) const FIXED_PORT: u16 = 31000;

/// What is wanted, by what can differ.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    version: &'static str,
    domains: usize,
    env: Option<&'static str>,
    secret: bool,
    i360: bool,
    services: &'static [&'static str],
    argument: bool,
    memory: bool,
    fixed: bool,
}

pub(crate) fn wish() -> impl Strategy<Value = Wish> {
    let services: Vec<&'static [&'static str]> = vec![
        &["api", "frontend"],
        &["frontend", "api"],
        &["api"],
        &["api", "frontend", "worker"],
    ];
    let texts = (
        select(vec!["v1", "v2"]),
        0..3usize,
        select(vec![None, Some("x"), Some("y")]),
    );
    let flags = any::<(bool, bool, bool, bool, bool)>();
    (texts, select(services), flags).prop_map(|((version, domains, env), services, flags)| Wish {
        version,
        domains,
        env,
        services,
        secret: flags.0,
        i360: flags.1,
        argument: flags.2,
        memory: flags.3,
        fixed: flags.4,
    })
}

pub(crate) fn host(memory: bool) -> HostObject {
    let resources = if memory {
        json!({"memory": "512Mi"})
    } else {
        json!({})
    };
    object(json!({
        "apiVersion": "campaignbrain.io/v1alpha1", "kind": "Host", "metadata": {"name": "one"},
        "spec": {"sharedServices": {"i360": {"path": I360}}, "defaults": {"resources": resources}},
    }))
}

fn object<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).expect("a valid object")
}

impl Wish {
    pub(crate) fn wanted(&self, tenant: &str) -> Wanted {
        let offset = |name: &str| {
            ["frontend", "api", "worker"]
                .iter()
                .position(|n| *n == name)
        };
        let service = |name: &&str| {
            let args = if self.argument {
                vec!["--port=$(PORT)"]
            } else {
                vec![]
            };
            json!({"name": name, "command": format!("bin/{name}"), "args": args, "portOffset": offset(name)})
        };
        let services: Vec<_> = self.services.iter().map(service).collect();
        let mut spec = json!({
            "application": "cbapp",
            "version": self.version,
            "domains": (0..self.domains).map(|n| format!("{tenant}-{n}.example.org")).collect::<Vec<_>>(),
            "database": {"i360": self.i360},
        });
        if let Some(value) = self.env {
            spec["env"] = json!({"GREETING": value});
        }
        if self.secret {
            spec["secretRefs"] = json!([
                {"name": "API_KEY", "file": SECRET, "delivery": "Environment"},
                {"name": "api-key", "file": SECRET},
            ]);
        }
        if self.fixed {
            spec["ports"] = json!({"api": FIXED_PORT});
        }
        Wanted {
            tenant: object(json!({
                "apiVersion": "campaignbrain.io/v1alpha1", "kind": "Tenant",
                "metadata": {"name": tenant}, "spec": spec,
            })),
            application: object(json!({
                "apiVersion": "campaignbrain.io/v1alpha1", "kind": "Application",
                "metadata": {"name": "cbapp"},
                "spec": {
                    "versions": [{"name": "v1", "folder": {"path": "/srv/v1"}}, {"name": "v2", "folder": {"path": "/srv/v2"}}],
                    "services": services,
                    "routes": [{"path": "/", "service": self.services[0]}],
                },
            })),
            host: host(self.memory),
        }
    }
}

/// What happens to a host that nobody asked the operator for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    EditFile(Index),
    DeleteFile(Index),
    Chmod(Index),
    Chown(Index),
    StopUnit(Index),
    RestartUnit(Index),
    CrashUnit(Index),
    FailUnit(Index),
    DisableUnit(Index),
    DaemonReload,
    ReloadNginx,
    DeleteUser,
    RemoveRelease,
    AddI360,
    RemoveI360,
    ChangeSecret(bool),
    Reboot,
}

pub(crate) fn event() -> impl Strategy<Value = Event> {
    use Event::*;
    let index = any::<Index>;
    prop_oneof![
        4 => index().prop_map(EditFile),
        2 => index().prop_map(DeleteFile),
        1 => index().prop_map(Chmod),
        1 => index().prop_map(Chown),
        2 => index().prop_map(StopUnit),
        3 => index().prop_map(RestartUnit),
        2 => index().prop_map(CrashUnit),
        1 => index().prop_map(FailUnit),
        1 => index().prop_map(DisableUnit),
        3 => select(vec![DaemonReload, ReloadNginx, DeleteUser, RemoveRelease, Reboot]),
        2 => select(vec![AddI360, RemoveI360, ChangeSecret(true), ChangeSecret(false)]),
    ]
}

/// Things of others that are in the way, or only near.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Foreign {
    /// A user of the tenant's name, made before the tenant.
    User,
    /// A file without the mark, or with another tenant's, in place of a
    /// managed one.
    File(Index, bool),
    /// A unit of a service's name in the vendors' folder, that perhaps runs in
    /// place of the operator's.
    VendorUnit(Index, bool),
    /// A process on a port that nobody has bound.
    Port(u16),
}

pub(crate) fn foreign() -> impl Strategy<Value = Foreign> {
    prop_oneof![
        Just(Foreign::User),
        (any::<Index>(), any::<bool>()).prop_map(|(index, other)| Foreign::File(index, other)),
        (any::<Index>(), any::<bool>()).prop_map(|(index, runs)| Foreign::VendorUnit(index, runs)),
        (32300u16..32303).prop_map(Foreign::Port),
    ]
}

/// How a host came to be as it is.
#[derive(Debug, Clone)]
pub(crate) struct History {
    /// What was converged first, if anything.
    first: Option<Wish>,
    /// What was wanted then; the operator was cut off after so many effects.
    second: Option<(Wish, u64)>,
    /// Whether the machine went down with the operator.
    reboot: bool,
    events: Vec<Event>,
    /// Whether the records were lost.
    lost: bool,
    i360: bool,
}

pub(crate) fn history() -> impl Strategy<Value = History> {
    let first = prop::option::weighted(0.8, wish());
    let second = prop::option::of((wish(), 0..60u64));
    let events = prop::collection::vec(event(), 0..6);
    (
        first,
        second,
        events,
        any::<(bool, bool)>(),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(first, second, events, (reboot, i360), lost)| History {
            first,
            second,
            reboot,
            events,
            lost,
            i360,
        })
}

impl History {
    /// The same, with the records kept.
    pub(crate) fn with_records(self) -> Self {
        Self {
            lost: false,
            ..self
        }
    }

    /// Whether the records were lost at its end.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// The host after all of it. There is another tenant and things of nobody.
    pub(crate) fn play(&self) -> World {
        let host = MemoryHost::new(&host(false));
        host.put(
            "/etc/systemd/system/ky04-other.service",
            Node::file("[Service]\nUser=root\n", 0o644),
        );
        host.put(
            "/etc/nginx/conf.d/default.conf",
            Node::file("server {}\n", 0o644),
        );
        set_secret(&host, "one");
        host.add_user("root", User { uid: 0, gid: 0 });
        if self.i360 {
            host.put(I360, Node::file("voters", 0o644));
        }
        host.enable_unit("ky04-other.service");
        host.daemon_reload();
        host.reload_nginx();
        host.start_unit("ky04-other.service")
            .expect("nothing is in its way");
        let mut world = World { host, saved: None };
        if let Some(first) = &self.first {
            world
                .pass(&first.wanted("ky04"))
                .expect("nothing is in the way");
            let data = "/var/lib/cb/tenants/ky04";
            world.host.put(
                format!("{data}/db/tenant.duckdb"),
                Node::file("their data", 0o600),
            );
            world.host.put(
                format!("{data}/uploads/flyer.jpg"),
                Node::file("their flyer", 0o600),
            );
        }
        if let Some((second, cut)) = &self.second {
            world.host.cut_after(*cut);
            let _ = world.pass(&second.wanted("ky04"));
            if self.reboot {
                world.host.reboot()
            } else {
                world.host.restart()
            }
        }
        world.play(&self.events);
        if self.lost {
            world.lose_records();
        }
        world.host.clear_log();
        world
    }
}

const UNITS: [&str; 3] = [
    "ky04-api.service",
    "ky04-frontend.service",
    "ky04-worker.service",
];

fn unit(index: Index) -> &'static str {
    UNITS[index.index(UNITS.len())]
}

impl World {
    /// The tenant's managed files.
    fn managed(&self) -> Vec<std::path::PathBuf> {
        let files = self.host.snapshot().files;
        let ours = |content: &str| content.starts_with("# cb-operator: owner=tenant/ky04\n");
        let managed = files
            .iter()
            .filter(|(_, node)| node.content().is_some_and(ours));
        managed.map(|(path, _)| path.clone()).collect()
    }

    /// Lets all of this happen.
    pub(crate) fn play(&mut self, events: &[Event]) {
        for event in events {
            self.happen(*event);
        }
        self.nothing_is_unknown();
    }

    fn happen(&mut self, event: Event) {
        let host = &self.host;
        let managed = self.managed();
        let file = |index: Index| (!managed.is_empty()).then(|| index.get(&managed).clone());
        match event {
            Event::EditFile(index) => {
                let Some(path) = file(index) else { return };
                host.edit(path, |text| text.push_str("# edited\n"));
            }
            Event::DeleteFile(index) => {
                let Some(path) = file(index) else { return };
                host.delete(&path);
                // What nginx still serves after its file is gone cannot be
                // seen; who takes a site away has nginx know of it.
                if path.extension().is_some_and(|end| end == "conf") {
                    host.reload_nginx();
                }
            }
            Event::Chmod(index) => file(index).iter().for_each(|path| host.chmod(path, 0o666)),
            Event::Chown(index) => {
                let somebody = User {
                    uid: 1000,
                    gid: 1000,
                };
                file(index)
                    .iter()
                    .for_each(|path| host.chown(path, somebody));
            }
            Event::StopUnit(index) => host.stop_unit(unit(index)),
            // A unit that cannot start shows it in its state.
            Event::RestartUnit(index) => drop(host.restart_unit(unit(index))),
            Event::CrashUnit(index) => host.crash_unit(unit(index)),
            Event::FailUnit(index) => host.fail_unit(unit(index)),
            Event::DisableUnit(index) => host.disable_unit(unit(index)),
            Event::DaemonReload => host.daemon_reload(),
            Event::ReloadNginx => drop(host.reload_nginx()),
            Event::DeleteUser => {
                // userdel refuses while processes run under the user.
                UNITS.iter().for_each(|unit| host.stop_unit(unit));
                host.delete_user("cb-ky04");
            }
            Event::RemoveRelease => host.delete("/var/lib/cb/releases/cbapp"),
            Event::AddI360 => host.put(I360, Node::file("voters", 0o644)),
            Event::RemoveI360 => host.delete(I360),
            Event::ChangeSecret(one) => {
                let value = if one { "one" } else { "two" };
                set_secret(host, value);
            }
            Event::Reboot => host.reboot(),
        }
        self.host.settle();
    }

    /// The records are gone, and with them what no look at the host tells:
    /// what a service runs with whose files were changed since. There is none
    /// of these.
    fn lose_records(&mut self) {
        self.saved = None;
        for unit in UNITS {
            let file = self.host.content(format!("/etc/systemd/system/{unit}"));
            let env = self.host.content("/etc/cb/tenants/ky04/.env");
            if self.host.running(unit).is_some_and(|run| {
                Some(run.unit_text) != file || run.env.is_some() && run.env != env
            }) {
                self.host.daemon_reload();
                // A unit that cannot start shows it in its state.
                let _ = self.host.restart_unit(unit);
            }
        }
        self.host.settle();
        self.nothing_is_unknown();
    }

    /// Nothing of the tenant runs that neither a record nor a file tells of.
    fn nothing_is_unknown(&mut self) {
        let known = |unit: &str| {
            let record = self.saved.as_ref();
            let name = unit
                .trim_start_matches("ky04-")
                .trim_end_matches(".service");
            record.is_some_and(|record| {
                record.services.contains_key(name) || record.ports.by_service.contains_key(name)
            })
        };
        for unit in UNITS {
            if self
                .host
                .node(format!("/etc/systemd/system/{unit}"))
                .is_none()
                && !known(unit)
            {
                self.host.stop_unit(unit);
                self.host.disable_unit(unit);
            }
        }
        self.nothing_looks_foreign();
        self.i360_is_known();
    }

    /// Whether a service was started with the i360 database is told by its
    /// record alone. Without one, it was not there yet.
    fn i360_is_known(&mut self) {
        let recorded = |unit: &str| {
            let services = self.saved.as_ref().map(|record| &record.services);
            let service = unit
                .trim_start_matches("ky04-")
                .trim_end_matches(".service");
            services.is_some_and(|services| services.contains_key(service))
        };
        let unknown =
            |unit: &&str| self.host.running(unit).is_some_and(|run| !run.i360) && !recorded(unit);
        if UNITS.iter().any(unknown) {
            self.host.delete(I360);
        }
    }

    /// A user that nothing says the operator made is a conflict, as it must be
    /// and as another property has it.
    fn nothing_looks_foreign(&mut self) {
        let applied = self
            .saved
            .as_ref()
            .is_some_and(|record| record.applied.is_some());
        let managed = self.managed();
        let is_told = managed.iter().any(|path| {
            path.starts_with("/etc/sysusers.d") || path.starts_with("/etc/systemd/system")
        });
        if !applied && !is_told {
            self.host.delete_user("cb-ky04");
        }
    }

    /// Whether something says that the user is the operator's, beside units.
    pub(crate) fn knows_its_user(&self) -> bool {
        let applied = self
            .saved
            .as_ref()
            .is_some_and(|record| record.applied.is_some());
        applied
            || self
                .managed()
                .iter()
                .any(|path| path.starts_with("/etc/sysusers.d"))
    }

    /// Puts a thing of others there. Returns whether it was possible.
    pub(crate) fn intrude(&mut self, foreign: Foreign) -> bool {
        let host = &self.host;
        let managed = self.managed();
        match foreign {
            Foreign::User => {
                let untouched = managed.is_empty() && host.user("cb-ky04").is_none();
                if untouched {
                    host.add_user(
                        "cb-ky04",
                        User {
                            uid: 1001,
                            gid: 1001,
                        },
                    );
                }
                return untouched;
            }
            Foreign::File(index, other) => {
                if managed.is_empty() {
                    return false;
                }
                let mark = if other {
                    "# cb-operator: owner=tenant/ky05\n"
                } else {
                    ""
                };
                host.put(
                    index.get(&managed),
                    Node::file(&format!("{mark}theirs\n"), 0o644),
                );
            }
            Foreign::VendorUnit(index, runs) => {
                let unit = unit(index);
                let path = std::path::Path::new("/usr/lib/systemd/system").join(unit);
                host.put(
                    path,
                    Node::file("[Service]\nExecStart=/bin/theirs\n", 0o644),
                );
                if runs {
                    host.stop_unit(unit);
                    host.delete(std::path::Path::new("/etc/systemd/system").join(unit));
                }
                host.daemon_reload();
                if runs {
                    // A unit that has failed shows it in its state.
                    let _ = host.start_unit(unit);
                }
            }
            Foreign::Port(port) => {
                if host.bound().contains_key(&port) {
                    return false;
                }
                host.take_port(port, 33);
            }
        }
        true
    }
}

fn set_secret(host: &MemoryHost, value: &str) {
    let value = SecretValue::new(value, &FingerprintKey::new([1; 32]));
    host.set_secret(
        SecretSource::File(SECRET.into()),
        Ok(Opened::Content(value)),
    );
}
