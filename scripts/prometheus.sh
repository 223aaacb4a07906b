#!/usr/bin/env bash
# Prints where Prometheus, promtool, Alertmanager and amtool are: a folder. What is not installed is unpacked
# from Debian's packages into the cache; each is one program that needs nothing else.
set -euo pipefail
cd "$(dirname "$0")"

cache=${MARQUEE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/marquee}
own=$cache/prometheus

if [ ! -x "$own/amtool" ]; then
    ./unpack.sh --alone prometheus "$own.server"
    ./unpack.sh --alone prometheus-alertmanager "$own.alertmanager"
    made=$(mktemp -d "$own.XXXXXX")
    mv "$own.server"/usr/bin/{prometheus,promtool} "$own.alertmanager"/usr/bin/{prometheus-alertmanager,amtool} "$made"
    chmod 755 "$made"
    rm -rf "$own" "$own.server" "$own.alertmanager"
    mv "$made" "$own"
fi
echo "$own"
