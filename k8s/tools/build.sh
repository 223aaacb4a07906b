#!/usr/bin/env bash
# Builds the programs of a Kubernetes cluster for tests, from Go modules that go.mod and go.sum pin, and prints
# the folder that they are in. What is built already costs milliseconds; cold it takes some ten minutes of CPU time
# for Kubernetes, four for the container runtime.
#
#   build.sh [kubernetes] [PROGRAM...]   controlplane, node, kwok, metrics-server
#   build.sh runtime                     containerd, ctr, containerd-shim-runc-v2
#   build.sh pods                        dns, pause: what runs in pods of the cluster's own
#   build.sh policies                    kube-router, for `make test-k8s-full`: enforces network policies
#   build.sh keda                        operator, adapter: KEDA, for the same; some 45 minutes of CPU time
#   build.sh --look …                    builds nothing: fails where something is not built yet
#   build.sh karpenter                   karpenter, with its provider of kwok's nodes: makes nodes and takes them away
set -euo pipefail
cd "$(dirname "$0")"

needs_go=1.26
cache=${MARQUEE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/marquee}
say() { printf 'kubernetes: %s\n' "$*" >&2; }

go=$(command -v go || true)
if [ -z "$go" ] || ! printf '%s\n' "$needs_go" "$("$go" env GOVERSION | sed 's/^go//')" | sort -VC; then
    say "this needs Go $needs_go or newer on PATH"
    exit 1
fi
version=$(sed -n 's,^\tk8s.io/kubernetes \(v.*\),\1,p' go.mod)
minor=${version#v1.}; minor=${minor%%.*}
v=k8s.io/component-base/version w=k8s.io/client-go/pkg/version
flags="-s -w"
module=kubernetes
only_look=""
if [ "${1:-}" = --look ]; then only_look=yes; shift; fi
case ${1:-} in
    kubernetes | runtime | pods | policies | keda | karpenter) module=$1; shift ;;
esac
programs=("$@")
case $module in
    kubernetes)
        digest=$(cat go.mod go.sum controlplane/main.go node/main.go | sha256sum | cut -c1-12)
        out=$cache/kubernetes-$digest
        flags+=" -X $v.gitVersion=$version -X $v.gitMajor=1 -X $v.gitMinor=$minor -X $v.gitTreeState=clean"
        flags+=" -X $w.gitVersion=$version"
        [ $# -gt 0 ] || programs=(controlplane node kwok metrics-server)
        ;;
    *)
        cd "$module"
        digest=$(find . -name 'go.*' -o -name '*.go' | LC_ALL=C sort | xargs cat | sha256sum | cut -c1-12)
        out=$cache/kubernetes-$module-$digest
        [ $# -gt 0 ] || case $module in
            runtime) programs=(containerd ctr containerd-shim-runc-v2) ;;
            pods) programs=(dns pause) ;;
            policies) programs=(kube-router) ;;
            keda) programs=(operator adapter) ;;
            karpenter) programs=(karpenter) ;;
        esac
        ;;
esac
if [ -n "$only_look" ]; then
    for each in "${programs[@]}"; do [ -x "$out/$each" ] || exit 1; done
    printf '%s\n' "$out"
    exit
fi
mkdir -p "$out"
for each in "${programs[@]}"; do
    [ -x "$out/$each" ] && continue
    case $each in
        controlplane | node | dns | pause) package=./$each ;;
        kwok) package=sigs.k8s.io/kwok/cmd/kwok ;;
        metrics-server) package=sigs.k8s.io/metrics-server/cmd/metrics-server ;;
        containerd | ctr | containerd-shim-runc-v2) package=github.com/containerd/containerd/v2/cmd/$each ;;
        kube-router) package=github.com/cloudnativelabs/kube-router/v2/cmd/kube-router ;;
        operator | adapter) package=github.com/kedacore/keda/v2/cmd/$each ;;
        karpenter) package=sigs.k8s.io/karpenter/kwok ;;
        *) say "there is no program $each"; exit 2 ;;
    esac
    say "building $each"
    CGO_ENABLED=0 nice -n 10 "$go" build -trimpath -ldflags "$flags" -o "$out/$each.$$" "$package"
    mv "$out/$each.$$" "$out/$each"
done
printf '%s\n' "$out"
