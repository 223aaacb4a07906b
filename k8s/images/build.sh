#!/usr/bin/env bash
# Builds the images of this checkout, or those that are named: `k8s/images/build.sh [TAG [IMAGE...]]`.
#
# With Docker where there is an engine, else with buildah, which needs none. Where no image registry can
# be reached, or with MARQUEE_BASE=debootstrap, the base image is made here, by mmdebstrap from Debian's
# packages, under the name that the Dockerfile uses. Prints the size of each image.
set -euo pipefail
cd "$(dirname "$0")/../.."

tag=${1:-dev}
images=("${@:2}")
[ ${#images[@]} -gt 0 ] || images=(marquee marquee-edge marquee-stores)
base=docker.io/library/debian:trixie-slim
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
# Of the last commit, so that the same commit makes the same files.
epoch=$(git log -1 --format=%ct 2>/dev/null || echo 0)
arguments=(--file k8s/images/Dockerfile --build-arg "SOURCE_DATE_EPOCH=$epoch"
           --build-arg "VERSION=$tag" --build-arg "REVISION=$revision")

say() { printf 'images: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

if docker version >/dev/null 2>&1; then
    for image in "${images[@]}"; do
        say "building $image:$tag with Docker"
        docker build -q "${arguments[@]}" --target "$image" --tag "localhost/$image:$tag" .
    done
    docker images --format '{{.Repository}}:{{.Tag}} {{.Size}}' | grep "^localhost/marquee"
    exit
fi

command -v buildah >/dev/null || fail "there is neither a Docker engine nor buildah: apt-get install buildah"
own=(--isolation "${MARQUEE_BUILD_ISOLATION:-chroot}")

# What this machine needs to reach its package registries goes into the build, and not into the image.
for mine in /etc/ssl/certs /etc/pip.conf "${XDG_CONFIG_HOME:-$HOME/.config}/pip/pip.conf" "$HOME/.npmrc"; do
    [ -e "$mine" ] || continue
    case $mine in
        */pip.conf) own+=(--volume "$mine:/etc/pip.conf:ro") ;;
        */.npmrc) own+=(--volume "$mine:/etc/npmrc:ro") ;;
        *) own+=(--volume "$mine:$mine:ro") ;;
    esac
done

make_base() {
    local work keyring
    command -v mmdebstrap >/dev/null || fail "to make the base image here: apt-get install mmdebstrap"
    work=$(mktemp -d)
    say "making $base from Debian's packages"
    # The mirror that this machine's own packages come from.
    mirror=$(apt-get indextargets --format '$(BASE_URI)' 2>/dev/null | sed -n 's,/dists/.*,,; s,/*$,,; /^http/{p;q}')
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    mmdebstrap -q --variant=minbase --include=ca-certificates \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --customize-hook='rm -rf "$1"/var/cache/* "$1"/var/log/* "$1"/var/lib/apt/lists/*' \
        trixie "$work/base.tar" "deb [signed-by=$keyring] $mirror trixie main"
    container=$(buildah from scratch)
    buildah add -q "$container" "$work/base.tar" / >/dev/null
    buildah config --cmd /bin/bash "$container"
    buildah commit -q --rm "$container" "$base" >/dev/null
    rm -r "$work"
}

if ! buildah inspect --type image "$base" >/dev/null 2>&1; then
    if [ "${MARQUEE_BASE:-}" = debootstrap ] || ! timeout 60 buildah pull -q "$base" >/dev/null 2>&1; then
        make_base
    fi
fi
for image in "${images[@]}"; do
    say "building $image:$tag with buildah"
    buildah build -q --layers "${own[@]}" "${arguments[@]}" --target "$image" --tag "localhost/$image:$tag" . >/dev/null
    size=$(buildah images --format '{{.Size}}' "localhost/$image:$tag")
    printf '%s:%s %s\n' "$image" "$tag" "$size"
done
