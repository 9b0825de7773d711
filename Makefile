# Each target calls one script, which can also be run directly.
.DEFAULT_GOAL := help
.PHONY: help run test test-fast check faults ageing fuzz bench soak clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## install and start everything: the sample data, or the configuration named by CASEMILL_CONFIG
	@scripts/run.sh

test: ## install what the tests need, including real servers, then check and test (ARGS="-k name" for pytest)
	@scripts/test.sh $(ARGS)

test-fast: ## only the unit tests: pure functions and SQLite, no servers, under a minute (ARGS="-k name" for pytest)
	@scripts/test-fast.sh $(ARGS)

check: ## lint, format, types, import rules
	@scripts/check.sh

faults: ## run all fault tests in full; writes docs/faults.md (ARGS="-k name" for pytest)
	@scripts/faults.sh $(ARGS)

ageing: ## age 10,000 tickets by 60 simulated days; writes docs/ageing.md
	@scripts/ageing.sh $(ARGS)

fuzz: ## fuzz every parser for a minute each, guided by coverage (ARGS="600 mail" for seconds and targets)
	@scripts/fuzz.sh $(ARGS)

bench: ## run every benchmark in turn; writes benchmarks/RESULTS.md (ARGS="ingest start" for some)
	@scripts/bench.sh $(ARGS)

soak: ## run steady load on the scaled-out mode for 3 minutes; writes benchmarks/SOAK.md (ARGS="--seconds 3600" for an hour)
	@scripts/soak.sh $(ARGS)

clean: ## remove .venv, caches and build results; keeps var/ and its data
	@scripts/clean.sh
