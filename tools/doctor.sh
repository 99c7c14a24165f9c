#!/bin/bash
# Say what this host lacks for building virtmesh, one line each with the mend.
#
# Usage: tools/doctor.sh [python] [cc] [cargo] [clippy] [xkb] [e2fsprogs] [docker] [guests]
# Exits 1 if anything of what was asked for is missing. $PYTHON is the Python to look at.
set -euo pipefail

ROOT=$(cd "$(dirname "$0")/.." && pwd)
PYTHON=${PYTHON:-python3}
readonly ROOT PYTHON
missing=0

report() {
    printf 'missing: %s\n' "$*" >&2
    missing=1
}

# at_least VERSION OLDEST: compare dotted versions.
at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort --version-sort | head -n 1)" = "$2" ]
}

check_python() {
    local version
    version=$("$PYTHON" -c 'import platform; print(platform.python_version())' 2>/dev/null) || {
        report "Python 3.11 or newer: apt-get install python3 python3-venv"
        return
    }
    if ! at_least "$version" 3.11; then
        report "Python 3.11 or newer, $PYTHON is $version: apt-get install python3.11 python3.11-venv" \
            "(Debian 12 has it), then make PYTHON=python3.11 ..."
    elif ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
        report "Python's venv module: apt-get install python3-venv"
    fi
}

check_cc() {
    command -v cc >/dev/null || report "a C compiler: apt-get install gcc libc6-dev"
}

check_cargo() {
    local oldest version mend="apt-get install cargo-web rustc-web (Debian 12), or https://rustup.rs"
    oldest=$(sed -nE 's/^rust-version = "(.*)"/\1/p' "$ROOT/native/Cargo.toml")
    version=$(cargo --version 2>/dev/null | cut -d ' ' -f 2) || true
    if [ -z "$version" ]; then
        report "cargo $oldest or newer: $mend"
    elif ! at_least "$version" "$oldest"; then
        report "cargo $oldest or newer, this is $version: $mend"
    fi
}

check_clippy() {
    if ! cargo clippy --version >/dev/null 2>&1 || ! cargo fmt --version >/dev/null 2>&1; then
        report "cargo clippy and cargo fmt: rustup component add clippy rustfmt," \
            "or apt-get install rust-web-clippy rustfmt-web"
    fi
}

# What typing text by keyboard layout takes: to build the Python binding, and to run.
check_xkb() {
    local include
    include=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_paths()["include"])' 2>/dev/null) || true
    [ -f "$include/Python.h" ] || report "Python's C headers: apt-get install python3-dev"
    if command -v cc >/dev/null; then
        echo '#include <xkbcommon/xkbcommon.h>' | cc -E - >/dev/null 2>&1 ||
            report "libxkbcommon's C headers: apt-get install libxkbcommon-dev"
    fi
    [ -f /usr/share/X11/xkb/rules/evdev ] || report "keyboard layouts: apt-get install xkb-data"
    [ -f /usr/share/X11/locale/en_US.UTF-8/Compose ] || report "dead keys: apt-get install libx11-data"
}

check_e2fsprogs() {
    PATH=$PATH:/usr/sbin:/sbin command -v mke2fs >/dev/null ||
        report "mke2fs and e2fsck: apt-get install e2fsprogs"
}

check_docker() {
    docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null ||
        report "docker-compose: apt-get install docker.io docker-compose"
    docker version >/dev/null 2>&1 ||
        report "a Docker engine that answers: systemctl start docker (and: adduser \$USER docker)"
}

check_guests() {
    local pair
    for pair in linux.uml:user-mode-linux qemu-system-x86_64:qemu-system-x86 cpio:cpio \
        busybox:busybox-static mkfs.ext4:e2fsprogs fio:fio evtest:evtest; do
        PATH=$PATH:/usr/sbin:/sbin command -v "${pair%:*}" >/dev/null ||
            report "${pair%:*}, for guests: apt-get install ${pair#*:}"
    done
}

for thing in "$@"; do
    case $thing in
        python | cc | cargo | clippy | xkb | e2fsprogs | docker | guests) "check_$thing" ;;
        *) printf 'doctor.sh: %s is nothing it knows of\n' "$thing" >&2; exit 2 ;;
    esac
done
exit "$missing"
