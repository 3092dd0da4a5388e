#!/bin/sh
# Finds a Chromium for the browser tests, or installs one with the system's package manager (needs root or sudo).
for name in "${EDGEPROF_CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable; do
    [ -n "$name" ] && command -v "$name" >/dev/null 2>&1 && exit 0
done
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"
echo "Installing Chromium for the browser tests ..."
if command -v apt-get >/dev/null 2>&1; then
    $sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
elif command -v dnf >/dev/null 2>&1; then
    $sudo dnf install -y -q chromium
elif command -v apk >/dev/null 2>&1; then
    $sudo apk add --quiet chromium
else
    false
fi || {
    echo "Chromium is needed for the browser tests and could not be installed. Install it, or set EDGEPROF_CHROMIUM to its path." >&2
    exit 1
}
