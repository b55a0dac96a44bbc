# The front door. Every target makes what it needs; when nothing has changed, nothing is installed.
PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python -m
# Packages that the user has for himself are none of the platform's.
export PYTHONNOUSERSITE := 1
# What `make test` runs, and how: make test SUITES=tests/unit PYTEST_OPTIONS="-k lease"
SUITES ?= tests
# A worker a core; the tests of one file stay together, for they share what they start.
PYTEST_OPTIONS ?= -n auto --dist loadfile

# Which trainings, and for how long: make tables TABLES_OPTIONS="--datasets mnist --budget-minutes 60"
TABLES_OPTIONS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo up migrate test test-all faults security fuzz chaos mutations explore check format reference plots lock bench tables clean

help: ## Show this text
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make .venv and install everything into it (every target below does so by itself)
	@$(PYTHON) scripts/setup.py

demo: setup ## Start the platform, train three models side by side, predict, download, stop (DATA=archive.zip: yours)
	@$(RUN) demo $(if $(DATA),--data "$(DATA)")

up: setup ## Start the platform in the foreground and leave it running; Ctrl-C stops it, the data stays
	@$(RUN) embedded up

migrate: setup ## Bring the schema of LENET_DATABASE_URL up to date
	@$(RUN) core.db

test: setup ## Run the tests, but for those that take minutes
	@$(RUN) pytest $(SUITES) -m "not slow" $(PYTEST_OPTIONS)

test-all: setup ## Run every test but for the fault suite's long part
	@$(RUN) pytest $(SUITES) -m "not long" $(PYTEST_OPTIONS)

# Its tests mostly wait, for leases and for silence; those of a file share a platform.
faults: PYTEST_OPTIONS = -n 4 --dist loadfile
faults: setup ## Kill, freeze and poison a real platform, and check that nothing is lost (MINUTES=8: begin none after)
	@FAULTS_MINUTES=$(MINUTES) $(RUN) pytest tests/chaos -m "chaos and not long" $(PYTEST_OPTIONS)

security: setup ## Attack a real platform in every way of docs/explanation/security.md (minutes)
	@$(RUN) pytest tests/security $(PYTEST_OPTIONS)

fuzz: setup ## Fuzz each reader of what strangers send for MINUTES=10 and count what breaks it (TARGETS="zip image")
	@$(BIN)/python scripts/fuzzing.py --minutes $(or $(MINUTES),10) $(TARGETS)

chaos: setup ## Hurt a platform at random for MINUTES=30 on each database in turn (SEED=...: the same faults again)
	@CHAOS_MINUTES=$(or $(MINUTES),30) CHAOS_SEED=$(SEED) $(RUN) pytest tests/chaos/test_schedule.py -s -k random

mutations: setup ## Take each safeguard out of a copy of the tree and see a test fail; write docs/reference/mutations.md
	@$(BIN)/python scripts/mutations.py

explore: setup ## Send what openapi.json allows and forbids for SECONDS=600 with a key of each scope (SEED=...: the same again)
	@EXPLORE_SECONDS=$(or $(SECONDS),600) EXPLORE_SEED=$(or $(SEED),$(shell date +%s)) $(RUN) pytest tests/security/test_openapi.py -s

check: setup ## Lint, check the format, the types, the layers and what is known of the packages' vulnerabilities
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python scripts/audit.py

format: setup ## Format the code and mend what can be mended
	@$(RUN) ruff check --fix-only .
	@$(RUN) ruff format .

reference: setup ## Write the reference pages of docs/ anew from the code
	@$(BIN)/python scripts/reference.py

plots: setup ## Draw the pictures of docs/explanation/results.md anew
	@$(BIN)/python scripts/plots.py

lock: setup ## Write constraints.txt and locks/ anew from what is installed
	@$(BIN)/python scripts/lock.py

bench: setup ## Measure, and print each figure with its spread (hours)
	@$(RUN) bench

tables: setup ## Train every recipe on the real images, as far as not yet done, and write docs/results.md (hours)
	@$(RUN) bench.tables $(TABLES_OPTIONS)

clean: ## Remove what was made here, .venv too; the data stays
	@rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .schemathesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
