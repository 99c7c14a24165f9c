#!/bin/bash
# Say what this host lacks, all of it at once, and install it from Debian's packages where that can
# be done.
#
# Usage: tools/doctor.sh [--install] [python] [cc] [cxx] [cargo] [clippy] [text] [e2fsprogs]
#                        [iproute2] [docker] [browser] [node] [guests] [go] [ci]
#
# Exits 1 if anything of what was asked for is missing at the end. With --install, root (or who has
# sudo) gets the packages installed; on a terminal it asks first. NO_INSTALL=1 keeps it from that,
# and it prints the command to paste. $PYTHON is the Python to look at.
set -euo pipefail

ROOT=$(cd "$(dirname "$0")/.." && pwd)
PYTHON=${PYTHON:-python3}
POLICY=/usr/sbin/policy-rc.d
PATH=$PATH:/usr/sbin:/sbin
readonly ROOT PYTHON POLICY

packages=() # missing, and apt-get can install them
package_lines=()
others=() # missing, and it takes something else
policy_made=

say() { printf '%s\n' "$*" >&2; }

# lack PACKAGES REASON: packages that are missing, and what for.
lack() {
    local package
    for package in $1; do
        packages+=("$package")
    done
    package_lines+=("$(printf '  %-38s %s' "$1" "$2")")
}

# lack_other WHAT: something that no package of this system brings.
lack_other() { others+=("  $*"); }

have() { command -v "$1" >/dev/null; }

installed() {
    [ "$(dpkg-query --show --showformat '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# at_least VERSION OLDEST: compare dotted versions.
at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort --version-sort | head -n 1)" = "$2" ]
}

check_python() {
    local version
    version=$("$PYTHON" -c 'import platform; print(platform.python_version())' 2>/dev/null) || {
        lack "python3 python3-venv" "Python 3.11 or newer"
        return
    }
    if ! at_least "$version" 3.11; then
        lack_other "Python 3.11 or newer ($PYTHON is $version): Debian 12 has it;" \
            "then make PYTHON=python3.11 ..."
    elif ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
        lack python3-venv "Python's module venv, for the environment in .venv"
    fi
}

check_cc() {
    have cc && printf '#include <stdio.h>\n' | cc -E - >/dev/null 2>&1 ||
        lack "gcc libc6-dev" "a linker and the C library's start files, for Rust"
}

check_cxx() {
    have c++ || lack g++ "a C++ compiler, for libFuzzer"
}

check_cargo() {
    local oldest version
    oldest=$(sed -nE 's/^rust-version = "(.*)"/\1/p' "$ROOT/native/Cargo.toml")
    version=$(cargo --version 2>/dev/null | cut -d ' ' -f 2) || true
    if [ -n "$version" ] && at_least "$version" "$oldest"; then
        return
    fi
    if grep -q '^VERSION_CODENAME=bookworm' /etc/os-release 2>/dev/null; then
        lack "cargo-web rustc-web" "cargo $oldest or newer, for the native extension"
    else
        lack_other "cargo $oldest or newer${version:+ (this is $version)}: https://rustup.rs"
    fi
}

check_clippy() {
    if ! cargo clippy --version >/dev/null 2>&1 || ! cargo fmt --version >/dev/null 2>&1; then
        if have rustup; then
            lack_other "cargo clippy and cargo fmt: rustup component add clippy rustfmt"
        else
            lack "rust-web-clippy rustfmt-web" "cargo clippy and cargo fmt"
        fi
    fi
}

# What typing text by keyboard layout takes.
check_text() {
    local missing=''
    installed libxkbcommon0 ||
        "$PYTHON" -c 'import ctypes; ctypes.CDLL("libxkbcommon.so.0")' 2>/dev/null ||
        missing+=" libxkbcommon0"
    [ -f /usr/share/X11/xkb/rules/evdev ] || missing+=" xkb-data"
    [ -f /usr/share/X11/locale/en_US.UTF-8/Compose ] || missing+=" libx11-data"
    [ -z "$missing" ] || lack "${missing# }" "typing text by keyboard layout, with dead keys"
}

check_iproute2() {
    have ip || lack iproute2 "ip, for hosts in network namespaces"
}

check_e2fsprogs() {
    have mke2fs || lack e2fsprogs "mke2fs and e2fsck, for images of disks"
}

check_docker() {
    if ! have docker; then
        lack "docker.io docker-compose" "containers"
    elif ! docker compose version >/dev/null 2>&1 && ! have docker-compose; then
        lack docker-compose "the stack of docker-compose.yml"
    elif ! docker version >/dev/null 2>&1; then
        lack_other "a Docker engine that answers: systemctl start docker (and: adduser \$USER docker)"
    fi
}

check_browser() {
    have chromium || lack chromium "a browser, for the tests of the panel"
}

check_node() {
    have node && have npm || lack "nodejs npm" "node and npm, for the bundles of the panel"
}

check_guests() {
    local pair
    for pair in linux.uml:user-mode-linux qemu-system-x86_64:qemu-system-x86 cpio:cpio \
        qemu-system-riscv64:qemu-system-misc busybox:busybox-static mkfs.ext4:e2fsprogs fio:fio \
        evtest:evtest gdb-multiarch:gdb-multiarch lldb:lldb; do
        have "${pair%:*}" || lack "${pair#*:}" "${pair%:*}, for guests"
    done
    have qemu-riscv64 || lack qemu-user "qemu-riscv64, for comparing instructions"
    have riscv64-linux-gnu-as ||
        lack binutils-riscv64-linux-gnu "an assembler for RISC-V, for comparing instructions"
    have riscv64-linux-gnu-gcc || lack gcc-riscv64-linux-gnu "a C compiler for RISC-V, for small kernels"
}

# Any Go serves: tools/go.sh fetches a newer one with it.
check_go() {
    have go || [ -x /usr/local/go/bin/go ] || lack golang-go "Go, for the client in Go that a test builds"
}

# What only some of the tests use; they are left out without it.
check_ci() {
    local package
    for package in ca-certificates debootstrap device-tree-compiler docker-compose docker.io edid-decode \
        git gvncviewer iproute2 libevemu3 picocom prometheus qemu-system-arm qemu-system-common \
        qemu-system-misc qemu-utils socat stunnel4; do
        installed "$package" || lack "$package" "for tests that are left out without it"
    done
}

# Say how packages are installed: for root as it is, for others by sudo if there is one.
say_how() {
    local who='' root='' names
    names=$(printf ' %s' "$@")
    if ! have apt-get; then
        say "There is no apt-get here: install what your system calls$names"
        return
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if have sudo; then root='sudo '; else who=', as root'; fi
    fi
    say "To install them$who:" \
        "${root}apt-get update && ${root}apt-get install --yes --no-install-recommends$names"
}

# Say whether packages can be installed here, now.
can_install() {
    [ "${NO_INSTALL:-0}" = 0 ] || return 1
    have apt-get || return 1
    [ "$(id -u)" -ne 0 ] || return 0
    have sudo || return 1
    # Without a terminal nobody can type a password.
    [ -t 0 ] || sudo --non-interactive true 2>/dev/null
}

confirm() {
    local answer=
    [ -t 0 ] && [ -t 2 ] || return 0
    read -r -p "Install them now with apt-get? [Y/n] " answer || return 1
    case $answer in
        '' | [yY]*) ;;
        *) return 1 ;;
    esac
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# Packages start no service of theirs meanwhile (policy-rc.d): what is needed is started elsewhere.
hold_services() {
    [ -e "$POLICY" ] && return
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
    as_root chmod +x "$POLICY"
    policy_made=$POLICY
}

release_services() {
    [ -z "$policy_made" ] || as_root rm -f "$policy_made"
    policy_made=
}

install_packages() {
    local status=0
    export DEBIAN_FRONTEND=noninteractive
    say "Fetching the lists of packages ..."
    as_root apt-get update --quiet=2 || return
    trap 'release_services' EXIT
    trap 'exit 130' INT TERM
    hold_services
    say "Installing; a minute or two where compilers are among them ..."
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes \
        --no-install-recommends "$@" | sed -nE 's/^(Need to get .*|Setting up [^ ]+).*/  \1/p' >&2 || status=$?
    release_services
    return $status
}

check_all() {
    local thing
    packages=()
    package_lines=()
    others=()
    for thing in "$@"; do
        case $thing in
            python | cc | cxx | cargo | clippy | text | e2fsprogs | iproute2 | docker | browser | \
                node | guests | go | ci)
                "check_$thing"
                ;;
            *)
                say "doctor.sh: $thing is nothing it knows of"
                exit 2
                ;;
        esac
    done
    mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u | sed '/^$/d')
}

report() {
    if [ ${#packages[@]} -gt 0 ]; then
        say "These Debian packages are missing:"
        printf '%s\n' "${package_lines[@]}" >&2
    fi
    if [ ${#others[@]} -gt 0 ]; then
        say "Missing, and in no package of this system:"
        printf '%s\n' "${others[@]}" >&2
    fi
}

main() {
    local install=
    if [ "${1:-}" = --install ]; then
        install=yes
        shift
    fi
    check_all "$@"
    [ ${#packages[@]} -gt 0 ] || [ ${#others[@]} -gt 0 ] || return 0
    report
    if [ ${#packages[@]} -gt 0 ]; then
        if [ -n "$install" ] && can_install && confirm; then
            install_packages "${packages[@]}" || say "apt-get failed: what it says is above."
            check_all "$@"
            [ ${#packages[@]} -gt 0 ] || [ ${#others[@]} -gt 0 ] || return 0
            report
        fi
        [ ${#packages[@]} -eq 0 ] || say_how "${packages[@]}"
    fi
    return 1
}

main "$@"
