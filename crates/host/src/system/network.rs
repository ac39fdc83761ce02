//! Keeping tenants from each other's ports.
//!
//! The rules are one table for the whole host, made of what is known of all
//! tenants; those who ask together share one load of it. A tenant whose ports
//! and user are in the table already is answered from memory. [`look`] compares
//! with the kernel, for the case that somebody changed the table.
//!
//! The same rules are in a file that a unit of its own loads at boot, so that
//! they hold without the operator (law 7).
//!
//! [`look`]: Network::look

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cb_core::api::{HostSpec, NetworkIsolation};
use cb_core::desired::ManagedFile;
use cb_core::drift::{Drift, DriftKind};
use cb_core::layout::{Layout, user_name};
use cb_core::mark::Owner;
use cb_core::network::{BOOT_UNIT, Rules, TABLE, Tenant, boot_unit, shared_ports};
use cb_core::status::ProblemReason;
use cb_core::types::TenantName;
use cb_runtime::{CoalesceConfig, Coalescer};

use super::SystemHost;
use super::execute::{blocking, check_job, write_guarded};
use super::network_memo::{Memo, Now};
use crate::files::{self, FileCache};
use crate::nftables::{self, NftError};
use crate::systemd::JOB_TIMEOUT;
use crate::users::Users;
use crate::{ActionError, HostDrift, nginx};

/// Where systemd makes the link of a unit that starts before all others.
const WANTS: &str = "/etc/systemd/system/sysinit.target.wants";

#[derive(Debug)]
pub(super) struct Network {
    batch: Coalescer<Ask, Result<Option<String>, ActionError>>,
    keeper: Arc<Keeper>,
    /// Whether the unit that loads the table at boot was made.
    boots: AtomicBool,
}

#[derive(Debug)]
enum Ask {
    /// The tenant has these ports; none if it is gone.
    Ports(TenantName, BTreeSet<u16>),
    /// Look whether the kernel still has the table.
    Look,
}

#[derive(Debug)]
struct Keeper {
    isolation: NetworkIsolation,
    shared: BTreeSet<u16>,
    nginx: PathBuf,
    file: PathBuf,
    users: Arc<Users>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    ports: BTreeMap<TenantName, BTreeSet<u16>>,
    /// What the kernel was last given; nothing from before that until it has
    /// succeeded.
    loaded: Option<Arc<Loaded>>,
    /// Whether what was there at the start was compared with what was loaded
    /// before.
    compared: bool,
    /// What somebody had changed before the start; the next look tells it.
    untold: Option<String>,
    /// root and nginx, as they were last found.
    proxies: Option<BTreeSet<u32>>,
}

#[derive(Debug)]
struct Loaded {
    rules: Rules,
    uids: BTreeMap<TenantName, Option<u32>>,
    /// As the kernel shows it.
    table: Option<String>,
}

impl Network {
    pub(super) fn spawn(spec: &HostSpec, users: Arc<Users>) -> Self {
        let keeper = Arc::new(Keeper {
            isolation: spec.network.isolation,
            shared: shared_ports(spec),
            nginx: spec.nginx.config.as_str().into(),
            file: Layout::new(spec).network_rules(),
            users,
            known: Mutex::default(),
        });
        let of = Arc::clone(&keeper);
        let batch = Coalescer::spawn(CoalesceConfig::default(), move |asks: Vec<Ask>| {
            let keeper = Arc::clone(&of);
            async move { keeper.bring_about(asks).await }
        });
        Self {
            batch,
            keeper,
            boots: AtomicBool::new(false),
        }
    }

    fn is_enforced(&self) -> bool {
        self.keeper.isolation == NetworkIsolation::Enforce
    }

    /// Has the tenant reach these ports, and nobody else. Returns whether that
    /// is enforced at all.
    pub(super) async fn isolate(
        &self,
        tenant: &TenantName,
        ports: &BTreeSet<u16>,
    ) -> Result<bool, ActionError> {
        if self.is_enforced() && !self.keeper.has(tenant, ports)? {
            self.ask(Ask::Ports(tenant.clone(), ports.clone())).await?;
        }
        Ok(self.is_enforced())
    }

    /// Puts the table back if somebody changed it, and says what was changed.
    async fn look(&self) -> Result<Option<String>, ActionError> {
        self.ask(Ask::Look).await
    }

    async fn ask(&self, ask: Ask) -> Result<Option<String>, ActionError> {
        match self.batch.submit(ask).await {
            Ok(result) => result,
            Err(error) => Err(ActionError {
                reason: ProblemReason::Failed,
                message: error.to_string(),
                transient: true,
            }),
        }
    }
}

impl Keeper {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the table has the tenant as it is.
    fn has(&self, tenant: &TenantName, ports: &BTreeSet<u16>) -> Result<bool, ActionError> {
        let loaded = {
            let known = self.lock();
            let same = known.ports.get(tenant) == Some(ports);
            let gone = ports.is_empty() && !known.ports.contains_key(tenant);
            known.loaded.clone().filter(|_| same || gone)
        };
        let Some(loaded) = loaded else {
            return Ok(false);
        };
        let uid = self.users.get(&user_name(tenant))?.map(|user| user.uid);
        Ok(ports.is_empty() || loaded.uids.get(tenant) == Some(&uid))
    }

    /// Returns what somebody had changed, if so.
    async fn bring_about(&self, asks: Vec<Ask>) -> Result<Option<String>, ActionError> {
        let look = self.note(asks);
        let (rules, uids) = self.rules()?;
        let loaded = self.lock().loaded.clone();
        let mut changed = None;
        if let Some(loaded) = loaded.filter(|loaded| loaded.rules == rules && loaded.uids == uids) {
            if !look {
                return Ok(None);
            }
            let found = self.difference(&loaded).await;
            if let Ok(None) = found {
                return Ok(self.lock().untold.take());
            }
            // Not known to be in force any more, whatever comes of this.
            self.lock().loaded = None;
            changed = found?;
        }
        self.lock().loaded = None;
        let compared = std::mem::replace(&mut self.lock().compared, true);
        if !compared {
            let found = self.changed_while_away().await;
            self.lock().untold = found;
        }
        let text = rules.text();
        let file = self.file.clone();
        blocking(move || Ok(Memo::forget(&file)?)).await?;
        let table = nftables::load(&text).await?;
        // What the kernel accepted is what it is to be given at boot.
        self.write(text.clone()).await?;
        self.remember(table.as_deref(), &text).await?;
        let loaded = Loaded { rules, uids, table };
        let mut known = self.lock();
        known.loaded = Some(Arc::new(loaded));
        Ok(match look {
            true => changed.or(known.untold.take()),
            false => None,
        })
    }

    /// What somebody changed since another run of the operator loaded rules.
    async fn changed_while_away(&self) -> Option<String> {
        let memo = Memo::read(&self.file)?;
        // If nft cannot be run, that is told by the load.
        let (nft, table) = (
            nftables::version().await.ok()?,
            nftables::list().await.ok()?,
        );
        let now = Now {
            nft: &nft,
            table: table.as_deref(),
            file: &FileCache::content(&self.file).unwrap_or_default(),
        };
        memo.difference(&now, &self.file)
    }

    async fn remember(&self, table: Option<&str>, text: &str) -> Result<(), ActionError> {
        let nft = nftables::version().await?;
        let memo = Memo::of(&Now {
            nft: &nft,
            table,
            file: text.as_bytes(),
        });
        let Some(memo) = memo else {
            return Ok(());
        };
        let file = self.file.clone();
        blocking(move || Ok(memo.write(&file)?)).await
    }

    /// Takes in what is asked. Returns whether the kernel is to be looked at.
    fn note(&self, asks: Vec<Ask>) -> bool {
        let mut known = self.lock();
        let mut look = false;
        for ask in asks {
            match ask {
                Ask::Ports(tenant, ports) if ports.is_empty() => {
                    known.ports.remove(&tenant);
                }
                Ask::Ports(tenant, ports) => {
                    known.ports.insert(tenant, ports);
                }
                Ask::Look => look = true,
            }
        }
        look
    }

    fn rules(&self) -> Result<(Rules, BTreeMap<TenantName, Option<u32>>), ActionError> {
        let uid_of = self.users.ids()?;
        let proxies = match uid_of(&nginx::user(&self.nginx)) {
            Some(uid) => BTreeSet::from([0, uid]),
            None => self.lock().proxies.clone().ok_or_else(|| ActionError {
                reason: ProblemReason::NginxUserUnknown,
                message: format!(
                    "{} names no user of this host that nginx runs as; write `user NAME;` in it",
                    self.nginx.display()
                ),
                transient: false,
            })?,
        };
        let mut known = self.lock();
        known.proxies = Some(proxies.clone());
        let uids: BTreeMap<_, _> = known
            .ports
            .keys()
            .map(|tenant| (tenant.clone(), uid_of(&user_name(tenant))))
            .collect();
        let tenants = known.ports.iter().map(|(tenant, ports)| Tenant {
            uid: uids[tenant],
            ports: ports.clone(),
        });
        let rules = Rules {
            tenants: tenants.collect(),
            proxies,
            shared: self.shared.clone(),
        };
        Ok((rules, uids))
    }

    /// How the kernel's table and the file differ from what was loaded.
    async fn difference(&self, loaded: &Loaded) -> Result<Option<String>, ActionError> {
        let table = nftables::list().await?;
        if table.is_none() {
            return Ok(Some("the table is gone".to_owned()));
        }
        if table != loaded.table {
            return Ok(Some("the table has other rules".to_owned()));
        }
        let there = FileCache::content(&self.file).unwrap_or_default();
        let is_same = there == loaded.rules.text().as_bytes();
        Ok((!is_same).then(|| format!("{} has other rules", self.file.display())))
    }

    async fn write(&self, text: String) -> Result<(), ActionError> {
        write_if_changed(ManagedFile {
            path: self.file.clone(),
            content: text,
            mode: 0o600,
        })
        .await
        .map(drop)
    }
}

/// Writes a file of the operator's own. Returns whether it had to be.
async fn write_if_changed(file: ManagedFile) -> Result<bool, ActionError> {
    let there = FileCache::content(&file.path).ok();
    if there.is_some_and(|there| there == file.content.as_bytes()) {
        return Ok(false);
    }
    write_guarded(&file, || Ok(())).await.map(|()| true)
}

impl SystemHost {
    /// Takes in the ports of all tenants that are known at the start, so that
    /// the first table is not one of a few of them.
    pub fn know_ports(&self, ports: BTreeMap<TenantName, BTreeSet<u16>>) {
        self.network.keeper.lock().ports = ports;
    }

    /// Puts right what was changed of the rules, and of what loads them at
    /// boot; or takes both away if nothing is to be enforced. Returns what
    /// somebody had changed.
    ///
    /// # Errors
    /// Something of that cannot be done.
    pub async fn keep_network(&self) -> Result<Option<HostDrift>, ActionError> {
        if !self.network.is_enforced() {
            self.remove_network().await?;
            return Ok(None);
        }
        let of_table = self.network.look().await?;
        let of_boot = self.keep_boot_unit().await?;
        let details: Vec<String> = of_table.into_iter().chain(of_boot).collect();
        let drift = Drift {
            kind: DriftKind::NetworkRulesChanged,
            what: format!("table {TABLE}"),
            detail: details.join("; "),
            by: None,
        };
        Ok((!details.is_empty()).then_some(HostDrift {
            drift,
            corrected: true,
        }))
    }

    /// Returns what somebody had changed of a unit that was made.
    async fn keep_boot_unit(&self) -> Result<Option<String>, ActionError> {
        let changed = self.make_boot_unit().await?;
        let made = self.network.boots.swap(true, Ordering::AcqRel);
        Ok(changed.filter(|_| made))
    }

    async fn make_boot_unit(&self) -> Result<Option<String>, ActionError> {
        let mut changed = None;
        let layout = self.layout();
        let unit = ManagedFile {
            path: layout.unit_file(BOOT_UNIT),
            content: boot_unit(&layout.network_rules()),
            mode: 0o644,
        };
        if write_if_changed(unit).await? {
            self.units.will_change()()?;
            self.units.reload().await?;
            changed = Some(format!("{BOOT_UNIT} was changed"));
        }
        if !Path::new(WANTS).join(BOOT_UNIT).is_symlink() {
            self.systemd.enable(&[BOOT_UNIT.to_owned()]).await?;
            changed.get_or_insert_with(|| format!("{BOOT_UNIT} did not start at boot"));
        }
        let active = self.systemd.unit(BOOT_UNIT);
        if !active.is_some_and(|unit| unit.is_active()) {
            // systemd does to a running unit what it does to nftables' own.
            let result = self.systemd.start(BOOT_UNIT, JOB_TIMEOUT).await?;
            check_job(&result, "start", BOOT_UNIT)?;
            changed.get_or_insert_with(|| format!("{BOOT_UNIT} was stopped"));
        }
        Ok(changed)
    }

    async fn remove_network(&self) -> Result<(), ActionError> {
        let layout = self.layout();
        let (rules, unit) = (layout.network_rules(), layout.unit_file(BOOT_UNIT));
        if is_ours(&unit) {
            self.systemd.disable(&[BOOT_UNIT.to_owned()]).await?;
            self.systemd.stop(BOOT_UNIT, JOB_TIMEOUT).await?;
            self.units.will_change()()?;
            remove(unit).await?;
            self.units.reload().await?;
        }
        if is_ours(&rules) {
            nftables::remove().await?;
            let memo = rules.clone();
            blocking(move || Ok(Memo::forget(&memo)?)).await?;
            remove(rules).await?;
        }
        Ok(())
    }
}

fn is_ours(path: &Path) -> bool {
    FileCache::content(path).is_ok_and(|there| Owner::of(&there) == Some(Owner::Host))
}

async fn remove(path: PathBuf) -> Result<(), ActionError> {
    blocking(move || Ok(files::remove(&path).map(drop)?)).await
}

impl From<NftError> for ActionError {
    fn from(error: NftError) -> Self {
        let reason = match &error {
            NftError::Missing => ProblemReason::NftMissing,
            NftError::Run(_) | NftError::Failed(_) => ProblemReason::NftFailed,
            NftError::Conflict => ProblemReason::Conflict,
        };
        ActionError {
            reason,
            message: error.to_string(),
            transient: false,
        }
    }
}
