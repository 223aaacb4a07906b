#!/usr/bin/env bash
# Prints where Prometheus, promtool, Alertmanager and amtool are: a folder. What is not installed is unpacked
# from Debian's packages into the cache; each is one program that needs nothing else.
set -euo pipefail
cd "$(dirname "$0")"

cache=${MARQUEE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/marquee}
own=$cache/prometheus

if [ ! -e "$own/default.tmpl" ]; then
    ./unpack.sh --alone prometheus "$own.server"
    ./unpack.sh --alone prometheus-alertmanager "$own.alertmanager"
    made=$(mktemp -d "$own.XXXXXX")
    mv "$own.server"/usr/bin/{prometheus,promtool} "$own.alertmanager"/usr/bin/{prometheus-alertmanager,amtool} "$made"
    # Debian's Alertmanager reads its templates from where the package would install them. Here it reads them
    # from `observability/` in the folder that it is started in: a path of the same length.
    mv "$own.alertmanager"/usr/share/prometheus/alertmanager/*.tmpl "$made"
    LC_ALL=C sed -i 's#/usr/share/prometheus/alertmanager#/proc/self/cwd/observability/././.#g' \
        "$made/prometheus-alertmanager"
    chmod 755 "$made"
    rm -rf "$own" "$own.server" "$own.alertmanager"
    mv "$made" "$own"
fi
echo "$own"
