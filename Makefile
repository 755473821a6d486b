# `make` alone lists the commands. They need Python 3.11+, make and git; nothing else has to be installed or running.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
LOCK := requirements.lock
SHELL := /bin/bash

# What the lock was made with; it is fetched for `make lock` only.
UV := uv==0.13.9

# Tests wait for servers half of their time, so there are two workers a core, each with stores, ports and data of its own.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(2 * (os.cpu_count() or 1))')
PARALLEL = --numprocesses $(WORKERS) --dist worksteal
# The processes that tests start need not compile the project each time.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest
# Only what is named on make's own command line: an address that happens to be in the environment may be a bank's.
named = $(if $(filter command,$(firstword $(origin $(1)))),$(2)='$($(1))')
OWN_STORES = $(call named,MONGODB_URI,--mongodb-uri) $(call named,REDIS_URL,--redis-url)

.DEFAULT_GOAL := help
.PHONY: help setup demo tour unit test soak coverage check format bench lock clean

help: ## list the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | awk -F'\t' '{ printf "  make %-8s %s\n", $$1, $$2 }'

setup: $(STAMP) ## create .venv with the pinned packages

$(STAMP): $(LOCK)
	@$(PYTHON) deploy/install.py --venv $(VENV) --lock $(LOCK)

demo: setup ## start everything with the demonstration bank; Ctrl-C stops it
	@exec $(BIN)/python manage.py demo --with-parent

tour: setup ## play one customer from the scan to the redeemed reward
	@exec $(BIN)/python manage.py tour

unit: setup ## run the tests that need no store, no network and no process; half a minute
	@$(PYTEST) $(PARALLEL) tests/unit $(ARGS)

test: setup ## run every test on real parts; MONGODB_URI=... REDIS_URL=... on stores of your own
	@start=$$(date +%s); status=0; \
	$(PYTEST) $(PARALLEL) $(OWN_STORES) $(ARGS) || status=$$?; \
	echo "make test: $$(( $$(date +%s) - start )) seconds"; exit $$status

soak: setup ## run the long forms: storm, sync and flood of 100,000, an hour of a bank's days, kill after kill; ONLY=age for one
	@set -e; for row in $(or $(ONLY),storm sync flood age); do $(BIN)/python -m bench --long --only $$row; done
	@$(if $(ONLY),true,$(PYTEST) --soak $(ARGS))

coverage: setup ## run every test and tell which lines ran; costs a third more
	@$(PYTEST) $(PARALLEL) --cov --cov-report=term $(ARGS)

check: setup ## lint, formatting, types, import arrow; and the mirror
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m deploy.mirror

format: setup ## sort the imports and format the code
	@$(BIN)/ruff check --select I --fix .
	@$(BIN)/ruff format .

bench: setup ## measure against the naive way and the ceiling; ONLY=claim for one row
	@exec $(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

lock: ## pin the packages of pyproject.toml anew, for Python 3.11 to 3.13
	@$(PYTHON) -m venv --clear .data/lock && .data/lock/bin/python -m pip install --quiet $(UV)
	@.data/lock/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --extra laptop --extra dev \
	  --generate-hashes --no-header --no-annotate --no-emit-index-url --no-config --upgrade --quiet --output-file requirements.lock

clean: ## remove .venv, .data and caches
	@$(PYTHON) deploy/clean.py
