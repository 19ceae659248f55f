.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo example test test-deep test-all chaos lint docs bench bench-quick clean

PYTHON ?= python3
VENV ?= .venv
# How many processes run the tests, and what else to tell pytest: make test PYTEST_ARGS='-k codec'
PYTEST_WORKERS ?= 2
PYTEST_ARGS ?=
# For make chaos; SEED is another each time unless given, DEFAULTS=1 leaves beat and lapse as they are, and
# WITHOUT=hostile,forks leaves out parts of what is done.
MINUTES ?= 1
EXAMPLE ?= examples/favorites/solution
STORE ?= sqlite

BIN := $(VENV)/bin
# The pyright wheel asks the network for newer versions of itself unless told not to.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.installed-demo ## see Belayed at work: a newsletter sent by workers
	$(BIN)/python examples/newsletter/demo.py

# Honcho kills 5 s after Ctrl-C: a worker ends 3 s after its grace at the latest.
example: $(VENV)/.installed-example ## run the blog of examples/favorites, with its worker, until Ctrl-C
	cd $(EXAMPLE) && $(CURDIR)/$(BIN)/python manage.py migrate --verbosity 0 && $(CURDIR)/$(BIN)/python manage.py seed
	@echo "http://127.0.0.1:8000/ (ada@example.org, password)"
	cd $(EXAMPLE) && PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONUNBUFFERED=1 BELAYED_GRACE=1s honcho start

PYTEST = $(BIN)/python -m pytest --numprocesses $(PYTEST_WORKERS) --dist loadgroup

test: $(VENV)/.installed-test $(VENV)/.installed-djangos ## run the tests, but for the deep ones, on SQLite and on a PostgreSQL of its own
	$(PYTEST) --depth quick $(PYTEST_ARGS)

test-deep: $(VENV)/.installed-test $(VENV)/.installed-djangos browser ## run the deep ones: all Djangos, browsers, crashes at each moment
	$(PYTEST) --depth deep $(PYTEST_ARGS)

test-all: $(VENV)/.installed-test $(VENV)/.installed-djangos browser ## run every test
	$(PYTEST) $(PYTEST_ARGS)

# Chromium, where there is none.
.PHONY: browser
browser: | $(VENV)/.installed-test
	@$(BIN)/python tests/browser/install.py

chaos: $(VENV)/.installed-test ## attack workers at random under load: MINUTES=10 STORE=postgresql SEED=1
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) --store $(STORE) $(if $(SEED),--seed $(SEED)) \
		$(if $(DEFAULTS),--defaults) $(if $(WITHOUT),--without $(WITHOUT))

lint: $(VENV)/.installed-lint ## check style, types, layers and spelling
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	PYTHONPATH=src $(BIN)/lint-imports --no-logo
	$(BIN)/codespell

docs: $(VENV)/.installed-docs ## build the documentation into docs/_build/html
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(VENV)/.installed-test ## measure beside other job queues, 20 minutes, and write docs/performance.md: FULL=1
	$(BIN)/python -m benchmarks run --report $(if $(FULL),--full)

bench-quick: $(VENV)/.installed-test ## measure the ratios to PgQueuer and to bare databases, 2 minutes
	$(BIN)/python -m benchmarks run --group quick

clean: ## remove what the other targets made, but for the virtual environment
	rm -rf build dist docs/_build .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find src tests examples benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	"Belayed needs Python 3.11 or later, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)

# Newer Djangos, for newer Pythons, where one is found.
$(VENV)/.installed-djangos: tests/djangosite/environments.py pyproject.toml | $(VENV)/.installed-test
	$(BIN)/python tests/djangosite/environments.py $(VENV)
	@touch $@

# One stamp for each extra: nothing is installed again until pyproject.toml changes.
$(VENV)/.installed-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@
