#!/bin/bash
# Run a command where files lie elsewhere than in an ordinary checkout.
#
# Usage: tools/everywhere.sh tmpfs|overlay|distribution COMMAND [ARGUMENT...]
#
#   tmpfs         temporary files are on a tmpfs
#   overlay       in a container of Docker, whose root is an overlayfs: a copy of the checkout, with the
#                 programs of this host and .venv read-only; left out where no engine answers
#   distribution  with the interpreter of the distribution, /usr/bin/python3, and the locked packages in
#                 build/distribution; left out where .venv has that interpreter
set -euo pipefail

ROOT=$(cd "$(dirname "$0")/.." && pwd)
IMAGE=virtmesh-elsewhere
DISTRIBUTION=$ROOT/build/distribution
# What of the checkout is not copied: it is large, and mounted or not needed.
LEFT_OUT=(./.venv ./build ./native/target ./native/fuzz ./dist)
readonly ROOT IMAGE DISTRIBUTION LEFT_OUT

say() { printf '%s\n' "$*" >&2; }

on_tmpfs() {
    local folder
    if [ "$(stat --file-system --format %T /dev/shm)" != tmpfs ]; then
        say "/dev/shm is no tmpfs here: mount one there"
        return 1
    fi
    folder=$(mktemp --directory /dev/shm/vm-XXXXXX)
    # shellcheck disable=SC2064 - the folder of now
    trap "rm -rf '$folder'" EXIT
    cd "$ROOT"
    TMPDIR=$folder "$@"
}

# An image with nothing in it but the folders of a system, some of them links into /usr.
make_image() {
    local folder name
    ! docker image inspect "$IMAGE" >/dev/null 2>&1 || return 0
    folder=$(mktemp --directory)
    for name in dev etc home mnt opt proc root run sys tmp usr var/tmp; do
        mkdir -p "$folder/$name"
    done
    for name in bin lib lib64 sbin; do
        [ ! -L "/$name" ] || cp --no-dereference "/$name" "$folder/$name"
    done
    chmod 1777 "$folder/tmp" "$folder/var/tmp"
    tar --create --directory "$folder" . | docker import - "$IMAGE" >/dev/null
    rm -rf "$folder"
}

in_container() {
    local container python git folder mounts=() left_out=("${LEFT_OUT[@]}")
    make_image
    python=$("$ROOT/.venv/bin/python" -c 'import sys; print(sys.base_prefix)')
    git=$(git -C "$ROOT" rev-parse --path-format=absolute --git-common-dir)
    for folder in /usr /etc /opt /var/lib/dpkg "$python" "$git" "$ROOT/.venv" "$ROOT/build"; do
        [ ! -e "$folder" ] || mounts+=(--volume "$folder:$folder:ro")
    done
    # Tests make network namespaces. The shell, as process 1, reaps what they leave behind.
    container=$(docker run --detach --network host --shm-size 1g \
        --cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt seccomp=unconfined \
        --env "PATH=$ROOT/.venv/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" \
        --env "HOME=/root" --env "VIRTUAL_ENV=$ROOT/.venv" --env "VIRTMESH_ELSEWHERE=overlay" \
        "${mounts[@]}" "$IMAGE" bash -c 'sleep infinity & wait')
    # shellcheck disable=SC2064 - the container of now
    trap "docker rm --force '$container' >/dev/null" EXIT
    docker exec "$container" mkdir -p "$ROOT"
    # The folder .git is mounted; that of a worktree is elsewhere, and named by a file.
    [ ! -d "$ROOT/.git" ] || left_out+=(./.git)
    tar --create --directory "$ROOT" "${left_out[@]/#/--exclude=}" . |
        docker exec --interactive "$container" tar --extract --directory "$ROOT"
    docker exec --workdir "$ROOT" "$container" "$@"
}

with_distribution() {
    local version stamp=$DISTRIBUTION/installed uv=$ROOT/.venv/bin/uv
    version=$(/usr/bin/python3 --version)
    if [ "$version" = "$("$ROOT/.venv/bin/python" --version)" ]; then
        say "left out: .venv has the distribution's $version"
        return
    fi
    if ! cmp --quiet "$ROOT/requirements/dev.lock" "$stamp"; then
        rm -rf "$DISTRIBUTION"
        "$uv" venv --quiet --python /usr/bin/python3 "$DISTRIBUTION"
        "$uv" pip install --quiet --python "$DISTRIBUTION/bin/python" --require-hashes \
            --requirement "$ROOT/requirements/dev.lock"
        cp "$ROOT/requirements/dev.lock" "$stamp"
    fi
    cd "$ROOT"
    "$uv" pip install --quiet --python "$DISTRIBUTION/bin/python" --no-deps --no-build-isolation \
        --editable common --editable clients --editable services
    "$uv" pip install --quiet --python "$DISTRIBUTION/bin/python" --no-deps --no-index --reinstall \
        build/wheels/*.whl
    say "$version"
    VIRTUAL_ENV=$DISTRIBUTION PATH=$DISTRIBUTION/bin:$PATH "$@"
}

place=${1:-}
[ $# -ge 2 ] || place=
[ -z "$place" ] || shift
case $place in
    tmpfs) on_tmpfs "$@" ;;
    overlay)
        if docker version >/dev/null 2>&1; then
            in_container "$@"
        else
            say "left out: no Docker engine answers"
        fi
        ;;
    distribution) with_distribution "$@" ;;
    *)
        sed -nE '2,/^set/s/^# ?//p' "$0" >&2
        exit 2
        ;;
esac
