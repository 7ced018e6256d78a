# Everything a newcomer needs: `make run` and `make test`. Only Python 3.11, make and a
# network are asked for; the rest is installed, pinned, into .venv.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# The first Python 3.11 that really runs; `make PYTHON=/path/to/python test` overrides it.
PYTHON ?= $(shell for p in python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1 && echo $$p && break; \
	done)

VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python -m
PYTEST := $(RUN) pytest -q -p no:cacheprovider

export RAY_USAGE_STATS_ENABLED := 0

# The environment is made again when the pins change or the folder was moved.
INSTALLED := $(VENV)/installed
ifneq ($(shell cat $(INSTALLED) 2>/dev/null),$(CURDIR))
.PHONY: $(INSTALLED)
endif

.PHONY: help run test lint types tests fuzz simulate pins clean

help:
	@echo "make run     replay one real day of flights through the whole engine"
	@echo "make test    lint, types and all tests"
	@echo "make lint    ruff: rules and format"
	@echo "make types   mypy strict and pyright strict"
	@echo "make tests   only the tests"
	@echo "make fuzz    compare more generated programs (EXAMPLES=20000)"
	@echo "make simulate  more seeds of the simulation, on all cores (SEEDS=20000 FROM=0)"
	@echo "make pins    write constraints.txt from what is installed in .venv"
	@echo "make clean   remove what make made"

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 was not found as python3.11, python3 or python: install it, or name it with PYTHON=..."; exit 1; }
	@echo "Installing the pinned packages into $(VENV) (once; about a minute)"
	@test "$$(cat $(INSTALLED) 2>/dev/null)" = "$(CURDIR)" || $(PYTHON) -m venv --clear $(VENV)
	@rm -f $(INSTALLED)
	@$(RUN) pip install -qq --disable-pip-version-check -c constraints.txt setuptools
	@$(RUN) pip install -qq --disable-pip-version-check --no-build-isolation \
		-c constraints.txt -e '.[examples,dev]'
	@echo "$(CURDIR)" > $(INSTALLED)

run: $(INSTALLED)
	@$(BIN)/python examples/flights.py $(ARGS)

test: lint types tests

lint: $(INSTALLED)
	@echo "== ruff"
	@$(RUN) ruff check --quiet .
	@$(RUN) ruff format --quiet --check . || { $(RUN) ruff format --check .; exit 1; }

types: $(INSTALLED)
	@.ci/typing-view
	@echo "== mypy --strict"
	@$(RUN) mypy
	@echo "== pyright strict"
	@$(RUN) basedpyright --project pyproject.toml --pythonpath $(BIN)/python

# Integration tests start clusters of their own: one after the other, on all cores.
PARALLEL := $(wildcard tests/unit tests/conformance tests/simulation)
SERIAL := $(wildcard tests/typing tests/integration)

tests: $(INSTALLED)
	@.ci/typing-view
	@echo "== tests: $(PARALLEL)"
	@$(PYTEST) -n 2 --dist worksteal $(PARALLEL)
	@$(if $(SERIAL),echo "== tests: $(SERIAL)")
	@$(if $(SERIAL),$(PYTEST) $(SERIAL))

EXAMPLES ?= 20000

fuzz: $(INSTALLED)
	RAYSUME_FUZZ_EXAMPLES=$(EXAMPLES) $(PYTEST) tests/unit/compiler/test_differential.py

SEEDS ?= 20000
FROM ?= 0

simulate: $(INSTALLED)
	@$(RUN) tests.simulation --seeds $(SEEDS) --from $(FROM)

pins: $(INSTALLED)
	@$(BIN)/python .ci/pin-constraints > constraints.new && mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis
