#!/bin/bash
# Build the base images of the stack from Debian packages, for a host that reaches a Debian mirror
# but no registry of container images. `--help` says how to call it; README.md says what it makes.
set -euo pipefail

ROOT=$(cd "$(dirname "$0")/../.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/virtmesh/debootstrap
# Where the certificates that this host trusts stand in the images. Not the place that Debian's
# ca-certificates package writes: installing it would take the host's own authorities out again.
CA_BUNDLE=/etc/ssl/host-ca-certificates.crt
SUITE=bookworm
readonly ROOT CACHE CA_BUNDLE SUITE

scratch=

usage() {
    cat <<END
Usage: base-images.sh [--force] [IMAGE ...]

Builds debian:$SUITE-slim and the Prometheus image that docker-compose.yml names, or only those
given. An image that is there already is left alone, unless --force is given.

Environment:
  DEBIAN_MIRROR, DEBIAN_SECURITY_MIRROR  default: those of this host's apt
  CA_CERTIFICATES                        certificates the images trust; default: \$SSL_CERT_FILE,
                                         or else those this host trusts
END
}

say() { printf 'base-images: %s\n' "$*" >&2; }

die() {
    say "$*"
    exit 1
}

# Print the mirror that this host's apt uses for a suite, or nothing.
mirror_of() {
    apt-get indextargets --format '$(RELEASE) $(SITE)' 'Created-By: Packages' 2>/dev/null |
        awk -v suite="$1" '$1 == suite { print $2; exit }'
}

check_host() {
    [ "$(id -u)" -eq 0 ] || die "debootstrap needs root: run it with sudo"
    command -v debootstrap >/dev/null || die "no debootstrap: apt-get install debootstrap"
    command -v docker >/dev/null || die "no docker: apt-get install docker.io"
    docker version --format '{{.Server.Version}}' >/dev/null 2>&1 ||
        die "no Docker engine answers: start it (systemctl start docker)"
}

# Unpack Debian into a folder: bootstrap ROOTFS [PACKAGE ...]
bootstrap() {
    local rootfs=$1 packages
    shift
    packages=$(IFS=,; echo "$*")
    mkdir -p "$CACHE"
    debootstrap --variant=minbase --cache-dir="$CACHE" ${packages:+--include="$packages"} \
        "$SUITE" "$rootfs" "$mirror" >"$scratch/log" 2>&1 ||
        { tail -n 20 "$scratch/log" >&2; die "debootstrap failed (mirror $mirror)"; }
    install -D -m 644 "$certificates" "$rootfs$CA_BUNDLE"
    cat >"$rootfs/etc/apt/sources.list" <<END
deb $mirror $SUITE main
deb $mirror $SUITE-updates main
deb $security $SUITE-security main
END
    # What images of Debian do as well: no recommendations asked for, nothing kept after an install.
    cat >"$rootfs/etc/apt/apt.conf.d/90container" <<END
Acquire::https::CAInfo "$CA_BUNDLE";
Acquire::Languages "none";
APT::Install-Recommends "false";
Binary::apt::APT::Keep-Downloaded-Packages "false";
END
    # No service may start while packages are configured.
    printf '#!/bin/sh\nexit 101\n' >"$rootfs/usr/sbin/policy-rc.d"
    chmod 755 "$rootfs/usr/sbin/policy-rc.d"
    chroot "$rootfs" sh -ec 'apt-get update; apt-get -y dist-upgrade; apt-get clean' \
        >"$scratch/log" 2>&1 </dev/null ||
        { tail -n 20 "$scratch/log" >&2; die "the security updates failed (mirror $security)"; }
    slim "$rootfs"
}

# Take out what no container reads, as the -slim images of Debian do.
slim() {
    rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/* "$1"/var/log/*.log "$1"/var/log/apt \
        "$1"/usr/share/{info,man,locale,doc-base,lintian}/* "$1"/tmp/* "$1"/etc/machine-id
    find "$1/usr/share/doc" -type f ! -name copyright -delete
    find "$1/usr/share/doc" -type l -delete
    : >"$1/etc/resolv.conf"
    : >"$1/etc/hostname"
    cat >"$1/etc/dpkg/dpkg.cfg.d/slim" <<END
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/man/*
END
}

# Make an image of a folder: import_image ROOTFS IMAGE VERSION [CHANGE ...]
import_image() {
    local rootfs=$1 image=$2 version=$3 change
    local changes=(
        "LABEL org.opencontainers.image.version=$version"
        "LABEL org.opencontainers.image.vendor=Debian"
        "LABEL virtmesh.offline=true"
        "ENV SSL_CERT_FILE=$CA_BUNDLE"
        "ENV PIP_CERT=$CA_BUNDLE"
        "ENV CARGO_HTTP_CAINFO=$CA_BUNDLE"
        "${@:4}"
    )
    local options=()
    for change in "${changes[@]}"; do
        options+=(--change "$change")
    done
    tar --create --numeric-owner --one-file-system --directory "$rootfs" . |
        docker import "${options[@]}" --message "made by deploy/offline/base-images.sh" - "$image" \
            >/dev/null
    say "$image is there: Debian $version"
}

build_debian() {
    bootstrap "$scratch/debian"
    import_image "$scratch/debian" "$1" "$(cat "$scratch/debian/etc/debian_version")" 'CMD ["bash"]'
}

# The image of the Prometheus project has its program in /bin, its data in /prometheus, and runs as
# nobody; so has this one. Its version is Debian's: the label says which.
build_prometheus() {
    local rootfs=$scratch/prometheus
    bootstrap "$rootfs" prometheus
    install -d -o 65534 -g 65534 "$rootfs/prometheus"
    import_image "$rootfs" "$1" \
        "$(chroot "$rootfs" dpkg-query --show --showformat '${Version}' prometheus)" \
        'USER 65534' 'WORKDIR /prometheus' 'EXPOSE 9090' 'VOLUME /prometheus' \
        'ENTRYPOINT ["/bin/prometheus"]' \
        'CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]'
}

# Print the images that the stack is built on and that Debian has packages for.
wanted_images() {
    sed -nE 's/^FROM (debian:[^ ]+).*/\1/p' "$ROOT/deploy/Dockerfile" | sort -u
    sed -nE 's/^ +image: *"?(prom\/prometheus:[^ "]+).*/\1/p' "$ROOT/docker-compose.yml"
}

build() {
    case $1 in
        "debian:$SUITE-slim") build_debian "$1" ;;
        prom/prometheus:*) build_prometheus "$1" ;;
        *) die "$1 can't be made from Debian packages: only debian:$SUITE-slim and prom/prometheus:*" ;;
    esac
}

main() {
    local force='' images=() image
    while [ $# -gt 0 ]; do
        case $1 in
            --force) force=yes ;;
            -h | --help) usage; exit ;;
            -*) usage >&2; exit 2 ;;
            *) images+=("$1") ;;
        esac
        shift
    done
    check_host
    mirror=${DEBIAN_MIRROR:-$(mirror_of "$SUITE")}
    [ -n "$mirror" ] || die "apt names no mirror of $SUITE on this host: set DEBIAN_MIRROR=URL"
    security=${DEBIAN_SECURITY_MIRROR:-$(mirror_of "$SUITE-security")}
    [ -n "$security" ] ||
        die "apt names no mirror of $SUITE-security on this host: set DEBIAN_SECURITY_MIRROR=URL"
    certificates=${CA_CERTIFICATES:-${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}}
    [ -r "$certificates" ] || die "no certificates at $certificates: apt-get install ca-certificates"
    scratch=$(mktemp -d)
    trap 'rm -rf --one-file-system "$scratch"' EXIT
    [ ${#images[@]} -gt 0 ] || mapfile -t images < <(wanted_images)
    for image in "${images[@]}"; do
        if [ -z "$force" ] && docker image inspect "$image" >/dev/null 2>&1; then
            say "$image is there already"
            continue
        fi
        say "building $image (a minute or two)"
        build "$image"
    done
}

main "$@"
