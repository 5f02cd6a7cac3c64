# What CI and people run. `make test` is all of it; README.md names the two commands that matter.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
CARGO ?= cargo
PROFILE := ci
# Tests and lints are of the build that has everything; `cargo run` and `make demo` need no OpenSSL.
FEATURES := --features kafka-tls
# How many random plans and histories `make oracle` runs.
CASES ?= 20000
# For how many seconds `make fuzz` runs each target.
FUZZ_SECONDS ?= 120

# The files of SQL logic tests that `make slt` runs (a folder or a file; our own if there is none), and how many queries.
DIR ?=
MODE ?= both
SAMPLE ?=
SEED ?=

.PHONY: test services openssl lint demo oracle slt fuzz figures bench

# The binary first: the integration tests start it. The last line counts skipped tests, which the runner calls passed.
test: services
	$(CARGO) build --profile $(PROFILE) --workspace $(FEATURES)
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	code=0; $(CARGO) test --profile $(PROFILE) --workspace $(FEATURES) --no-fail-fast 2>&1 | tee "$$log" || code=$$?; \
	awk '/^test result:/ { passed += $$4; failed += $$6 } /SKIPPED [a-z_0-9]+:/ { skipped++ } \
	  END { printf "%d passed, %d failed, %d skipped\n", passed - skipped, failed, skipped }' "$$log"; \
	exit $$code

# What the tests' services need; installs only what is missing.
services:
	tests/services/install

openssl:
	tests/services/install openssl

lint: openssl
	$(CARGO) fmt --all --check
	$(CARGO) clippy --profile $(PROFILE) --workspace $(FEATURES) --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --profile $(PROFILE) --workspace $(FEATURES) --no-deps

demo:
	$(CARGO) run --profile $(PROFILE) -- demo

oracle:
	HEADWATER_ORACLE_CASES=$(CASES) $(CARGO) test --profile $(PROFILE) --workspace $(FEATURES) --test main oracle -- --nocapture

slt:
	HEADWATER_SLT_DIR=$(abspath $(DIR)) HEADWATER_SLT_MODE=$(MODE) HEADWATER_SLT_SAMPLE=$(SAMPLE) HEADWATER_SLT_SEED=$(SEED) \
	  $(CARGO) test --profile $(PROFILE) --workspace $(FEATURES) --test main slt -- --nocapture

# Needs a nightly compiler and cargo-fuzz: rustup toolchain install nightly; cargo install cargo-fuzz. The first build takes
# as long as that of the workspace. A failing input is kept in tests/fuzz/artifacts: make it a plain test.
fuzz:
	cp Cargo.lock tests/fuzz/Cargo.lock
	for target in json csv; do \
	  mkdir -p tests/fuzz/corpus/$$target; \
	  $(CARGO) +nightly fuzz run --dev --sanitizer none --fuzz-dir tests/fuzz $$target \
	    tests/fuzz/corpus/$$target tests/fuzz/seeds/$$target -- -max_total_time=$(FUZZ_SECONDS) -dict=tests/fuzz/json.dict; \
	done

# What the edge costs, printed; for figures that mean something set PROFILE=release, which takes long to build.
figures: services
	$(CARGO) build --profile $(PROFILE) --workspace $(FEATURES)
	HEADWATER_FIGURES_ROWS=$${HEADWATER_FIGURES_ROWS:-5000000} HEADWATER_FIGURES_SECONDS=$${HEADWATER_FIGURES_SECONDS:-20} \
	  $(CARGO) test --profile $(PROFILE) --workspace $(FEATURES) --test main figures -- --nocapture

bench:
	$(CARGO) bench --workspace --bench commerce
