//! Who may connect to what on the host: the text of one nftables table.
//!
//! A packet that opens a connection is looked up in sets; the rules around
//! them are the same for one tenant and for a thousand. Only packets that open
//! a connection are looked at, so the kernel need not track connections, and
//! no tenant can fill a table of them. A rule that needs to know who sends
//! (`meta skuid`) does not match a packet of nobody; at tenants' ports such a
//! packet falls through to the rejection.
//!
//! A tenant can listen where another one's service does not, for example on its
//! port while it is restarted. What it answers there is dropped, so that nobody
//! takes it for the other.
//!
//! What must not live here: how the table gets into the kernel (`cb_host`).

use std::collections::BTreeSet;
use std::fmt::{self, Display, Write as _};
use std::path::Path;

use crate::api::HostSpec;
use crate::mark::Owner;
use crate::types::HttpUrl;

/// The table's family and name.
pub const TABLE: &str = "inet cb_operator";
/// The unit that loads the table at boot, with the operator or without it.
pub const BOOT_UNIT: &str = "cb-network.service";
/// The comment in the table that says whose it is. nftables does not keep
/// comments of the text.
pub const MARK: &str = "cb-operator: owner=host";

/// The resolver, and nginx, which anybody can reach.
const OPEN: [u16; 3] = [53, 80, 443];

/// What the table is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// The tenants.
    pub tenants: Vec<Tenant>,
    /// The user ids that reach every tenant's ports: root's and nginx's.
    pub proxies: BTreeSet<u32>,
    /// The ports on this machine that are nobody's and that every tenant may
    /// connect to.
    pub shared: BTreeSet<u16>,
}

/// What the table has to know of a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tenant {
    /// Its user's id; without, nobody reaches its ports but the proxies.
    pub uid: Option<u32>,
    /// Its ports.
    pub ports: BTreeSet<u16>,
}

/// The ports on this machine that every tenant may connect to.
#[must_use]
pub fn shared_ports(host: &HostSpec) -> BTreeSet<u16> {
    let ollama = host.shared_services.ollama.as_ref();
    let ollama = ollama.and_then(|ollama| port_of(&ollama.url));
    let allowed = host.network.allow_ports.iter().copied();
    OPEN.into_iter().chain(ollama).chain(allowed).collect()
}

/// The port of a URL, if it does not have its scheme's own.
fn port_of(url: &HttpUrl) -> Option<u16> {
    let (_, rest) = url.as_str().split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (_, port) = authority.rsplit_once(':')?;
    port.parse().ok()
}

impl Rules {
    /// The input for `nft -f`: in one transaction, the table as it was is
    /// replaced.
    #[must_use]
    pub fn text(&self) -> String {
        let ports: BTreeSet<u16> = self.each_port().map(|(_, port)| port).collect();
        let own: BTreeSet<(u32, u16)> = self
            .each_port()
            .filter_map(|(uid, port)| Some((uid?, port)))
            .collect();
        let own = own.into_iter().map(|(uid, port)| Pair(uid, port));
        let users: BTreeSet<u32> = self.tenants.iter().filter_map(|of| of.uid).collect();
        let sets = [
            set("ports", "inet_service", ports),
            set("own", "uid . inet_service", own),
            set("users", "uid", users),
            set("proxies", "uid", self.proxies.iter().copied()),
            set("shared", "inet_service", self.shared.iter().copied()),
        ];
        format!(
            "{}table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\n\tcomment \"{MARK}\"\n{}{CHAINS}}}\n",
            Owner::Host.header(),
            sets.concat()
        )
    }

    fn each_port(&self) -> impl Iterator<Item = (Option<u32>, u16)> + '_ {
        let ports = |of: &'_ Tenant| {
            let uid = of.uid;
            of.ports.clone().into_iter().map(move |port| (uid, port))
        };
        self.tenants.iter().flat_map(ports)
    }
}

/// Packets to the machine's own addresses leave through `lo`.
const CHAINS: &str = "\
	chain output {
		type filter hook output priority filter; policy accept;
		oif != \"lo\" accept
		tcp flags & (syn | ack) == (syn | ack) tcp sport @ports meta skuid @users goto answer
		tcp flags & (syn | ack) == syn tcp dport @ports goto tenants_port
		tcp flags & (syn | ack) == syn meta skuid @users goto from_tenant
		meta l4proto != tcp meta skuid @users goto from_tenant
	}
	chain input {
		type filter hook input priority filter; policy accept;
		iif != \"lo\" tcp flags & (syn | ack) == syn tcp dport @ports reject with tcp reset
	}
	chain tenants_port {
		meta skuid . tcp dport @own accept
		meta skuid @proxies accept
		reject with tcp reset
	}
	chain answer {
		meta skuid . tcp sport @own accept
		drop
	}
	chain from_tenant {
		meta l4proto { tcp, udp } th dport @shared accept
		meta l4proto tcp reject with tcp reset
		reject
	}
";

/// An element of a set of pairs.
struct Pair(u32, u16);

impl Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} . {}", self.0, self.1)
    }
}

/// nft takes no empty list of elements.
fn set(name: &str, kind: &str, elements: impl IntoIterator<Item = impl Display>) -> String {
    let mut text = format!("\tset {name} {{\n\t\ttype {kind}\n");
    let elements: Vec<String> = elements.into_iter().map(|e| e.to_string()).collect();
    if !elements.is_empty() {
        let _ = writeln!(text, "\t\telements = {{ {} }}", elements.join(", "));
    }
    text.push_str("\t}\n");
    text
}

/// The unit that loads the rules at boot, and again after nftables' own unit,
/// which throws away all tables when it starts.
#[must_use]
pub fn boot_unit(rules: &Path) -> String {
    let rules = rules.display();
    format!(
        "{}[Unit]
Description=Network isolation of Campaign Brain tenants
DefaultDependencies=no
RequiresMountsFor={rules}
ConditionPathExists={rules}
After=nftables.service
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service
Before=sysinit.target network-pre.target shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=nft -f {rules}
ExecReload=nft -f {rules}
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_NET_ADMIN
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
RestrictAddressFamilies=AF_UNIX AF_NETLINK
RestrictNamespaces=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
ProtectSystem=strict
ProtectHome=yes
PrivateDevices=yes

[Install]
WantedBy=sysinit.target
",
        Owner::Host.header()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules(tenants: impl IntoIterator<Item = (Option<u32>, u16)>) -> Rules {
        let tenant = |(uid, port): (Option<u32>, u16)| Tenant {
            uid,
            ports: BTreeSet::from([port, port + 1]),
        };
        Rules {
            tenants: tenants.into_iter().map(tenant).collect(),
            proxies: BTreeSet::from([0, 33]),
            shared: shared_ports(&HostSpec::default()),
        }
    }

    /// The elements of a set in the text.
    fn elements(text: &str, name: &str) -> BTreeSet<String> {
        let (_, set) = text.split_once(&format!("set {name} {{")).unwrap();
        let (set, _) = set.split_once("\n\t}").unwrap();
        let list = set.split_once("elements = { ").map_or("", |(_, list)| list);
        let list = list.trim_end_matches(" }").split(", ");
        list.filter(|e| !e.is_empty()).map(str::to_owned).collect()
    }

    fn without_elements(text: &str) -> String {
        let lines = text.lines().filter(|line| !line.contains("elements = "));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_tenant_reaches_its_own_ports_and_what_is_shared() {
        let text = rules([(Some(998), 32300), (None, 32310)]).text();
        let set = |name| elements(&text, name).into_iter().collect::<Vec<_>>();
        assert_eq!(set("ports"), ["32300", "32301", "32310", "32311"]);
        assert_eq!(set("own"), ["998 . 32300", "998 . 32301"]);
        assert_eq!(set("users"), ["998"]);
        assert_eq!(set("proxies"), ["0", "33"]);
        assert_eq!(set("shared"), ["443", "53", "80"]);
        assert_eq!(Owner::of(text.as_bytes()), Some(Owner::Host));
    }

    #[test]
    fn what_the_host_names_is_shared() {
        let url = |text: &str| port_of(&text.parse().unwrap());
        assert_eq!(url("http://127.0.0.1:11434/"), Some(11434));
        assert_eq!(url("http://[::1]:11434"), Some(11434));
        assert_eq!(url("https://ollama.example.org/v1"), None);
    }

    proptest! {
        /// However many tenants there are, the rules are the same, and every
        /// one of them has exactly its own ports.
        #[test]
        fn tenants_are_elements_and_not_rules(uids in prop::collection::btree_set(1u32..70_000, 0..200)) {
            let all = uids.iter().zip(0u16..).map(|(uid, n)| (Some(*uid), 32300 + n * 10));
            let text = rules(all.clone()).text();
            prop_assert_eq!(without_elements(&text), without_elements(&rules([]).text()));
            let own: BTreeSet<String> = all
                .flat_map(|(uid, port)| [(uid, port), (uid, port + 1)])
                .map(|(uid, port)| Pair(uid.unwrap(), port).to_string())
                .collect();
            prop_assert_eq!(elements(&text, "own"), own);
        }
    }
}
