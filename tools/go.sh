#!/bin/bash
# Print the folder of a go command that is new enough for clients/examples/go, for PATH.
#
# An older Go, such as that of Debian 12, fetches a newer one from the module proxy, which checks it
# by its sum; it is kept with the modules. Exits 1 where there is no Go at all.
set -euo pipefail

OLDEST=1.24
FETCHED=1.25.0
readonly OLDEST FETCHED
PATH=$PATH:/usr/local/go/bin

say() { printf 'go.sh: %s\n' "$*" >&2; }

# at_least VERSION OLDEST: compare dotted versions.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort --version-sort | head -n 1)" = "$2" ]; }

command -v go >/dev/null || {
    say "there is no Go: apt-get install golang-go, or https://go.dev/dl"
    exit 1
}
version=$(GOTOOLCHAIN=local go env GOVERSION)
if at_least "${version#go}" "$OLDEST"; then
    dirname "$(readlink -f "$(command -v go)")"
    exit
fi
toolchain=golang.org/toolchain@v0.0.1-go$FETCHED.linux-$(go env GOHOSTARCH)
say "$version is older than $OLDEST: fetching $FETCHED"
cd /
folder=$(go mod download -json "$toolchain" | sed -nE 's/^\s*"Dir": "(.*)",?$/\1/p')
[ -x "$folder/bin/go" ] || chmod -R u+w,a+x "$folder/bin" "$folder/pkg/tool"
printf '%s/bin\n' "$folder"
