#!/usr/bin/env bash
# Makes targets on a bare Debian: python3, make, CA certificates, nothing else; a clean clone of HEAD.
#
#     scripts/bare-debian.sh 12|13 root|user TARGET…
#
# Needs root and the package mmdebstrap. The system is a folder below TMPDIR, deleted at the end; its
# mounts and processes are in namespaces of its own, and end with it. It shares the machine's network:
# MARQUEE_EDGE_PORT, if the default is taken. MARQUEE_DATA is there too, read-only.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'bare-debian: %s\n' "$*" >&2; }
fail() { say "$*"; exit 2; }

declare -A suites=([12]=bookworm [13]=trixie)
suite=${suites[${1:-}]:-} who=${2:-}
[ -n "$suite" ] && [[ $who =~ ^(root|user)$ ]] && [ $# -ge 3 ] || fail "use: scripts/bare-debian.sh 12|13 root|user TARGET…"
[ "$(id -u)" = 0 ] || fail "only root can make and enter another system"
command -v mmdebstrap >/dev/null || fail "there is no mmdebstrap: apt-get install mmdebstrap"

if [ -z "${BARE_DEBIAN_ALONE:-}" ]; then
    # Mounts and processes below here end with this one command, however it ends.
    BARE_DEBIAN_ALONE=1 exec unshare --mount --pid --fork --kill-child --mount-proc "$0" "$@"
fi
shift 2

cache=${MARQUEE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/marquee}
archive=$cache/debian-$suite.tar
data=${MARQUEE_DATA:-../shared/data}
system=$(mktemp -d "${TMPDIR:-/tmp}/bare-debian-$suite-$who.XXXXXX")
# --one-file-system: what is still mounted below is never deleted.
trap 'umount -R -l "$system" 2>/dev/null; rm -rf --one-file-system "$system"' EXIT

if [ ! -s "$archive" ]; then
    say "fetching Debian $suite"
    mkdir -p "$cache"
    mmdebstrap -q --variant=minbase --include=python3,make,ca-certificates "$suite" "$archive.$$.tar"
    mv "$archive.$$.tar" "$archive"
fi
# A mount of its own, as a machine's root is: Java looks for the mount that a file is on.
mount --bind "$system" "$system"
tar -x -C "$system" -f "$archive" --exclude './dev/*'

for kind in proc sys dev; do mount --rbind "/$kind" "$system/$kind"; done
mount --make-rslave "$system/dev"
mount -t tmpfs -o mode=1777 shm "$system/dev/shm"
if [ -d "$data" ]; then
    mkdir -p "$system/srv/data"
    mount --bind "$data" "$system/srv/data"
    mount -o remount,bind,ro "$system/srv/data"
fi

# How this machine reaches the registries.
cp /etc/resolv.conf /etc/hosts "$system/etc/"
for file in /etc/pip.conf /etc/npmrc; do [ ! -e "$file" ] || cp "$file" "$system/etc/"; done
cp -r /usr/local/share/ca-certificates "$system/usr/local/share/" 2>/dev/null || true
env -u TMPDIR chroot "$system" update-ca-certificates >/dev/null 2>&1 || fail "the certificates of this machine can't be installed there"
kept='^(PIP_(CERT|INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|PROXY|DEFAULT_TIMEOUT)|.*_(proxy|PROXY)|npm_config_.*'
kept+='|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|NODE_EXTRA_CA_CERTS|GOPROXY|MARQUEE_EDGE_PORT|CI)='
mapfile -t environment < <(env | grep -E "$kept")

id=0 home=/root
if [ "$who" = user ]; then
    id=1000 home=/home/user
    chroot "$system" useradd --create-home --uid "$id" user
fi
git clone -q --no-hardlinks . "$system$home/marquee"
chown -R "$id:$id" "$system$home/marquee"

say "Debian $(cat "$system/etc/debian_version"), $(chroot "$system" python3 --version), as $who: make $*"
chroot --userspec="$id:$id" "$system" env -i HOME="$home" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    MARQUEE_DATA=/srv/data "${environment[@]}" \
    sh -c 'cd ~/marquee && make "$@"; code=$?; [ ! -x .venv/bin/marquee ] || .venv/bin/marquee down; exit $code' make "$@"
say "Debian $suite as $who: passed: $*"
