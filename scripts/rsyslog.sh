#!/usr/bin/env bash
# Prints where rsyslog with its module for Elasticsearch's protocol is. If the module is not installed, Debian's
# packages are unpacked into the cache: a logger of the machine itself must not begin to run.
set -euo pipefail
cd "$(dirname "$0")"

cache=${MARQUEE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/marquee}
own=$cache/rsyslog

if compgen -G '/usr/lib/*-linux-gnu/rsyslog/omelasticsearch.so' >/dev/null && PATH=$PATH:/usr/sbin command -v rsyslogd; then
    exit
fi
if [ ! -x "$own/rsyslogd" ]; then
    # Who comes while another unpacks waits for that.
    mkdir -p "$cache"
    exec 9>"$own.lock"
    flock 9
fi
if [ ! -x "$own/rsyslogd" ]; then
    ./unpack.sh rsyslog-elasticsearch "$own"
    cat >"$own/rsyslogd.$$" <<'RUN'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
program=$here/usr/sbin/rsyslogd
[ -x "$program" ] || program=$(PATH=$PATH:/usr/sbin command -v rsyslogd)
libraries=$(echo "$here"/usr/lib/*-linux-gnu "$here"/lib/*-linux-gnu | tr ' ' :)
modules=$(echo "$here"/usr/lib/*-linux-gnu/rsyslog /usr/lib/*-linux-gnu/rsyslog | tr ' ' :)
LD_LIBRARY_PATH=$libraries exec "$program" -M "$modules" "$@"
RUN
    chmod 755 "$own/rsyslogd.$$"
    mv "$own/rsyslogd.$$" "$own/rsyslogd"
fi
echo "$own/rsyslogd"
