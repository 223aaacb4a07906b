#!/usr/bin/env bash
# Prints where PgBouncer is, for the test of what stands behind it. If there is none, Debian's
# package is unpacked into the cache.
set -euo pipefail
cd "$(dirname "$0")"

cache=${MARQUEE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/marquee}
own=$cache/pgbouncer

PATH=$PATH:/usr/sbin command -v pgbouncer && exit
if [ ! -x "$own/pgbouncer" ]; then
    # Who comes while another unpacks waits for that.
    mkdir -p "$cache"
    exec 9>"$own.lock"
    flock 9
fi
if [ ! -x "$own/pgbouncer" ]; then
    ./unpack.sh pgbouncer "$own"
    cat >"$own/pgbouncer.$$" <<'RUN'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
LD_LIBRARY_PATH=$(echo "$here"/usr/lib/*-linux-gnu | tr ' ' :) exec "$here/usr/sbin/pgbouncer" "$@"
RUN
    chmod 755 "$own/pgbouncer.$$"
    mv "$own/pgbouncer.$$" "$own/pgbouncer"
fi
echo "$own/pgbouncer"
