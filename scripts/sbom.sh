#!/usr/bin/env bash
# Writes what each image is made of to dist/sbom/IMAGE.cdx.json (CycloneDX), from the image itself:
# `scripts/sbom.sh [TAG [IMAGE...]]`. Needs Go, which builds syft once.
set -euo pipefail
cd "$(dirname "$0")/.."

tag=${1:-dev}
images=("${@:2}")
[ ${#images[@]} -gt 0 ] || images=(marquee marquee-edge marquee-stores)
version=v1.57.1
cache=${MARQUEE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/marquee}
syft=$cache/syft-$version/syft
say() { printf 'sbom: %s\n' "$*" >&2; }

if [ ! -x "$syft" ]; then
    command -v go >/dev/null || { say "this needs Go on PATH"; exit 1; }
    say "building syft $version"
    GOBIN=$(dirname "$syft") CGO_ENABLED=0 nice -n 10 go install -ldflags '-s -w' "github.com/anchore/syft/cmd/syft@$version"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p dist/sbom
for image in "${images[@]}"; do
    reference=localhost/$image:$tag
    if docker version >/dev/null 2>&1; then
        docker save --output "$work/$image.tar" "$reference"
    else
        buildah push --quiet "$reference" "docker-archive:$work/$image.tar:$reference"
    fi
    SYFT_CHECK_FOR_APP_UPDATE=false "$syft" scan --quiet --source-name "$image" --source-version "$tag" \
        --output "cyclonedx-json=dist/sbom/$image.cdx.json" "docker-archive:$work/$image.tar"
    rm "$work/$image.tar"
    # All of it is one line, and files that belong to no package are in it too.
    count=$(grep -o '"purl":"pkg:' "dist/sbom/$image.cdx.json" | wc -l)
    printf '%s %s packages\n' "dist/sbom/$image.cdx.json" "$count"
done
