#!/usr/bin/env bash
# Builds the programs of a Kubernetes cluster for tests, from Go modules that go.mod and go.sum pin, and prints
# the folder that they are in. What is built already costs milliseconds; cold it takes some ten minutes of CPU time.
# Usage: build.sh [controlplane] [node] [kwok] [metrics-server]     (all, if none is named)
set -euo pipefail
cd "$(dirname "$0")"

needs_go=1.26
cache=${MARQUEE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/marquee}
digest=$(cat go.mod go.sum ./*/main.go | sha256sum | cut -c1-12)
out=$cache/kubernetes-$digest
say() { printf 'kubernetes: %s\n' "$*" >&2; }

go=$(command -v go || true)
if [ -z "$go" ] || ! printf '%s\n' "$needs_go" "$("$go" env GOVERSION | sed 's/^go//')" | sort -VC; then
    say "this needs Go $needs_go or newer on PATH"
    exit 1
fi
version=$(sed -n 's,^\tk8s.io/kubernetes \(v.*\),\1,p' go.mod)
minor=${version#v1.}; minor=${minor%%.*}
v=k8s.io/component-base/version w=k8s.io/client-go/pkg/version
flags="-s -w -X $v.gitVersion=$version -X $v.gitMajor=1 -X $v.gitMinor=$minor -X $v.gitTreeState=clean -X $w.gitVersion=$version"
mkdir -p "$out"
for name in "${@:-controlplane node kwok metrics-server}"; do
    for each in $name; do
        [ -x "$out/$each" ] && continue
        case $each in
            controlplane | node) package=./$each ;;
            kwok) package=sigs.k8s.io/kwok/cmd/kwok ;;
            metrics-server) package=sigs.k8s.io/metrics-server/cmd/metrics-server ;;
            *) say "there is no program $each"; exit 2 ;;
        esac
        say "building $each"
        CGO_ENABLED=0 nice -n 10 "$go" build -trimpath -ldflags "$flags" -o "$out/$each.$$" "$package"
        mv "$out/$each.$$" "$out/$each"
    done
done
printf '%s\n' "$out"
