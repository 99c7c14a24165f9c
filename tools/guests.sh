#!/bin/bash
# Fetch what the guests of `make test-interop` and `make demo-riscv` boot, into a folder.
#
# Usage: tools/guests.sh FOLDER [amd64] [riscv64] [rust]
#   amd64    Debian's cloud kernel, and a QEMU that connects vhost-user input devices without KVM
#            (8.0) where the system's is older
#   riscv64  in FOLDER/riscv64: Debian's kernel (Image), OpenSBI (fw_jump.bin, fw_dynamic.bin), U-Boot
#            (u-boot.bin for M-mode, u-boot-smode.bin), an initramfs with busybox (initramfs.cpio), and
#            modetest with its libraries (drm)
#   rust     in FOLDER/rust: a compiler (rustc) with the core library of riscv64, for kernels whose drivers
#            are crates
# Without a word after FOLDER it is all of them. Needs no root: packages are fetched by apt-get and unpacked,
# not installed. Apt's lists are the folder's own. Where the mirror has no backports, the system's
# QEMU has to do.
set -euo pipefail

folder=$1
shift
[ $# -gt 0 ] || set -- amd64 riscv64 rust
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
here=$(cd "$(dirname "$0")" && pwd)
readonly folder keyring here
readonly SUITES=(stable trixie) # the first that riscv64 has a kernel in; a mirror may lag in one
readonly RUST_SUITE=trixie # its compiler is 1.85
readonly RUST_PACKAGES=(rustc libstd-rust-dev libstd-rust-1.85 libstd-rust-dev:riscv64 libllvm19 libc6
    libgcc-s1 libstdc++6 libxml2 libicu76 liblzma5 libz3-4 libedit2 libtinfo6 libbsd0 libmd0 libffi8
    libzstd1 zlib1g)
readonly ROUNDS=2 # how often each is tried
readonly SECONDS_AT_MOST=600 # for one apt-get

say() { echo "guests.sh: $*" >&2; }

# Print the mirror that this host's apt uses for a suite, or nothing.
mirror_of() {
    apt-get indextargets --format '$(RELEASE) $(SITE)' 'Created-By: Packages' 2>/dev/null |
        awk -v suite="$1" '$1 == suite { print $2; exit }'
}

# Set VERSION_CODENAME and mirror, or end with what is missing.
find_mirror() {
    # shellcheck disable=SC1091
    . /etc/os-release
    if [ "$ID" != debian ]; then
        say "this is $ID, and only Debian's apt-get fetches these: run it on Debian, or in a" \
            "container of it, and copy $folder"
        exit 1
    fi
    mirror=${DEBIAN_MIRROR:-$(mirror_of "$VERSION_CODENAME")}
    if [ -z "$mirror" ]; then
        say "apt names no mirror of $VERSION_CODENAME on this host: set DEBIAN_MIRROR=URL"
        exit 1
    fi
}

# fetch STATE TARGET SUITE PACKAGE...: download packages from a suite and unpack them into TARGET.
# STATE is a folder for apt's lists. The array `foreign` has options for another architecture.
fetch() {
    local state=$1 target=$2 suite=$3
    shift 3
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
    echo "deb [signed-by=$keyring] $mirror $suite main" >"$state/$suite.list"
    local options=(-o "Dir::Etc::SourceList=$state/$suite.list" -o Dir::Etc::SourceParts=-
        -o "Dir::State::Lists=$state/lists" -o "Dir::Cache=$state/cache"
        -o Acquire::Retries=2 -o Acquire::http::Timeout=30
        -o APT::Sandbox::User= -o "APT::Default-Release=$suite" "${foreign[@]}")
    # Lists that can't be had are a warning to apt-get, unless it is told otherwise.
    timeout "$SECONDS_AT_MOST" apt-get "${options[@]}" --quiet --quiet --error-on=any update
    local package scratch
    scratch=$(mktemp -d "$state/packages.XXXXXX")
    for package in "$@"; do
        case $package in
            linux-image-cloud-amd64 | linux-image-riscv64)
                package=$(apt-cache "${options[@]}" depends "$package" |
                    sed -nE 's/^ +Depends: (linux-image-.*)/\1/p')
                ;;
        esac
        (cd "$scratch" && timeout "$SECONDS_AT_MOST" apt-get "${options[@]}" --quiet --quiet \
            download "$package/$suite")
    done
    local file
    for file in "$scratch"/*.deb; do
        dpkg --extract "$file" "$target"
        rm "$file"
    done
    rmdir "$scratch"
}

fetch_amd64() {
    local foreign=() version status
    [ ! -e "$root/complete" ] || return 0
    find_mirror
    fetch "$root/apt" "$root" "$VERSION_CODENAME" linux-image-cloud-amd64
    version=$(qemu-system-x86_64 --version | sed -nE 's/.*version ([0-9]+)\..*/\1/p')
    if [ "$version" -lt 8 ]; then
        set +e # Only while the status is looked at: errexit holds in the process of its own.
        (
            set -e
            fetch "$root/apt" "$root" "$VERSION_CODENAME" seabios ipxe-qemu
            fetch "$root/apt" "$root" "$VERSION_CODENAME-backports" \
                qemu-system-x86 qemu-system-common qemu-system-data
        )
        status=$?
        set -e
        if [ "$status" -ne 0 ]; then
            say "no QEMU of $VERSION_CODENAME-backports to be had, so guests of the system's" \
                "QEMU $version have no input devices"
            return 0 # Without the mark: the next run tries again.
        fi
    fi
    touch "$root/complete"
}

# riscv64_from SUITE: fetch the packages of riscv64 from a suite, into $root/riscv64.
riscv64_from() {
    local place=$root/riscv64 state unpacked foreign
    # What another try left may be damaged, and the packages of two suites must not mix.
    state=$place/apt
    unpacked=$place/unpacked
    rm -rf "$state" "$unpacked"
    mkdir -p "$state" "$unpacked"
    : >"$state/status" # Nothing is installed on this system of theirs.
    foreign=(-o APT::Architecture=riscv64 -o APT::Architectures::=riscv64
        -o "Dir::State::status=$state/status")
    fetch "$state" "$unpacked" "$1" linux-image-riscv64 busybox-static opensbi u-boot-qemu
    cp "$unpacked"/boot/vmlinux-* "$place/Image"
    cp "$unpacked"/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_{jump,dynamic}.{bin,elf} "$place"
    cp "$unpacked/usr/lib/u-boot/qemu-riscv64/u-boot.bin" "$place/u-boot.bin"
    cp "$unpacked/usr/lib/u-boot/qemu-riscv64_smode/u-boot.bin" "$place/u-boot-smode.bin"
    mv "$unpacked/usr/bin/busybox" "$place"
    rm -rf "$place/modules"
    mv "$unpacked"/usr/lib/modules/* "$place/modules"
    rm -rf "$state" "$unpacked"
}

# modetest_from SUITE: fetch modetest and the libraries that it needs, into $root/riscv64/drm.
modetest_from() {
    local place=$root/riscv64/drm state unpacked foreign name
    state=$place/apt
    unpacked=$place/unpacked
    rm -rf "$place"
    mkdir -p "$state" "$unpacked"
    : >"$state/status"
    foreign=(-o APT::Architecture=riscv64 -o APT::Architectures::=riscv64
        -o "Dir::State::status=$state/status")
    fetch "$state" "$unpacked" "$1" libdrm-tests libdrm2 libc6
    cp "$unpacked/usr/bin/modetest" "$place"
    for name in libdrm.so.2 libm.so.6 libc.so.6 ld-linux-riscv64-lp64d.so.1; do
        cp "$unpacked/usr/lib/riscv64-linux-gnu/$name" "$place"
    done
    rm -rf "$state" "$unpacked"
}

# (Re)make the initramfs when what it is made of is newer.
make_initramfs() {
    local place=$root/riscv64 part newer=
    for part in "$here"/riscv/*; do
        [ "$place/initramfs.cpio" -nt "$part" ] || newer=yes
    done
    [ -n "$newer" ] || return 0
    python3 "$here/riscv/initramfs.py" "$place/modules" "$place/busybox" "$place/initramfs.cpio.new"
    mv "$place/initramfs.cpio.new" "$place/initramfs.cpio"
}

# try_suites FUNCTION: fetch by a function from the first suite that has it. Returns 1 if none has.
try_suites() {
    local suite round status
    find_mirror
    for round in $(seq "$ROUNDS"); do
        for suite in "${SUITES[@]}"; do
            set +e # As above.
            (
                set -e
                "$1" "$suite"
            )
            status=$?
            set -e
            [ "$status" -ne 0 ] || return 0
            say "$suite does not give riscv64's packages (try $round of $ROUNDS)"
        done
    done
    say "Debian's packages of riscv64 can't be had from this host's mirror ($mirror): it needs the" \
        "suite ${SUITES[0]} or ${SUITES[1]} with riscv64; another: DEBIAN_MIRROR=URL"
    return 1
}

fetch_riscv64() {
    if [ ! -e "$root/riscv64/complete" ]; then
        try_suites riscv64_from || return 1
        touch "$root/riscv64/complete"
    fi
    if [ ! -e "$root/riscv64/drm/complete" ]; then
        try_suites modetest_from || return 1
        touch "$root/riscv64/drm/complete"
    fi
    make_initramfs
}

# Write the script that runs the unpacked compiler, with the libraries that it was built for.
write_rustc() {
    cat >"$1" <<'END'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")/unpacked/usr
for loader in "$here"/lib*/ld-linux-*.so.*; do :; done
for libraries in "$here"/lib/*/libc.so.6; do :; done
exec "$loader" --library-path "${libraries%/*}" "$here/bin/rustc" --sysroot "$here" "$@"
END
    chmod +x "$1"
}

# Debian's compiler is the one that the core library of riscv64 was compiled by; a host's own reads no other's.
fetch_rust() {
    local place=$root/rust state foreign
    [ ! -e "$place/complete" ] || return 0
    find_mirror
    state=$place/apt
    rm -rf "$place"
    mkdir -p "$state"
    : >"$state/status"
    foreign=(-o APT::Architectures::=riscv64 -o "Dir::State::status=$state/status")
    fetch "$state" "$place/unpacked" "$RUST_SUITE" "${RUST_PACKAGES[@]}"
    rm -rf "$state"
    write_rustc "$place/rustc"
    "$place/rustc" --version >"$place/complete"
}

mkdir -p "$folder"
root=$(cd "$folder" && pwd)
for architecture in "$@"; do
    case $architecture in
        amd64 | riscv64 | rust) "fetch_$architecture" ;;
        *)
            say "$architecture: it fetches amd64, riscv64 and rust"
            exit 2
            ;;
    esac
done
