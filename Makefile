# Two commands matter: `make quickstart` (set up and raise a model) and `make test` (set up and test).
# torch from PyPI may bring CUDA packages; for the small CPU build:
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make quickstart

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: quickstart test check lint types floors documented slow fuzz docs benchmarks clean

quickstart: .venv/.base
	$(BIN)/tutelage quickstart

test: .venv/.dev
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: lint types floors

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.dev
	$(BIN)/mypy

floors: .venv/.dev
	$(BIN)/lint-imports

# Every command that the documentation writes out whole, and its Python, really run on small models; three minutes.
documented: .venv/.dev
	$(BIN)/python -m pytest -m slow tests/test_documented_whole.py tests/test_documented_runs.py

slow: .venv/.dev
	$(BIN)/python -m pytest -m slow

# Every phase and check of schemathesis on the server's own description; four minutes, e.g. FUZZ='--max-examples 100'.
FUZZ ?= --max-examples 30 --continue-on-failure --seed 1
fuzz: .venv/.dev
	PYTHONPATH=tests:tests/serving $(BIN)/python tests/serving/fuzzed.py $(FUZZ)

docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "Look at it: $(BIN)/mkdocs serve, or open site/index.html"

benchmarks: .venv/.dev
	@for script in $(filter-out benchmarks/common.py benchmarks/corpus_peer.py,$(wildcard benchmarks/*.py)); do echo "$(BIN)/python $$script --help"; done

clean:
	rm -rf .venv build dist site

.venv/.base: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tutelage needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Setting up (torch is large; a few minutes on a slow line) ..."
	$(PIP) --editable '.[serve]'
	touch $@

.venv/.dev: .venv/.base
	$(PIP) --editable '.[dev]'
	touch $@

.venv/.docs: .venv/.base
	$(PIP) --editable '.[docs]'
	touch $@
