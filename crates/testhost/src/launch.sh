# Boots a test host: launch.sh FOLDER ROOTFS DISK CGROUPS NSPAWN_OPTION...
#
# Runs in a PID and a mount namespace of its own, so that everything here, the
# mounts too, ends with it. DISK is `keep` if what the host writes must survive
# its next boot.
set -eu
folder=$1 rootfs=$2 disk=$3 cgroups=$4
shift 4
for cgroup in $cgroups; do
    echo 0 >"$cgroup/cgroup.procs"
done
[ "$disk" = keep ] || mount -t tmpfs -o mode=755 tmpfs "$folder/disk"
mkdir -p "$folder/disk/upper" "$folder/disk/work"
mount -t overlay -o "lowerdir=$rootfs,upperdir=$folder/disk/upper,workdir=$folder/disk/work" \
    overlay "$folder/root"
# fanotify is as root has it on a server; nspawn alone would refuse it.
exec systemd-nspawn --quiet --register=no --keep-unit --private-network \
    --system-call-filter='fanotify_init fanotify_mark' \
    --link-journal=no --resolv-conf=off --timezone=off \
    --console=pipe --notify-ready=yes --directory="$folder/root" "$@" --boot
