# `make help` lists what there is. Every target sets up first what it needs, into .venv and
# native/target; nothing is installed on the system. What is set up already costs no time again.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?= python3
PYTEST_ARGS ?=
# Looked up before .venv leads the PATH.
HOST_PYTHON := $(shell command -v $(PYTHON) || echo $(PYTHON))

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
CARGO := nice cargo
MANIFEST := --manifest-path native/Cargo.toml --locked
FUZZED := tests/vhost_user/test_any_front_end.py tests/vhost_user/test_messages.py
FUZZ_ROUNDS ?= 10
INTEROP := tests/interop/virtio-driver/Cargo.toml
STACK := $(BIN)/python tools/stack.py
SHELL_SCRIPTS := .ci/run $(wildcard tools/*.sh deploy/offline/*.sh)
NATIVE_SOURCES := $(shell find native -name target -prune -o -name fuzz -prune -o -type f \
	\( -name '*.rs' -o -name '*.toml' -o -name Cargo.lock -o -name '*.py' -o -name '*.pyi' \) -print)
DISTRIBUTIONS := common clients services
EXAMPLES := $(basename $(notdir $(wildcard native/*/examples/*_bench.rs)))

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-native test-python test-interop fuzz lint dashboards protos lock bench \
	up down images clean

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 22

setup: $(STAMPS)/native $(STAMPS)/package ## make .venv, with everything built and installed

demo: setup ## start a machine, copy a real ext4 image through its disk and back
	@tools/doctor.sh e2fsprogs
	$(BIN)/python tools/demo.py

test: test-native test-python ## run all tests (those of the containers where Docker answers)

test-native: $(STAMPS)/host ## run the tests of the native workspace
	$(CARGO) test $(MANIFEST) --workspace --quiet
	RUSTFLAGS='--cfg loom' $(CARGO) test $(MANIFEST) --target-dir native/target/loom \
		--package virtmesh-ring --package virtmesh-device --release --test loom --quiet

test-python: setup ## run pytest; PYTEST_ARGS='-k name' picks tests
	@tools/doctor.sh e2fsprogs
	@if tools/doctor.sh docker; then $(STACK) build; else echo 'tests/compose is left out'; fi
	$(BIN)/pytest $(PYTEST_ARGS)

test-interop: setup ## boot real Linux guests (UML, QEMU) on the devices; takes minutes
	@tools/doctor.sh guests
	tools/guests.sh build/guests
	VIRTMESH_GUESTS=build/guests $(BIN)/pytest tests/interop -o faulthandler_timeout=300 $(PYTEST_ARGS)

fuzz: setup ## attack rings, requests and vhost-user at random, for about half an hour
	for round in $$(seq $(FUZZ_ROUNDS)); do \
		$(CARGO) test $(MANIFEST) --release --quiet -p virtmesh-ring -p virtmesh-blk garbage; \
	done
	$(BIN)/pytest $(FUZZED) --hypothesis-profile=fuzz -o timeout=0 -o faulthandler_timeout=0 $(PYTEST_ARGS)

lint: setup ## check style, types, protos, generated code, locks and compose file
	@tools/doctor.sh clippy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	cargo fmt --manifest-path native/Cargo.toml --all --check
	$(CARGO) clippy $(MANIFEST) --workspace --all-targets --quiet -- -D warnings
	cargo fmt --manifest-path $(INTEROP) --check
	$(CARGO) clippy --manifest-path $(INTEROP) --locked --target-dir build/interop --quiet -- -D warnings
	$(BIN)/buf lint
	$(BIN)/python tools/protos.py --check
	$(BIN)/python tools/input_codes.py --check
	$(BIN)/python -m tools.metrics_table --check
	$(BIN)/python -m tools.errors_table --check
	$(BIN)/python -m tools.dashboards.make --check
	$(BIN)/python tools/lock.py --check
	for script in $(SHELL_SCRIPTS); do bash -n "$$script"; done
	$(STACK) check

dashboards: setup ## write the dashboards and the tables of docs/metrics.md
	$(BIN)/python -m tools.metrics_table
	$(BIN)/python -m tools.dashboards.make

protos: $(STAMPS)/dependencies ## generate the Python stubs from protos/
	$(BIN)/buf lint
	$(BIN)/python tools/protos.py

lock: $(STAMPS)/dependencies ## lock the dependencies of pyproject.toml and native/Cargo.toml
	command -v uv >/dev/null || $(BIN)/pip install --quiet uv
	$(BIN)/python tools/lock.py
	cargo metadata --manifest-path native/Cargo.toml --format-version 1 >/dev/null

bench: setup ## run the benchmarks; they print ratios and assert nothing
	for example in $(EXAMPLES); do $(CARGO) run $(MANIFEST) --release --quiet --example "$$example"; done
	shopt -s nullglob; for bench in tests/bench/*.py; do $(BIN)/python "$$bench"; done

up: $(STAMPS)/package ## build and start the stack of docker-compose.yml, wait until it is healthy
	@tools/doctor.sh docker
	$(STACK) up

down: $(STAMPS)/package ## stop the stack; its disks stay
	@tools/doctor.sh docker
	$(STACK) down

images: $(STAMPS)/package ## build the container images
	@tools/doctor.sh docker
	$(STACK) build

clean: ## take away all that was built, .venv too
	rm -rf $(VENV) build dist native/target .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Says what the host lacks, and makes .venv.
$(STAMPS)/host:
	@PYTHON=$(HOST_PYTHON) tools/doctor.sh python cc cargo
	@[ -x $(BIN)/pip ] || $(HOST_PYTHON) -m venv --clear $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/dependencies: requirements/dev.lock $(STAMPS)/host
	@PYTHON=$(HOST_PYTHON) tools/doctor.sh xkb
	$(BIN)/pip install --quiet --require-hashes --requirement $<
	@touch $@

$(STAMPS)/package: $(DISTRIBUTIONS:%=%/pyproject.toml) $(STAMPS)/dependencies
	$(BIN)/pip install --quiet --no-deps --no-build-isolation $(DISTRIBUTIONS:%=--editable ./%)
	@touch $@

$(STAMPS)/native: $(NATIVE_SOURCES) $(STAMPS)/dependencies
	rm -rf build/wheels
	nice $(BIN)/maturin build --quiet --release --locked \
		--manifest-path native/python/Cargo.toml --out build/wheels
	$(BIN)/pip install --quiet --no-deps --no-index --force-reinstall build/wheels/*.whl
	@touch $@
