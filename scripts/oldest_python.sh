#!/usr/bin/env bash
# Runs lint and units with the oldest Python on PATH that the README promises, in an environment of
# its own; where the first one is the oldest, `make lint test-unit` has done so already. Debian's own
# Python gets no new APIs of its series' later releases: what they added must not be used.
set -euo pipefail
cd "$(dirname "$0")/.."

version() { "$1" -c 'import sys; sys.version_info < (3, 11) or print(*sys.version_info[:3], sep=".")' 2>/dev/null || true; }

first=$(version "${PYTHON:-python3}")
oldest=$(for python in $(type -aP python3 python3.11 python3.12 python3.13 python3.14); do
    found=$(version "$python")
    [ -z "$found" ] || printf '%s %s\n' "$found" "$python"
done | sort -V | head -n 1)
if [ -z "$oldest" ] || [ "${oldest% *}" = "$first" ]; then
    echo "the oldest Python on PATH is the first one: $first"
    exit
fi
echo "with ${oldest#* }, Python ${oldest% *}:"
exec make PYTHON="${oldest#* }" MARQUEE_VENV=.venv-oldest lint test-unit
