# Everything that is done to the project. Each target sets up what it needs in .venv; the second time that is quick.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
INSTALLED_FROM := pyproject.toml hatch_build.py mlcycle/inference/resampling.c
# Without bytecode each of the hundreds of processes that the tests start would compile mlcycle anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo lessons test test-slow test-gpu check format docs pictures dist clean venv

help: ## show this
	@echo "make demo       train a small face detector, freeze it, find a face in an image it has never seen"
	@echo "make lessons    open the five lessons in the browser"
	@echo "make test       the tests, without the slow ones"
	@echo "make test-slow  the slow tests"
	@echo "make test-gpu   the tests that need an NVIDIA GPU"
	@echo "make check      formatting, lint, types, import contracts, generated docs"
	@echo "make format     format the code, and repair what lint can repair"
	@echo "make docs       write docs/cli.md anew, and build the documentation as a site"
	@echo "make pictures   make the pictures of README and the documentation anew"
	@echo "make dist       build wheel and sdist into dist/, and check them"
	@echo "make clean      remove .venv and caches; runs/, models/ and data/ stay"
	@echo "PYTHON=python3.12 make test takes another Python, 3.11 or newer; it counts when .venv is made."

demo: $(VENV)/.installed-demo
	$(BIN)/mlcycle demo

lessons: $(VENV)/.installed-lessons
	$(BIN)/marimo edit --skip-update-check docs/lessons

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not slow"

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m slow

test-gpu: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q -m gpu tests/gpu

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --strict --follow-imports=silent tests/library/typed_program.py
	$(BIN)/lint-imports
	$(BIN)/python -m mlcycle.cli.reference --check

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.installed-dev
	$(BIN)/python -m mlcycle.cli.reference
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

pictures: $(VENV)/.installed-dev
	$(BIN)/python docs/pictures/make.py

dist: $(VENV)/.installed-dev
	rm -rf dist
	MLCYCLE_PURE=1 $(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*
	MLCYCLE_PURE=1 $(BIN)/python .ci/check_dist.py dist

clean:
	rm -rf $(VENV) .venv-inference .venv-kserve .browser docs/_build build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache mlcycle/inference/libresampling.so
	find mlcycle tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp says that an extra is installed as pyproject.toml names it, with the loops compiled as they are now; dev holds all
# that demo and lessons hold.
$(VENV)/.installed-demo: $(INSTALLED_FROM) | $(VENV)/.made
	@echo "installing into $(VENV); the first time this fetches torch, on Linux with 5 GB of CUDA libraries (docs/install.md)" >&2
	$(BIN)/python -m pip install --quiet --editable '.[train,demo]'
	@touch $@

$(VENV)/.installed-lessons: $(INSTALLED_FROM) | $(VENV)/.made
	@echo "installing into $(VENV); the first time this fetches torch, on Linux with 5 GB of CUDA libraries (docs/install.md)" >&2
	$(BIN)/python -m pip install --quiet --editable '.[lessons]'
	@touch $(VENV)/.installed-demo $@

$(VENV)/.installed-dev: $(INSTALLED_FROM) | $(VENV)/.made
	@echo "installing into $(VENV); the first time this fetches torch and takes minutes" >&2
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(VENV)/.installed-demo $(VENV)/.installed-lessons $@

# A virtual environment that is there already, because README says how to make one, is kept, with what is installed in it.
$(VENV)/.made:
	@$(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || $(MAKE) --no-print-directory venv
	@touch $@

venv:
	@command -v $(PYTHON) >/dev/null || { echo "error: there is no $(PYTHON); name yours: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: $$($(PYTHON) --version) is too old: mlcycle needs 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { \
		echo "error: no virtual environment could be made; on Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }
