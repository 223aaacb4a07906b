#!/usr/bin/env bash
# Prints where Chromium is, for the test of the API's page; installs Debian's package if
# there is none and this user may.
set -euo pipefail

found() {
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        command -v "$name" && return
    done
    return 1
}

if ! found; then
    if [ "$(id -u)" = 0 ]; then sudo=()
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo=(sudo -n)
    else
        echo "there is no Chromium, and only root can install the package chromium" >&2
        exit 1
    fi
    {
        "${sudo[@]}" apt-get update -q
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends chromium
    } >&2
    found
fi
