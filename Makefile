# Thin on purpose: each target calls one script, which can be run by hand just as well.
.DEFAULT_GOAL := help
.PHONY: help run test test-fast check faults ageing fuzz bench soak clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## install and start everything: the sample world, or CASEMILL_CONFIG when it is set
	@scripts/run.sh

test: ## set up what the tests need, real servers included, then check and test (ARGS="-k name" for pytest)
	@scripts/test.sh $(ARGS)

test-fast: ## the unit tests alone: pure functions and SQLite, no servers, under a minute (ARGS="-k name" for pytest)
	@scripts/test-fast.sh $(ARGS)

check: ## lint, format, types, import rules
	@scripts/check.sh

faults: ## every fault of the matrix in full, the report into docs/faults.md (ARGS="-k name" for pytest)
	@scripts/faults.sh $(ARGS)

ageing: ## 10,000 tickets over 60 simulated days; writes docs/ageing.md
	@scripts/ageing.sh $(ARGS)

fuzz: ## fuzz every parser for a minute each, guided by coverage (ARGS="600 mail" for seconds and targets)
	@scripts/fuzz.sh $(ARGS)

bench: ## run every benchmark in turn, the table into benchmarks/RESULTS.md (ARGS="ingest start" for some)
	@scripts/bench.sh $(ARGS)

soak: ## steady load on the scaled-out mode for 3 minutes, the report into benchmarks/SOAK.md (ARGS="--seconds 3600" for an hour)
	@scripts/soak.sh $(ARGS)

clean: ## remove .venv, caches and build results; var/ with its data stays
	@scripts/clean.sh
