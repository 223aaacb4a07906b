#!/usr/bin/env bash
# Prints where Prometheus, promtool, Alertmanager, amtool and Redis' exporter are: a folder. What is not installed is
# unpacked from Debian's packages into the cache; each is one program that needs nothing else.
set -euo pipefail
cd "$(dirname "$0")"

cache=${MARQUEE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/marquee}
own=$cache/prometheus

if [ ! -e "$own/prometheus-redis-exporter" ]; then
    # Who comes while another unpacks waits for that.
    mkdir -p "$cache"
    exec 9>"$own.lock"
    flock 9
fi
if [ ! -e "$own/prometheus-redis-exporter" ]; then
    ./unpack.sh --alone prometheus "$own.server"
    ./unpack.sh --alone prometheus-alertmanager "$own.alertmanager"
    ./unpack.sh --alone prometheus-redis-exporter "$own.redis"
    made=$(mktemp -d "$own.XXXXXX")
    mv "$own.server"/usr/bin/{prometheus,promtool} "$own.alertmanager"/usr/bin/{prometheus-alertmanager,amtool} \
        "$own.redis"/usr/bin/prometheus-redis-exporter "$made"
    # Upstream's Alertmanager holds its templates within itself; Debian's reads them from where the package would
    # install them, and takes no configuration without ("failed to parse templates: open /usr/share/prometheus/…").
    # No option names another folder. So the path within the program becomes one of the same length that leads to
    # `observability/` in the folder that it is started in, where `local.servers.observability` puts them.
    mv "$own.alertmanager"/usr/share/prometheus/alertmanager/*.tmpl "$made"
    LC_ALL=C sed -i 's#/usr/share/prometheus/alertmanager#/proc/self/cwd/observability/././.#g' \
        "$made/prometheus-alertmanager"
    chmod 755 "$made"
    # Others may run the programs that were there before: those stay as long as they are open.
    rm -rf "$own" "$own.server" "$own.alertmanager" "$own.redis"
    mv "$made" "$own"
fi
echo "$own"
