#!/usr/bin/env bash
# Makes k8s/observability/rules/slos.yaml from the objectives in ../slos, with sloth, which Go builds once.
# rules.sh FILE: writes there instead.
set -euo pipefail
cd "$(dirname "$0")/.."

version=v0.16.0
objectives=k8s/observability/slos/marquee.yaml
target=${1:-k8s/observability/rules/slos.yaml}
cache=${MARQUEE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/marquee}
sloth=$cache/sloth-$version/sloth

if [ ! -x "$sloth" ]; then
    if ! command -v go >/dev/null; then
        echo "there is no Go to build sloth with" >&2
        exit 1
    fi
    echo "building sloth $version, once: some minutes" >&2
    GOBIN=$(dirname "$sloth") go install "github.com/slok/sloth/cmd/sloth@$version" >&2
fi
made=$(mktemp "$target.XXXXXX")
trap 'rm -f "$made"' EXIT
"$sloth" generate --no-log -i "$objectives" -o "$made" 2>/dev/null
# Without Go, a test sees by this whether the objectives have changed since.
echo "# made from objectives of SHA-256 $(sha256sum "$objectives" | cut -d ' ' -f 1)" >>"$made"
chmod 644 "$made"
mv "$made" "$target"
