#!/bin/sh
# Assembles a release folder from built programs:
#
#   make-release.sh VERSION OUT_DIR BIN_DIR LIB
#
# VERSION  the release's version, for example v0.2.0
# OUT_DIR  the folder to make; it must not exist yet
# BIN_DIR  the folder with cbapp-api and cbapp-frontend
# LIB      DuckDB's shared library, libduckdb.so
#
# Version v0.N.x ships the migrations 0001 to N, every version from v1.0.0 all
# of them. The folder is complete or absent: it is built beside and renamed.
set -eu

fail() {
    echo "make-release.sh: $*" >&2
    exit 1
}

[ $# -eq 4 ] || fail "usage: make-release.sh VERSION OUT_DIR BIN_DIR LIB"
version=$1 out=${2%/} bin=$3 lib=$4
migrations=$(dirname "$0")/migrations

echo "$version" | grep -Eq '^v(0|[1-9][0-9]{0,3})(\.(0|[1-9][0-9]{0,3})){2}$' ||
    fail "VERSION is '$version'; it must look like v0.1.0"
[ ! -e "$out" ] || fail "$out exists already; a release is never changed"
[ -f "$lib" ] || fail "there is no DuckDB library $lib"
for program in cbapp-api cbapp-frontend; do
    [ -x "$bin/$program" ] || fail "there is no program $bin/$program; build cbapp first"
done

major=$(echo "${version#v}" | cut -d. -f1)
minor=$(echo "${version#v}" | cut -d. -f2)
[ "$major" -eq 0 ] || minor=9999

mkdir -p "$(dirname "$out")"
part=$(mktemp -d "$out.XXXXXX")
trap 'rm -rf "$part"' EXIT
chmod 755 "$part"
mkdir "$part/bin" "$part/lib" "$part/migrations"
install -m 755 "$bin/cbapp-api" "$bin/cbapp-frontend" "$part/bin/"
install -m 755 "$lib" "$part/lib/libduckdb.so"
for file in "$migrations"/*.sql; do
    number=$(basename "$file" | cut -d_ -f1 | sed 's/^0*//')
    [ "$number" -gt "$minor" ] || install -m 644 "$file" "$part/migrations/"
done
echo "$version" >"$part/VERSION"
chmod 644 "$part/VERSION"
# Never moves into a folder that appeared meanwhile.
mv -T "$part" "$out"
trap - EXIT
