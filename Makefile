# Two commands: `make run` (the whole pipeline on the recipe `tiny`) and `make test` (all that CI runs).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
RECIPE ?= tiny
FLOW ?= pipeline
NAME ?=
TORCH := torch==2.13.0

.PHONY: run test lint types bench install clean

run: $(READY)
	@$(BIN)/gristmill run $(FLOW) --recipe $(RECIPE)

test: lint types
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m pip install --quiet --constraint infra/constraints.txt --editable ".[bench]"
	$(BIN)/python -m tests.bench $(NAME)

install: $(READY)

# torch first and exactly: a machine without a GPU then gets the CPU build where one is offered.
$(READY): pyproject.toml infra/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Gristmill needs Python 3.11 or newer; set PYTHON=..." if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (about 3 minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint infra/constraints.txt --editable ".[dev]"
	@touch $(READY)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
