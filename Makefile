# What there is to do here; `.ci/run` is what has to pass.

SHELL := /bin/bash
export PATH := $(PATH):$(HOME)/.cargo/bin
CARGO ?= cargo
WEAVE := $(abspath $(or $(CARGO_TARGET_DIR),target))/release/weave

.PHONY: help prepare build demo test lint bench bench-mesh bench-micro bench-relay bench-ways rivals install

help:
	@echo "make demo     two Docker hosts become one Ethernet, on this machine, step by step (root)"
	@echo "make test     every test there is (root)"
	@echo "make build    the program: target/release/weave"
	@echo "make install  the same, to /usr/local/bin (root)"
	@echo "make lint     format, clippy, documentation"
	@echo "make bench    one table: no overlay, kernel VXLAN, weave over UDP and TLS, rivals that are installed (root)"
	@echo "make bench-relay  what a relay costs, beside a direct path (root)"
	@echo "make bench-ways   one table: how two hosts reach each other through NATs, firewalls and bad ways (root)"
	@echo "make bench-mesh  one table: 10 to 1000 simulated peers, how soon they agree and what it costs"
	@echo "make rivals   installs rivals for that table (root)"
	@echo "make bench-micro  what each step of the data path costs, in time and in instructions"

prepare:
	@lab/prepare.sh

build:
	$(CARGO) build --release --locked --package cli

demo: prepare build
	@WEAVE_BIN=$(WEAVE) lab/demo.sh

test: prepare build
	@WEAVE_BIN=$(WEAVE) LAB_REQUIRED=1 CARGO="$(CARGO)" lab/test.sh

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --workspace --no-deps --document-private-items --locked

bench: prepare build
	@WEAVE_BIN=$(WEAVE) $(CARGO) run --quiet --release --locked --package benches --bin compare

bench-relay: prepare build
	@WEAVE_BIN=$(WEAVE) $(CARGO) run --quiet --release --locked --package benches --bin relay

bench-ways: prepare build
	@WEAVE_BIN=$(WEAVE) $(CARGO) run --quiet --release --locked --package benches --bin ways -- $(WAYS)

bench-mesh:
	@$(CARGO) run --quiet --release --locked --package benches --bin mesh-table

bench-micro:
	$(CARGO) bench --locked --package benches

rivals:
	@benches/rivals.sh

install: build
	install -m 0755 $(WEAVE) /usr/local/bin/weave
