# SPDX-License-Identifier: GPL-2.0-or-later
# What one does here; `make help` tells it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# A process for each core; who is through takes over from the others.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist worksteal
# Tests start hundreds of programs of ours, each of which would compile all of its modules.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help env check format test demo soak bench bench-doc manual clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile

env: $(READY)  ## the Python environment in .venv, with everything that tests and checks need
	@$(BIN)/python -c "import systemd.journal" 2>/dev/null || ! pkg-config --exists libsystemd 2>/dev/null \
		|| $(BIN)/python -m pip install --quiet --disable-pip-version-check "systemd-python>=235" \
		|| echo "systemd-python could not be built: the tests of the journal are left out." >&2

$(READY): requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@$(BIN)/python -m compileall -q fail2ban common server client tryout  # as an installation does
	@touch $(READY)

check: env  ## formatting, lint, types and the tests that need neither root nor minutes
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) -m "not root and not slow"

format: env  ## put every file into the one format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test:  ## every test; as root, what they need of the system is installed first
	@tools/install-test-tools || test "$$CI" != true
	@$(MAKE) --no-print-directory env
	$(PYTEST)

demo: env  ## a server, an attack and a ban, in less than a minute and without root
	@$(BIN)/python tools/demo

soak: env  ## kill the server hundreds of times under attack, try thousands of hostile lines
	$(BIN)/python bench/soak.py
	THOROUGH=100 $(PYTEST) tests/test_hostile_filters.py

bench: env  ## how fast it is
	$(BIN)/python -m bench $(if $(AGAINST),--against $(AGAINST))

bench-doc: env  ## measure at length, and write doc/performance.md
	$(BIN)/python -m bench --repeat 5 --full --json doc/performance.json $(if $(AGAINST),--against $(AGAINST))
	$(BIN)/python -m bench.page doc/performance.json

manual: env  ## what is read from the tables: man pages, reference, completion for shells
	$(BIN)/python tools/manual.py

clean:  ## take away what the targets above have made
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
	find . -name __pycache__ -prune -exec rm -rf {} +
