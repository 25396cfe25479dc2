#!/bin/sh
# Usage: tools/setup.sh VENV demo|test|oldest|niquests|bench|docs
# Makes the virtual environment and installs the Debian packages that are missing. Packages are the ones that
# start no service; without root they are unpacked into .tools/ and nothing of the system is touched.
set -eu
cd "$(dirname "$0")/.."
venv=$1
what=$2

say() { printf '%s\n' "setup: $*" >&2; }

find_python() {
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    say "Python 3.11 or later is needed (set PYTHON=/path/to/python3)"
    exit 1
}

# Which Debian package brings a program that is neither on the PATH nor in .tools.
missing() {
    for pair in "$@"; do
        program=${pair%%:*}
        if ! PATH="$PATH:/usr/sbin:/sbin:$PWD/.tools/usr/sbin:$PWD/.tools/usr/bin:$PWD/.tools/sbin" \
            command -v "$program" >/dev/null 2>&1; then
            printf '%s ' "${pair#*:}"
        fi
    done
}

install_packages() {
    [ $# -gt 0 ] || return 0
    if ! command -v apt-get >/dev/null 2>&1; then
        say "please install: $* (this is not a Debian or Ubuntu machine)"
        exit 1
    fi
    if [ "$(id -u)" = 0 ]; then
        say "apt-get install $*"
        apt-get update -qq >&2 || say "apt-get update failed, trying with the lists there are"
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
    else
        say "not root: unpacking $* into .tools"
        mkdir -p .tools/debs
        (cd .tools/debs && apt-get download -qq "$@" >&2) || { say "as root: apt-get install $*"; exit 1; }
        for package in .tools/debs/*.deb; do dpkg -x "$package" .tools; done
    fi
}

if [ "$what" != docs ]; then
    # shellcheck disable=SC2046 # a list of words is meant
    install_packages $(missing ip:iproute2 nft:nftables dnsmasq:dnsmasq-base)
fi
if [ "$what" = test ] || [ "$what" = oldest ] || [ "$what" = bench ]; then
    # shellcheck disable=SC2046
    install_packages $(missing curl:curl git:git tmux:tmux)
fi
if [ "$what" = test ] || [ "$what" = oldest ]; then
    # Chromium is too much to unpack somewhere.
    browser=$(missing chromium:chromium chromedriver:chromium-driver)
    if [ -n "$browser" ] && [ "$(id -u)" != 0 ]; then
        say "as root: apt-get install $browser (without it the tests in a browser fail)"
    else
        # shellcheck disable=SC2086
        install_packages $browser
    fi
fi

if [ ! -x "$venv/bin/python" ]; then
    python=$(find_python)
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        install_packages python3-venv
    fi
    say "virtual environment $venv from $("$python" --version)"
    "$python" -m venv "$venv"
fi

# --group (PEP 735) came with pip 25.1.
if ! "$venv/bin/python" -m pip install --help | grep -q -- --group; then
    "$venv/bin/python" -m pip install -q --upgrade 'pip>=25.1'
fi
case $what in
    demo) set -- -e '.[trio,cli,lab]' ;;
    test) set -- -e '.[trio,cli,lab,proxy]' --group test ;;
    bench) set -- -e '.[trio,cli,lab,proxy]' --group test --group bench ;;
    docs) # the API is read from the modules, each of which imports its client
        set -- -e '.[trio,cli,lab,proxy,opentelemetry,prometheus]' --group docs --group clients ;;
    oldest) # the tools of the tests, with the oldest client libraries that the adapters are for
        # shellcheck disable=SC2046
        set -- -e '.[trio,cli,lab,proxy]' --group runner $("$venv/bin/python" tools/lowest.py clients) ;;
    niquests) # the tools of the tests, and no other client library
        set -- -e '.[trio,cli,lab,niquests]' --group runner ;;
    *) say "unknown: $what"; exit 2 ;;
esac
say "pip install $*"
"$venv/bin/python" -m pip install -q "$@"
touch "$venv/.$what"
