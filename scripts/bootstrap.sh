#!/usr/bin/env bash
# Makes .venv (or MARQUEE_VENV) with all that Marquee needs, from a bare Debian with Python 3.11
# or newer; run again, it does only what has changed since (nothing: milliseconds).
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
venv=${MARQUEE_VENV:-.venv}
stamps=$venv/.marquee

say() { printf 'bootstrap: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo -n "$@"
    else return 1
    fi
}

make_venv() {
    command -v "$python" >/dev/null || fail "there is no $python: install Python 3.11 or newer, or name one with PYTHON=…"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
        || fail "$("$python" --version) is too old: Marquee needs Python 3.11 or newer; name one with PYTHON=…"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        say "$python can't make virtual environments by itself"
        if command -v apt-get >/dev/null && as_root true; then
            say "installing Debian's package python3-venv"
            as_root apt-get update -q >/dev/null \
                && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends python3-venv >/dev/null \
                || say "python3-venv can't be installed"
        fi
    fi
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        "$python" -m venv "$venv"
    elif "$python" -m virtualenv --version >/dev/null 2>&1; then
        "$python" -m virtualenv -q "$venv"
    elif "$python" -m pip --version >/dev/null 2>&1; then
        say "installing virtualenv for this user"
        "$python" -m pip install -q --user --break-system-packages --no-warn-script-location virtualenv
        "$python" -m virtualenv -q "$venv"
    elif command -v apt-get >/dev/null && pip=$(unpack_pip); then
        "$python" -m venv --without-pip "$venv"
        "$venv/bin/python" "$pip/pip" install -q --disable-pip-version-check pip
        rm -r "$(dirname "$pip")"
    else
        fail "this Python has no venv and no pip: install python3-venv (as root: apt-get install python3-venv)"
    fi
}

# Debian's wheel of pip, without being root: apt with folders of its own. Prints where the wheel is.
unpack_pip() {
    local folder own
    folder=$(mktemp -d)
    own=(-q -o "Dir::State=$folder" -o "Dir::Cache=$folder" -o "Dir::State::status=/var/lib/dpkg/status")
    say "fetching pip from Debian's package python3-pip-whl"
    mkdir -p "$folder/lists/partial"
    (cd "$folder" && apt-get "${own[@]}" update && apt-get "${own[@]}" download python3-pip-whl \
        && dpkg -x python3-pip-whl_*.deb unpacked) >/dev/null 2>&1 || return 1
    cp "$folder"/unpacked/usr/share/python-wheels/pip-*.whl "$folder"
    echo "$folder"/pip-*.whl
}

# A step runs when the files that it depends on are not those of its last run.
step() {
    local name=$1 digest
    shift
    digest=$(cat | sha256sum | cut -d' ' -f1)
    [ "$(cat "$stamps/$name" 2>/dev/null)" = "$digest" ] && return
    "$@" || return
    mkdir -p "$stamps"
    echo "$digest" >"$stamps/$name"
}

pip_install() { "$venv/bin/python" -m pip install -q --disable-pip-version-check "$@"; }

# uv, of the version in the lock, needs a quarter of pip's time for many packages. It reads no pip.conf: where
# it fails, pip does it.
uv_install() {
    local folder
    folder=$(mktemp -d)
    awk '/^[^ ]/ { is_uv = /^uv==/ } is_uv' requirements.lock >"$folder/uv.lock"
    pip_install --no-deps --require-hashes -r "$folder/uv.lock" \
        && "$venv/bin/uv" pip install -q --compile-bytecode --python "$venv/bin/python" "$@"
    local failed=$?
    rm -r "$folder"
    return "$failed"
}

install_lock() {
    say "installing the packages of requirements.lock"
    uv_install --require-hashes -r requirements.lock || pip_install --require-hashes -r requirements.lock
}

install_protos() {
    say "building the stubs"
    pip_install --no-deps --no-build-isolation --force-reinstall ./protos
}

install_client() {
    say "installing the client"
    pip_install --no-deps --no-build-isolation --force-reinstall ./client
}

install_project() {
    say "installing Marquee"
    pip_install --no-deps --no-build-isolation -e .
}

# The edge's cache and some filters are in C. Where there is no compiler, one comes as a wheel, for this only.
compile_filters() {
    local folder
    say "compiling the edge's filters"
    if command -v cc >/dev/null && echo 'int main(void) {return 0;}' | cc -x c -o /dev/null - 2>/dev/null; then
        "$venv/bin/python" -m edge.envoy_module
    else
        folder=$(mktemp -d)
        pip_install --no-deps --require-hashes --target "$folder" -r scripts/compiler.lock
        ZIG_GLOBAL_CACHE_DIR=$folder/cache ZIG_LOCAL_CACHE_DIR=$folder/cache MARQUEE_CC="$folder/ziglang/zig cc" \
            "$venv/bin/python" -m edge.envoy_module
        rm -r "$folder"
    fi
}

# What people see at the edge is bundled from npm's packages, by the machine's Node or by one that comes as a wheel
# for this only. Nothing else needs it: without it, everything but the page and the API reference is there.
bundle_page() {
    say "bundling the page"
    "$venv/bin/python" -m edge.page_build
}

if ! "$venv/bin/python" -c '' 2>/dev/null; then
    # What is no broken environment is somebody's folder.
    [ ! -e "$venv" ] || [ -e "$venv/pyvenv.cfg" ] || [ -z "$(ls -A "$venv")" ] || fail "MARQUEE_VENV=$venv holds something else"
    rm -rf "$venv"
    make_venv
fi
cat requirements.lock | step lock install_lock
find protos -name '*.proto' -o -path 'protos/*.py' -o -path 'protos/*.toml' | LC_ALL=C sort | xargs cat | step protos install_protos
find client -name '*.py' -o -name pyproject.toml | LC_ALL=C sort | xargs cat | step client install_client
cat pyproject.toml | step project install_project
find edge/page edge/page_build.py edge/npm.py scripts/node.lock -name node_modules -prune -o -type f -print | LC_ALL=C sort | xargs cat | step page bundle_page &
page=$!
cat envoy/module/* edge/envoy_module.py | step filters compile_filters
# Downloads only what is not in the cache.
"$venv/bin/python" -m local.servers.kafka_jars >&2
wait "$page" || say "the page at / could not be bundled, for the reason above; everything else works without it"
