#!/usr/bin/env bash
# unpack.sh [--alone] PACKAGE FOLDER: unpacks a package of Debian, with those that it needs and that are not
# installed (alone: without), into a folder. Installed, a server would begin to run; and nobody has to be root.
set -euo pipefail

alone=false
if [ "$1" = --alone ]; then
    alone=true
    shift
fi
package=$1 target=$2
if ! command -v apt-get >/dev/null; then
    echo "there is no apt-get to bring $package" >&2
    exit 1
fi
mkdir -p "$(dirname "$target")"
folder=$(mktemp -d "$target.XXXXXX")
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder"/{state/lists,archives}/partial
# apt with folders of its own.
apt=(apt-get -qy -o "Dir::State=$folder/state" -o Dir::State::status=/var/lib/dpkg/status
     -o "Dir::Cache=$folder" -o APT::Sandbox::User=root -o Debug::NoLocking=true
     -o Acquire::http::Timeout=20 -o Acquire::Retries=2)
{
    "${apt[@]}" update
    if "$alone"; then
        (cd "$folder/archives" && "${apt[@]}" download "$package")
    else
        "${apt[@]}" install --no-install-recommends --download-only "$package"
    fi
    for found in "$folder"/archives/*.deb; do
        dpkg -x "$found" "$folder/unpacked"
    done
} >&2
chmod 755 "$folder/unpacked"
rm -rf "$target"
mv "$folder/unpacked" "$target"
