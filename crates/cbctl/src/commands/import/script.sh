
# Nothing below is this tenant's own. A run that was cut off is undone by the
# next one, from what is on the disk.
work=$state/set-aside/$tenant.moving
kept=$state/set-aside/$tenant.before-import

say() { echo "$tenant: $*" >&2; }

# Moves a file or folder: there are never two of them to write to. Between file
# systems it is copied from under another name, and compared.
move() { # FROM TO
    [ -e "$1" ] || return 0
    stat -c '%u:%g %a' "$1" >"$work/was.$(basename "$2")"
    if [ "$(stat -c %d "$1")" = "$(stat -c %d "$(dirname "$2")")" ]; then
        mv -T "$1" "$2"
    else
        mv -T "$1" "$1.before-import"
        cp -a "$1.before-import" "$2.part"
        diff -r "$1.before-import" "$2.part" >&2
        sync
        mv -T "$2.part" "$2"
    fi
}

# Has it where it was.
move_back() { # FROM TO
    if [ -e "$1.before-import" ]; then
        rm -rf "$2.part" "$2"
        mv -T "$1.before-import" "$1"
    elif [ -e "$2" ] && [ ! -e "$1" ]; then
        mv -T "$2" "$1"
    fi
    was=$work/was.$(basename "$2")
    if [ -e "$was" ] && [ -e "$1" ]; then
        read -r owner mode <"$was"
        chown -R "$owner" "$1"
        chmod "$mode" "$1"
    fi
}

undo() {
    set +e
    say "putting everything back as it was"
    systemctl stop $units
    if [ -n "$database_from" ]; then
        move_back "$database_from" "$database_to"
        move_back "$database_from.wal" "$database_to.wal"
    fi
    if [ -n "$uploads_from" ]; then move_back "$uploads_from" "$uploads_to"; fi
    n=0
    for file in $files; do
        n=$((n + 1))
        if [ -e "$work/file.$n" ]; then cat "$work/file.$n" >"$file"; fi
    done
    systemctl daemon-reload
    for unit in $(cat "$work/enabled"); do systemctl --quiet enable "$unit"; done
    systemctl start $units && rm -rf "$work" && say "the services run as before"
}

free() { # PATH
    if [ -n "$(ls -A "$1" 2>/dev/null)" ]; then
        say "$1 is there already; look what it is, and move it away"
        exit 1
    fi
}

[ "$(id -u)" = 0 ] || { say "run this as root"; exit 1; }
if [ -d "$work" ]; then
    say "an earlier run was cut off"
    undo
    set -e
fi
if [ -e "$kept" ]; then
    say "$kept is there: this was done already"
    exit 1
fi
if [ -n "$database_from" ]; then free "$database_to"; free "$database_to.wal"; fi
if [ -n "$uploads_from" ]; then free "$uploads_to"; fi

# While the services go on: the user, the folders, the release.
umask 022
getent passwd "$user" >/dev/null ||
    useradd --system --user-group --no-create-home --home-dir "$data" --shell /usr/sbin/nologin "$user"
install -d -m 711 "$state" "$state/tenants" "$data"
install -d -m 700 -o "$user" -g "$user" "$data/db" "$data/uploads"
if [ -n "$release_from" ] && [ ! -e "$release_to" ]; then
    install -d -m 755 "$state/releases" "$(dirname "$release_to")"
    rm -rf "$release_to.part"
    cp -a "$release_from" "$release_to.part"
    chown -R root:root "$release_to.part"
    chmod -R u=rwX,go=rX "$release_to.part"
    mv -T "$release_to.part" "$release_to"
fi

# What has to be known to undo it is on the disk before anything is changed.
umask 077
mkdir -p "$state/set-aside"
rm -rf "$work.part"
mkdir "$work.part"
n=0
for file in $files; do
    n=$((n + 1))
    cat "$file" >"$work.part/file.$n"
done
for unit in $units; do
    if systemctl --quiet is-enabled "$unit"; then echo "$unit"; fi
done >"$work.part/enabled"
sync
mv -T "$work.part" "$work"
trap 'undo; exit 1' EXIT
trap 'exit 1' HUP INT TERM

# Disabled too, so that a restart of the machine starts nothing half moved.
say "stopping its services"
systemctl stop $units
systemctl --quiet disable $units
if [ -n "$database_from" ]; then
    if find /proc/[0-9]*/fd -lname "$database_from" 2>/dev/null | grep . >&2; then
        say "another process has $database_from open; stop it first"
        exit 1
    fi
    move "$database_from" "$database_to"
    move "$database_from.wal" "$database_to.wal"
fi
if [ -n "$uploads_from" ]; then
    rmdir "$uploads_to"
    move "$uploads_from" "$uploads_to"
fi
install -d -m 700 "$data/db" "$data/uploads"
chown -R "$user:$user" "$data/db" "$data/uploads"
for file in $files; do
    case $file in
    *.service) unit_changes "$file" >"$work/new" ;;
    *) path_changes "$file" >"$work/new" ;;
    esac
    cat "$work/new" >"$file"
    rm "$work/new"
done
systemctl daemon-reload
for unit in $(cat "$work/enabled"); do systemctl --quiet enable "$unit"; done
systemctl start $units

say "waiting for its services"
for port in $ports; do
    n=0
    while ! ss -Hltn "sport = :$port" | grep -q .; do
        n=$((n + 1))
        if [ "$n" = 60 ]; then
            say "nothing listens on port $port; systemctl status tells more"
            exit 1
        fi
        sleep 0.5
    done
    if [ -n "$health" ] && command -v curl >/dev/null; then
        curl -fsS -o /dev/null --retry 10 --retry-delay 1 --retry-connrefused "http://127.0.0.1:$port$health"
    fi
done
systemctl is-active $units >/dev/null
trap - EXIT
mv -T "$work" "$kept"
say "it is where the operator has it, and its files from before are in $kept"
for moved in "$database_from.before-import" "$uploads_from.before-import"; do
    if [ -e "$moved" ]; then say "$moved is a copy from before; remove it when all is well"; fi
done
say "now take it over: cbctl import --adopt $tenant, with the options as before"
