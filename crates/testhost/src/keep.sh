# Keeps a test host until it is to end: keep.sh CGROUP COMMAND...
#
# TERM ends it; the kernel sends that too when the tests die. First everything
# in the host stops at one instant, as with a power cut: nothing in it sees what
# follows. Then its services are killed, a few at a time: each may have dozens
# of seccomp filters, and a kernel that has to free thousands of them at once is
# busy with nothing else for minutes. Then the rest.
#
# Standard input is the lock on the machine's folder: it is held for as long as
# this runs, so that nobody takes the host for a leftover before.
set -uf
cgroup=$1
shift

# How many cgroups are emptied at a time.
batch=8
# The kernel frees filters some time after their process: it gets that time, in
# seconds per batch.
pause=0.02
# What cannot be killed is not waited for longer than this, in hundredths of a
# second per batch.
patience=1000

thin_out() {
    set --
    for leaf in $(find "$cgroup" -depth -type d); do
        case $leaf in
        # Whoever kills the host's first process kills all others with it.
        "$cgroup" | */init.scope | */supervisor) continue ;;
        esac
        # Only one that has processes counts.
        read -r _ <"$leaf/cgroup.procs" || continue
        while read -r pid; do kill -s KILL "$pid"; done <"$leaf/cgroup.procs"
        set -- "$@" "$leaf/cgroup.procs"
        [ $# -ge $batch ] || continue
        await_empty "$@"
        set --
    done
}

await_empty() {
    left=$patience
    for list in "$@"; do
        while [ $left -gt 0 ] && read -r _ <"$list"; do
            sleep 0.01
            left=$((left - 1))
        done
    done
    sleep $pause
}

end() {
    trap '' TERM
    [ -n "${!:-}" ] || exit 0
    # `unshare` ends only after its namespace is empty: its child goes first.
    read -r first <"/proc/$!/task/$!/children"
    if [ -n "$first" ]; then
        nsenter --target "$first" --pid -- sh -c 'kill -s STOP -- -1'
        thin_out
        kill -s KILL "$first"
    else
        kill -s KILL "$!"
    fi
    wait "$!"
    exit 0
}

trap end TERM
setpriv --pdeathsig KILL -- "$@" </dev/null &
wait "$!"
