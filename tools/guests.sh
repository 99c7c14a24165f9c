#!/bin/bash
# Fetch what the guests of `make test-interop` boot, into a folder: Debian's cloud kernel, and a
# QEMU that connects vhost-user input devices without KVM (8.0) where the system's is older.
#
# Usage: tools/guests.sh FOLDER
# Needs no root: packages are fetched by apt-get and unpacked, not installed. Apt's lists are the
# folder's own. Where the mirror has no backports, the system's QEMU has to do.
set -euo pipefail

folder=$1
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
readonly folder keyring
[ ! -e "$folder/complete" ] || exit 0

# shellcheck disable=SC1091
. /etc/os-release
if [ "$ID" != debian ]; then
    echo "guests.sh: this is $ID: unpack Debian's linux-image-cloud-amd64 into $folder yourself" >&2
    exit 1
fi

mkdir -p "$folder/apt/lists" "$folder/apt/cache/archives"
root=$(cd "$folder" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Print the mirror that this host's apt uses for a suite, or nothing.
mirror_of() {
    apt-get indextargets --format '$(RELEASE) $(SITE)' 'Created-By: Packages' 2>/dev/null |
        awk -v suite="$1" '$1 == suite { print $2; exit }'
}

mirror=${DEBIAN_MIRROR:-$(mirror_of "$VERSION_CODENAME")}
if [ -z "$mirror" ]; then
    echo "guests.sh: apt names no mirror of $VERSION_CODENAME on this host: set DEBIAN_MIRROR=URL" >&2
    exit 1
fi

# fetch SUITE PACKAGE...: download packages from a suite and unpack them.
fetch() {
    local suite=$1
    shift
    echo "deb [signed-by=$keyring] $mirror $suite main" \
        >"$root/apt/$suite.list"
    local options=(-o "Dir::Etc::SourceList=$root/apt/$suite.list" -o Dir::Etc::SourceParts=-
        -o "Dir::State::Lists=$root/apt/lists" -o "Dir::Cache=$root/apt/cache"
        -o APT::Sandbox::User= -o "APT::Default-Release=$suite")
    # Lists that can't be had are a warning to apt-get, unless it is told otherwise.
    apt-get "${options[@]}" --quiet --quiet --error-on=any update
    local package
    for package in "$@"; do
        if [ "$package" = linux-image-cloud-amd64 ]; then
            package=$(apt-cache "${options[@]}" depends "$package" | sed -nE 's/^ +Depends: (linux-image-.*)/\1/p')
        fi
        (cd "$scratch" && apt-get "${options[@]}" --quiet --quiet download "$package/$suite")
    done
    local file
    for file in "$scratch"/*.deb; do
        dpkg --extract "$file" "$root"
        rm "$file"
    done
}

fetch "$VERSION_CODENAME" linux-image-cloud-amd64
version=$(qemu-system-x86_64 --version | sed -nE 's/.*version ([0-9]+)\..*/\1/p')
if [ "$version" -lt 8 ]; then
    set +e # Only while the status is looked at: errexit holds in the process of its own.
    (
        set -e
        fetch "$VERSION_CODENAME" seabios ipxe-qemu
        fetch "$VERSION_CODENAME-backports" qemu-system-x86 qemu-system-common qemu-system-data
    )
    status=$?
    set -e
    if [ "$status" -ne 0 ]; then
        echo "guests.sh: no QEMU of $VERSION_CODENAME-backports to be had, so guests of the system's" \
            "QEMU $version have no input devices" >&2
        exit # Without the mark: the next run tries again.
    fi
fi
touch "$root/complete"
