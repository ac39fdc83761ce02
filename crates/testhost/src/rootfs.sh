# Builds the root file system of the test hosts: rootfs.sh FOLDER SUITE MIRROR
#
# A change of this file makes a new root file system: its hash names the folder.
set -eu
root=$1 suite=$2 mirror=$3
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

packages=systemd,systemd-sysv,dbus,nginx-light,nftables,iproute2,curl,procps,git
# What scrapes and gets alerts in tests; a test starts them itself.
packages=$packages,prometheus,prometheus-alertmanager
# A client of the API, a server of certificates, keys for secrets, a file system
# with quotas, and a server of repositories; a test starts what it needs itself.
packages=$packages,kubernetes-client,pebble,age,xfsprogs,openssh-server
# The shells whose completion is tested.
packages=$packages,zsh,fish
debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$mirror"
rm -f "$root"/etc/systemd/system/multi-user.target.wants/prometheus*.service
rm -f "$root"/etc/systemd/system/*.wants/xfs_scrub* \
    "$root"/etc/systemd/system/*.wants/ssh.service "$root"/etc/systemd/system/sshd.service

# The newer kubectl beside the release's own, which is years older: people have
# either. It comes with its release's signature, and is pinned besides.
kubectl=1.32.3+ds-2
sha256=9825aaf4c14913027aae04af8688e580459f781c829bd5de00cc4dc2cc5a867f
apt=$(mktemp -d)
trap 'rm -rf "$apt"' EXIT
chmod 755 "$apt"
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
printf 'deb [signed-by=%s] %s trixie main\n' /usr/share/keyrings/debian-archive-keyring.gpg \
    "${mirror:-http://deb.debian.org/debian}" >"$apt/sources.list"
newer() {
    apt-get -q -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt/cache" \
        -o APT::Sandbox::User=root -o Acquire::Languages=none "$@"
}
newer update
(cd "$apt" && newer download "kubectl=$kubectl")
echo "$sha256  $(echo "$apt"/kubectl_*.deb)" | sha256sum -c
dpkg-deb --fsys-tarfile "$apt"/kubectl_*.deb | tar -xO ./usr/bin/kubectl \
    >"$root/usr/local/bin/kubectl-1.32"
chmod 755 "$root/usr/local/bin/kubectl-1.32"

# Nothing here is needed to run.
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* \
    "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/locale/*

# debootstrap copies these from the machine it runs on; the host's name is
# nspawn's to set, and it has no network to ask names of.
rm -f "$root/etc/hostname" "$root/etc/resolv.conf"

# Without an id, every boot would be a first boot and enable units by preset.
tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"

# Nobody logs in, and no timer may run in the middle of a test.
for unit in systemd-logind.service systemd-user-sessions.service \
    systemd-update-utmp.service systemd-update-utmp-runlevel.service \
    console-getty.service getty.target systemd-networkd.service \
    systemd-networkd-wait-online.service systemd-resolved.service \
    systemd-timesyncd.service apt-daily.timer apt-daily-upgrade.timer \
    dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    systemd-tmpfiles-clean.timer; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done

# A thousand services may start at once, and tests read what they say.
mkdir -p "$root/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n' \
    >"$root/etc/systemd/journald.conf.d/test.conf"
