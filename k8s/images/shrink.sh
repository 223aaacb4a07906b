#!/bin/sh
# Takes out of a virtual environment what nothing runs: sources of extension modules, type stubs of
# libraries, tests, debug symbols; and compiles all to bytecode that does not depend on the time of the build.
# Usage: shrink.sh VENV
set -eu
venv=$1
packages=$(echo "$venv"/lib/python3*/site-packages)

find "$packages" \( -name '*.pyx' -o -name '*.pxd' -o -name '*.pyi' -o -name '*.c' -o -name '*.cpp' -o -name '*.h' \
    -o -name '*.cc' \) -type f -delete
find "$packages" -depth -type d \( -name tests -o -name test \) -exec rm -rf {} +
# Records of what pip installed stay (an SBOM is made from them); its cache of where it came from does not.
find "$packages" -name direct_url.json -delete
command -v strip >/dev/null && find "$venv" -name '*.so*' -type f -exec strip --strip-unneeded {} + 2>/dev/null || true
find "$venv" -depth -name __pycache__ -exec rm -rf {} +
"$venv/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash "$venv/lib" "$venv/app"
find "$venv" -exec touch -h -d "@${SOURCE_DATE_EPOCH:-0}" {} +
