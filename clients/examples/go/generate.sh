#!/bin/bash
# Write the Go code of the protos to api/, with protoc of grpcio-tools and the plugins of go.mod.
#
# Usage: generate.sh [PYTHON]
#
# PYTHON has grpcio-tools (pip install grpcio-tools); default: python3. Needs Go 1.24 or newer.
set -euo pipefail
cd "$(dirname "$0")"
python=${1:-python3}

rm -rf api
mkdir -p bin
GOBIN=$PWD/bin go install google.golang.org/protobuf/cmd/protoc-gen-go \
    google.golang.org/grpc/cmd/protoc-gen-go-grpc
"$python" -m grpc_tools.protoc --proto_path=../../../protos \
    --plugin=bin/protoc-gen-go --go_out=. --go_opt=module=virtmesh \
    --plugin=bin/protoc-gen-go-grpc --go-grpc_out=. --go-grpc_opt=module=virtmesh \
    virtmesh/input/v1/input.proto virtmesh/kernel/v1/input_device.proto
