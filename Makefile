# Two commands do everything on a fresh Debian or Ubuntu machine: `make demo` and `make test`.
# Each target sets up what it needs, once: a virtual environment in .venv, Debian packages where missing.

VENV := .venv
BIN := $(VENV)/bin
DEPS := pyproject.toml tools/setup.sh Makefile

OLDEST := .venv-oldest
NIQUESTS := .venv-niquests
CLIENT_TESTS := $(wildcard tests/test_integrations_*.py) tests/lab/test_clients.py

.PHONY: demo test test-newest test-oldest test-niquests test-all acceptance lint types contracts bench docs clean help

help:
	@echo "make demo      build three provisioning domains in namespaces and race through their troubles"
	@echo "make test      lint, types, import contracts and all tests (the default suite)"
	@echo "make test-oldest  the tests of the adapters with the oldest clients (part of make test)"
	@echo "make test-niquests  the tests of the adapter for niquests, in its own environment (part of make test)"
	@echo "make test-all  the tests on every Python found, 3.11 to 3.13"
	@echo "make acceptance  the tests that prove what must work, and docs/acceptance.md from their results"
	@echo "make bench     every benchmark, one table each"
	@echo "make docs      the documentation, into docs/_build/html"

$(VENV)/.demo: $(DEPS)
	@tools/setup.sh $(VENV) demo

$(VENV)/.test: $(DEPS)
	@tools/setup.sh $(VENV) test

$(OLDEST)/.oldest: $(DEPS) tools/lowest.py
	@tools/setup.sh $(OLDEST) oldest

$(NIQUESTS)/.niquests: $(DEPS)
	@tools/setup.sh $(NIQUESTS) niquests

$(VENV)/.bench: $(DEPS)
	@tools/setup.sh $(VENV) bench

$(VENV)/.docs: $(DEPS)
	@tools/setup.sh $(VENV) docs

demo: $(VENV)/.demo
	@$(BIN)/pvdrace demo

test: lint types contracts test-newest test-oldest test-niquests

# Most tests wait for a network in a lab of their own: more of them at once than there are processors.
test-newest: $(VENV)/.test
	@$(BIN)/python -m pvdrace.lab $(BIN)/python -m pytest -n 4

# The adapters again, with the oldest versions of the clients that they are for.
test-oldest: $(OLDEST)/.oldest
	@$(OLDEST)/bin/python -m pvdrace.lab $(OLDEST)/bin/python -m pytest -q -n 4 $(CLIENT_TESTS)

# niquests brings urllib3-future, which takes the place of urllib3: it is with no other client.
test-niquests: $(NIQUESTS)/.niquests
	@PVDRACE_CLIENTS=niquests $(NIQUESTS)/bin/python -m pvdrace.lab $(NIQUESTS)/bin/python -m pytest -q -n 4 \
		tests/apart tests/lab/test_clients.py

lint: $(VENV)/.test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.test
	@$(BIN)/mypy

contracts: $(VENV)/.test
	@$(BIN)/lint-imports

test-all: $(VENV)/.test
	@tools/test-all.sh

acceptance: $(VENV)/.test
	@tools/acceptance.sh $(BIN)

bench: $(VENV)/.bench
	@tools/bench.sh $(BIN)

docs: $(VENV)/.docs
	@$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean:
	rm -rf $(VENV) .venv-* .tools docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis
