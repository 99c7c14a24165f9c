# `make help` lists what there is. Every target sets up first what it needs, into .venv and
# native/target. Debian packages that are missing are named all at once; root, or who has sudo, gets
# them installed, and is asked first on a terminal. NO_INSTALL=1 installs nothing on the system.
# What is set up already costs no time again.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory
# The steps of a target are in order: what it needs comes first.
.NOTPARALLEL:

PYTHON ?= python3
# Looked up before .venv leads the PATH.
HOST_PYTHON := $(shell command -v $(PYTHON) || echo $(PYTHON))

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
SAY = @printf '\n== %s\n'
CARGO := nice cargo
MANIFEST := --manifest-path native/Cargo.toml --locked
# Seconds for all fuzz targets together; SECONDS=60 for another time.
FUZZ_SECONDS := 1800
FUZZ_SHORT_SECONDS := 120
# Of `make fuzz-hart`.
FUZZ_ROUNDS ?= 10
# Tests that bear company: they run on all processors at once.
PARALLEL := tests/unit tests/contract tests/layouts tests/vhost_user \
	$(addprefix tests/integration/,client cpu docs fault host input kernel kills kinds local powerloss rpc uart)
# Those among them that watch a clock, or send signals to the moment: they run alone.
ALONE := tests/contract/host/test_reset.py tests/contract/malicious/test_resets.py \
	tests/integration/client/test_input_live.py tests/integration/client/test_interruption.py
# Tests of what event loops do, in which versions of Python differ.
ON_LOOPS := tests/contract $(addprefix tests/unit/,attach blk client/aio client/input client/serial drivers gpu \
	host input kernel local rpc scraping testing uart virtio)
# The places beside an ordinary checkout: tools/everywhere.sh.
PLACES := tmpfs overlay distribution
# Tests of what lies in files: images, sockets, the file systems that are below them.
ON_FILES := tests/unit/blk tests/unit/native tests/unit/attach tests/contract/blk tests/vhost_user \
	tests/integration/local
INTEROP := tests/interop/virtio-driver/Cargo.toml
STACK := $(BIN)/python tools/stack.py
SHELL_SCRIPTS := .ci/run $(wildcard tools/*.sh tools/*/*.sh deploy/offline/*.sh)
NATIVE_SOURCES := $(shell find native -name target -prune -o -name fuzz -prune -o -type f \
	\( -name '*.rs' -o -name '*.toml' -o -name Cargo.lock -o -name '*.py' -o -name '*.pyi' \) -print)
DISTRIBUTIONS := common clients services
# compare.py is a tool that the others are given to; boot.py, guest_iops.py and guest_screen.py need guests;
# many.py takes the whole machine for minutes: make bench-many.
BENCHES := $(patsubst tests/bench/%.py,tests.bench.%,\
	$(filter-out %/compare.py %/boot.py %/guest_iops.py %/guest_screen.py %/many.py \
	%/many_processes.py,$(wildcard tests/bench/*.py)))
EXAMPLES := $(basename $(notdir $(wildcard native/*/examples/*_bench.rs)))

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup run-setup demo demo-riscv test native-tests test-native test-python test-interop \
	test-install test-kills soak test-layouts test-everywhere test-elsewhere fuzz fuzz-short \
	fuzz-hart fuzz-corpora lint \
	dashboards protos panel-assets lock wheels bench bench-long bench-parts bench-many bench-boot up down images clean

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 22

setup: needs-setup $(STAMPS)/development run-setup ## make .venv, with everything built and installed

# What it takes to run virtmesh, without the tools of its development.
run-setup: $(STAMPS)/running $(STAMPS)/native $(STAMPS)/package

demo: needs-demo run-setup ## a tour of a machine, with proofs; DEMO_ARGS=--stay leaves it up
	$(BIN)/python -m tools.demo $(DEMO_ARGS)

demo-riscv: needs-demo run-setup ## boot Debian's riscv64 Linux on six services; takes a few minutes
	$(SAY) "fetching Debian's riscv64 kernel (115 MB, once)"
	tools/guests.sh build/guests riscv64
	$(BIN)/python -m tools.demo_riscv build/guests

test: needs-test test-native test-python ## run all tests (those of the containers where Docker answers)

# The Python binding has its tests in Python; to link Rust ones would take libpython.
NATIVE_TESTS = $(CARGO) test $(MANIFEST) --workspace --exclude virtmesh-native --quiet
LOOM_TESTS = RUSTFLAGS='--cfg loom' $(CARGO) test $(MANIFEST) --target-dir native/target/loom \
	--package virtmesh-ring --package virtmesh-device --release --test loom --quiet

native-tests: needs-setup $(STAMPS)/venv ## build the tests of the native workspace
	$(SAY) "Rust: building the tests takes a few minutes the first time"
	$(NATIVE_TESTS) --no-run
	$(LOOM_TESTS) --no-run

test-native: native-tests ## run the tests of the native workspace
	$(NATIVE_TESTS)
	$(LOOM_TESTS)
	$(CARGO) test --manifest-path $(INTEROP) --locked --target-dir build/interop --quiet

test-python: needs-test setup ## run pytest; PYTEST_ARGS='-k name' picks tests
	@if tools/doctor.sh docker; then $(STACK) build; else echo 'tests/compose is left out'; fi
	$(SAY) "Python: all tests take about ten minutes; PYTEST_ARGS='tests/unit' takes one or two"
ifdef PYTEST_ARGS
	$(BIN)/pytest $(PYTEST_ARGS)
else
	$(BIN)/pytest --numprocesses=auto $(PARALLEL) $(ALONE:%=--ignore=%)
	$(BIN)/pytest $(ALONE)
	$(BIN)/pytest $(PARALLEL:%=--ignore=%)
endif

test-interop: needs-guests setup ## boot real Linux guests (UML, QEMU) on the devices; takes minutes
	tools/guests.sh build/guests
	VIRTMESH_GUESTS=build/guests $(BIN)/pytest tests/interop -o faulthandler_timeout=300 $(PYTEST_ARGS)

test-kills: needs-guests setup ## kill the devices of a booted Linux 50 times under load; prints what the guest saw
	tools/guests.sh build/guests riscv64
	VIRTMESH_KILLS=50 VIRTMESH_GUESTS=build/guests $(BIN)/pytest tests/interop/riscv/test_recovery.py -rP \
		-o faulthandler_timeout=900 $(PYTEST_ARGS)

# SEED=0 chooses one, and prints it.
MINUTES ?= 30
SEED ?= 0
soak: needs-test setup ## random faults and kills of a whole machine under verified load; MINUTES=30 SEED=
	$(BIN)/python -m tests.soak --minutes $(MINUTES) --seed $(SEED)

test-everywhere: test ## run all tests here, and in three other places; takes an hour
	tools/everywhere.sh tmpfs $(CARGO) test $(MANIFEST) --package virtmesh-blk --quiet
	for place in $(PLACES); do \
		echo "== all tests: $$place"; \
		tools/everywhere.sh $$place pytest --numprocesses=auto $(PARALLEL); \
		tools/everywhere.sh $$place pytest --ignore=tests/compose $(PARALLEL:%=--ignore=%); \
	done

# What can differ: what touches files, for the file systems; what a cancelled task does, for the Python.
test-elsewhere: needs-test setup ## run the parts of the tests that differ there, in a few minutes
	tools/everywhere.sh tmpfs pytest --numprocesses=auto $(ON_FILES)
	tools/everywhere.sh overlay pytest --numprocesses=auto $(ON_FILES)
	tools/everywhere.sh distribution pytest --numprocesses=auto $(ON_LOOPS)

test-install: needs-install wheels ## install into empty Debian containers: the client, and make demo
	VIRTMESH_WHEELS=dist $(BIN)/pytest tests/install -o timeout=1800 -o faulthandler_timeout=1800 \
		$(PYTEST_ARGS)

test-layouts: needs-test setup ## type every character of every keyboard layout of xkb-data; takes minutes
	VIRTMESH_LAYOUTS=all $(BIN)/pytest --numprocesses=auto tests/layouts $(PYTEST_ARGS)

# TARGET=NAME runs one target, INPUT=FILE one input of it.
FUZZ = $(BIN)/python -m tools.fuzz $(addprefix --target ,$(TARGET))

fuzz: needs-fuzz setup ## fuzz by coverage for half an hour; TARGET=NAME SECONDS=60 or INPUT=FILE
	$(FUZZ) $(if $(INPUT),--input $(INPUT),--seconds $(or $(SECONDS),$(FUZZ_SECONDS)))

# Always the same inputs, as far as two minutes go: what passed once does not fail by chance.
fuzz-short: needs-fuzz setup ## the same in two minutes
	$(FUZZ) --seed 1 --seconds $(or $(SECONDS),$(FUZZ_SHORT_SECONDS))

fuzz-hart: needs-guests setup ## run random programs on our processor and on QEMU's; FUZZ_ROUNDS=10
	VIRTMESH_GUESTS=build/guests ISA_ROUNDS=$(FUZZ_ROUNDS) ISA_SEED=$$RANDOM $(BIN)/pytest \
		tests/interop/riscv/isa $(PYTEST_ARGS)

fuzz-corpora: needs-fuzz setup ## commit the smallest corpora that cover what `make fuzz` has found
	$(FUZZ) --minimize

lint: needs-lint setup ## check style, types, protos, generated code, locks and compose file
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	cargo fmt --manifest-path native/Cargo.toml --all --check
	$(CARGO) clippy $(MANIFEST) --workspace --all-targets --quiet -- -D warnings
	cargo fmt --manifest-path $(INTEROP) --check
	cargo fmt --manifest-path native/fuzz/Cargo.toml --check
	cargo metadata --manifest-path native/fuzz/Cargo.toml --locked --format-version 1 >/dev/null
	$(CARGO) clippy --manifest-path $(INTEROP) --locked --target-dir build/interop --quiet -- -D warnings
	$(BIN)/buf lint
	$(BIN)/python tools/protos.py --check
	$(BIN)/python tools/input_codes.py --check
	$(BIN)/python -m tools.metrics_table --check
	$(BIN)/python -m tools.errors_table --check
	$(BIN)/python -m tools.limits_table --check
	$(BIN)/python -m tools.rules_table --check
	$(BIN)/python -m tools.access_table --check
	$(BIN)/python -m tools.dashboards.make --check
	$(BIN)/python -m tools.panel_assets --check
	$(BIN)/python tools/lock.py --check
	for script in $(SHELL_SCRIPTS); do bash -n "$$script"; done
	$(STACK) check

dashboards: setup ## write the dashboards and the tables of docs/metrics.md
	$(BIN)/python -m tools.metrics_table
	$(BIN)/python -m tools.dashboards.make

protos: needs-setup $(STAMPS)/development ## generate the Python stubs from protos/
	$(BIN)/buf lint
	$(BIN)/python tools/protos.py

panel-assets: needs-panel setup ## bundle noVNC, xterm.js and uPlot for the panel, from npm
	$(BIN)/python -m tools.panel_assets

lock: needs-setup $(STAMPS)/development ## lock the dependencies of pyproject.toml and native/Cargo.toml
	$(BIN)/python tools/lock.py
	cargo metadata --manifest-path native/Cargo.toml --format-version 1 >/dev/null
	cargo metadata --manifest-path native/fuzz/Cargo.toml --format-version 1 >/dev/null

# ROWS='read-* uart' measures only these; BENCH_ARGS has other options: python -m tests.bench.suite --help
SUITE = $(BIN)/python -m tests.bench.suite $(foreach row,$(ROWS),--only '$(row)') $(BENCH_ARGS)

bench: setup ## measure beside peers and floors in turns, in some minutes; ROWS='read-* uart' picks rows
	$(SUITE)

bench-long: setup ## the same with more depths, rounds and bytes; takes most of an hour
	$(SUITE) --long

bench-parts: setup ## run the single benchmarks of parts; they print ratios and assert nothing
	for example in $(EXAMPLES); do $(CARGO) run $(MANIFEST) --release --quiet --example "$$example"; done
	for bench in $(BENCHES); do $(BIN)/python -m "$$bench"; done

# MANY='--machines 10 --only machines' for less.
bench-many: setup ## 50 machines, 64 devices, 1,000 clients: start, memory, idle CPU; takes minutes and 10 GiB
	$(BIN)/python -m tests.bench.many $(MANY)

bench-boot: needs-guests setup ## boot Debian's riscv64 Linux here and on QEMU, in turns; takes minutes
	tools/guests.sh build/guests riscv64
	$(BIN)/python -m tests.bench.boot

wheels: setup ## build the four distributions as wheels, into dist/
	rm -rf dist && mkdir dist
	cp build/wheels/*.whl dist/
	for folder in $(DISTRIBUTIONS); do (cd $$folder && python -m hatchling build -t wheel -d $(CURDIR)/dist); done

up: needs-stack $(STAMPS)/development $(STAMPS)/package ## build and start the stack of docker-compose.yml, wait until it is healthy
	$(STACK) up

down: needs-stack $(STAMPS)/development $(STAMPS)/package ## stop the stack; its disks stay
	$(STACK) down

images: needs-stack $(STAMPS)/development $(STAMPS)/package ## build the container images
	$(STACK) build

clean: ## take away all that was built, .venv too
	rm -rf $(VENV) build dist native/target .mypy_cache .pytest_cache .ruff_cache .hypothesis

# What the host must have for a target, in the words of tools/doctor.sh. It is asked for all at once,
# before anything is built.
NEEDS_setup := python cc cargo text
NEEDS_demo := $(NEEDS_setup) e2fsprogs
NEEDS_test := $(NEEDS_setup) e2fsprogs iproute2 browser
NEEDS_guests := $(NEEDS_test) guests
NEEDS_lint := $(NEEDS_setup) clippy
NEEDS_fuzz := $(NEEDS_setup) cxx
NEEDS_install := $(NEEDS_setup) docker
NEEDS_stack := python docker
NEEDS_panel := $(NEEDS_setup) node

$(addprefix needs-,setup demo test guests lint fuzz install stack panel): needs-%:
	@PYTHON=$(HOST_PYTHON) tools/doctor.sh --install $(NEEDS_$*)

$(STAMPS)/venv:
	$(SAY) "making $(VENV) with $(HOST_PYTHON)"
	@[ -x $(BIN)/pip ] || $(HOST_PYTHON) -m venv --clear $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/running: requirements/host.lock requirements/build.lock $(STAMPS)/venv
	$(SAY) "fetching the Python packages to run virtmesh (a quarter of a minute)"
	@$(BIN)/pip install --quiet --require-hashes $(patsubst %,--requirement %,$(filter %.lock,$^))
	@touch $@

$(STAMPS)/development: requirements/dev.lock $(STAMPS)/venv
	$(SAY) "fetching the Python packages to test and check it (half a minute)"
	@$(BIN)/pip install --quiet --require-hashes --requirement $<
	@touch $@; [ -e $(STAMPS)/running ] || touch $(STAMPS)/running

$(STAMPS)/package: $(DISTRIBUTIONS:%=%/pyproject.toml) $(STAMPS)/running
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation $(DISTRIBUTIONS:%=--editable ./%)
	@touch $@

$(STAMPS)/native: $(NATIVE_SOURCES) $(STAMPS)/running
	$(SAY) "building the native extension in Rust (a minute or two the first time)"
	@rm -rf build/wheels
	@nice $(BIN)/maturin build --release --locked --manifest-path native/python/Cargo.toml --out build/wheels
	@$(BIN)/pip install --quiet --no-deps --no-index --force-reinstall build/wheels/*.whl
	@touch $@
