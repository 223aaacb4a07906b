#!/usr/bin/env bash
# Prints where Chromium is, for the tests of what people see. What is not installed is unpacked from Debian's
# packages into the cache, with the libraries that it needs: nobody has to be root.
set -euo pipefail
cd "$(dirname "$0")"

cache=${MARQUEE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/marquee}
own=$cache/chromium

for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if [ -z "${MARQUEE_UNPACK_CHROMIUM:-}" ] && command -v "$name"; then exit; fi
done

if [ ! -x "$own/run" ]; then
    ./unpack.sh chromium "$own.new"
    cat >"$own.new/run" <<'RUN'
#!/usr/bin/env bash
here=$(dirname "$(readlink -f "$0")")
libraries=$(find "$here/usr/lib" "$here/lib" -maxdepth 2 -name '*.so*' -printf '%h\n' 2>/dev/null | sort -u | tr '\n' ':')
export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:-}
[ -d /etc/fonts ] || export FONTCONFIG_PATH=$here/etc/fonts
exec "$here/usr/lib/chromium/chromium" "$@"
RUN
    chmod 755 "$own.new/run"
    rm -rf "$own"
    mv "$own.new" "$own"
fi
echo "$own/run"
