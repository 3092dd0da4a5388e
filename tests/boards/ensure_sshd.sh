#!/bin/sh
# Finds an OpenSSH server for the tests of SSH boards, or installs one with the system's package manager (needs root or sudo).
# It is started by the tests alone: as their user, on loopback, with keys made for them.
PATH="$PATH:/usr/sbin:/sbin"
command -v sshd >/dev/null 2>&1 && command -v ssh-keygen >/dev/null 2>&1 && exit 0
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"
echo "Installing OpenSSH for the tests of SSH boards ..."
if command -v apt-get >/dev/null 2>&1; then
    $sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends openssh-server openssh-client >/dev/null
elif command -v dnf >/dev/null 2>&1; then
    $sudo dnf install -y -q openssh-server openssh-clients
elif command -v apk >/dev/null 2>&1; then
    $sudo apk add --quiet openssh-server openssh-keygen
else
    false
fi || {
    echo "An OpenSSH server is needed for the tests and could not be installed. Install openssh-server." >&2
    exit 1
}
