#!/usr/bin/env bash
# Prints where PgBouncer is, for the test of what stands behind it. If there is none, Debian's
# package is unpacked into the cache, with the libraries that are not here: installed, it would
# begin to run.
set -euo pipefail

cache=${MARQUEE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/marquee}
own=$cache/pgbouncer

PATH=$PATH:/usr/sbin command -v pgbouncer && exit
if [ ! -x "$own/pgbouncer" ]; then
    if ! command -v apt-get >/dev/null; then
        echo "there is no pgbouncer, and no apt-get to bring it" >&2
        exit 1
    fi
    mkdir -p "$cache"
    folder=$(mktemp -d "$cache/pgbouncer.XXXXXX")
    trap 'rm -rf "$folder"' EXIT
    mkdir -p "$folder"/{state/lists,archives}/partial
    # apt with folders of its own, so that nobody has to be root.
    apt=(apt-get -qy -o "Dir::State=$folder/state" -o Dir::State::status=/var/lib/dpkg/status
         -o "Dir::Cache=$folder" -o APT::Sandbox::User=root -o Debug::NoLocking=true
         -o Acquire::http::Timeout=20 -o Acquire::Retries=2)
    {
        "${apt[@]}" update
        "${apt[@]}" install --no-install-recommends --download-only pgbouncer
        for package in "$folder"/archives/*.deb; do
            dpkg -x "$package" "$folder/unpacked"
        done
    } >&2
    cat >"$folder/unpacked/pgbouncer" <<'RUN'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
LD_LIBRARY_PATH=$(echo "$here"/usr/lib/*-linux-gnu | tr ' ' :) exec "$here/usr/sbin/pgbouncer" "$@"
RUN
    chmod 755 "$folder/unpacked" "$folder/unpacked/pgbouncer"
    rm -rf "$own"
    mv "$folder/unpacked" "$own"
fi
echo "$own/pgbouncer"
