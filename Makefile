# Two commands on a fresh machine: make run, make test. Each sets up all that it needs.
SHELL := /bin/bash
VENV ?= .venv
PYTHON ?= python3
PORT ?= 8000
BIN := $(VENV)/bin
WORKERS ?= auto

.PHONY: help run test lint format bench screenshots translations lock wheel clean

help: ## What there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-14s %s\n", $$1, $$2}'

run: $(VENV)/.runs ## Serve a demo on http://127.0.0.1:8000 (PORT=8001 for another port)
	@$(BIN)/iam demo --port $(PORT)

test: $(VENV)/.tests tests/.parts ## Everything passes; the summary says what ran on which real parts
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

lint: $(VENV)/.tests ## ruff, mypy --strict, the layers
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.tests tests/.parts ## Speed beside its anchors, as ratios
	$(BIN)/python tests/bench

screenshots: $(VENV)/.tests tests/.parts ## Every page, light and dark, into docs/screenshots
	$(BIN)/python tests/browser/screenshots.py

translations: $(VENV)/.tests ## Collect the texts, merge and compile the catalogues
	$(BIN)/pybabel -q extract -F config/babel.cfg -w 120 --no-location --omit-header --sort-output \
	  $(foreach word,_ _mark _later Invalid Unauthenticated Forbidden NotFound Conflict TooMany Throttled Unavailable Refused Sentence,-k $(word)) -k refuse:2 \
	  -o .cache-messages.pot .
	$(BIN)/pybabel -q update -w 120 -i .cache-messages.pot -d iam/translations -l zh_Hans --no-fuzzy-matching --ignore-pot-creation-date
	sed -i -E '/^"(Report|POT-|PO-|Last-|Language-Team|Generated)/d; 1{/^$$/d}' iam/translations/*/LC_MESSAGES/messages.po
	$(BIN)/pybabel -q compile -d iam/translations --statistics
	@rm .cache-messages.pot

lock: $(VENV)/.tests ## Pin every dependency again
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile $(LOCK) -o config/requirements.lock pyproject.toml
	$(BIN)/pip-compile $(LOCK) --extra dev -c config/requirements.lock -o config/requirements-dev.lock pyproject.toml
	sed -i '/^-c /d' config/requirements-dev.lock

LOCK := --quiet --generate-hashes --strip-extras --allow-unsafe --no-annotate --no-header --no-emit-index-url \
	--no-emit-trusted-host --no-emit-find-links

wheel: $(VENV)/.tests ## The package, into dist/
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation -w dist .

clean: ## Remove all that these commands made
	rm -rf $(VENV) .run .cache dist tests/.parts tests/rigs/openid/node_modules

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed."; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "On Debian: apt-get install python3-venv"; exit 2; }

$(VENV)/.runs: config/requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r config/requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/.tests: config/requirements-dev.lock $(VENV)/.runs
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r config/requirements-dev.lock
	@touch $@

tests/.parts: tests/debian-packages.txt
	@bash tests/install-parts.sh
	@touch $@
