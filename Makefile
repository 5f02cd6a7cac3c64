# What CI and people run. `make test` is all of it; README.md names the two commands that matter.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
CARGO ?= cargo
PROFILE := ci
# How many random plans and histories `make oracle` runs.
CASES ?= 20000

.PHONY: test services lint demo oracle bench

# The binary first: the integration tests start it. The last line counts skipped tests, which the runner calls passed.
test: services
	$(CARGO) build --profile $(PROFILE) --workspace
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	code=0; $(CARGO) test --profile $(PROFILE) --workspace --no-fail-fast 2>&1 | tee "$$log" || code=$$?; \
	awk '/^test result:/ { passed += $$4; failed += $$6 } /SKIPPED [a-z_0-9]+:/ { skipped++ } \
	  END { printf "%d passed, %d failed, %d skipped\n", passed - skipped, failed, skipped }' "$$log"; \
	exit $$code

# What the tests' services need; installs only what is missing.
services:
	tests/services/install

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --profile $(PROFILE) --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --profile $(PROFILE) --workspace --no-deps

demo:
	$(CARGO) run --profile $(PROFILE) -- demo

oracle:
	HEADWATER_ORACLE_CASES=$(CASES) $(CARGO) test --profile $(PROFILE) --workspace --test main oracle -- --nocapture

bench:
	$(CARGO) bench --workspace --bench commerce
