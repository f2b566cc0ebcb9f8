# archlang: everything from a bare Debian or Ubuntu with python3 >= 3.11. `make help` lists what there is.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint types docs clean graphviz

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
ARCHC := $(BIN)/archc
PACKAGING := pyproject.toml setup.py constraints.txt

# $(call system,TEST,PACKAGE): installs a system package when TEST fails and we may, else says what to run.
define system
if ! $(1) >/dev/null 2>&1; then \
  if ! command -v apt-get >/dev/null; then \
    echo "make: $(2) is missing; install it with your system's package manager" >&2; exit 1; \
  elif [ "$$(id -u)" = 0 ]; then as_root=(env); \
  elif sudo -n true 2>/dev/null; then as_root=(sudo -n env); \
  else echo "make: $(2) is missing; run: sudo apt-get install -y $(2)" >&2; exit 1; fi; \
  "$${as_root[@]}" apt-get update -qq; \
  "$${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(2); \
fi
endef

help: ## Show this help
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "make: $(PYTHON) is older than 3.11; name another, as in: make PYTHON=python3.12 demo" >&2; exit 1; }
	@$(call system,$(PYTHON) -c "import ensurepip",python3-venv)
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(PACKAGING) | $(VENV)/bin/python
	$(PIP) install -q -c constraints.txt setuptools wheel
	$(PIP) install -q --no-build-isolation -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed tests/oracles.txt
	$(PIP) install -q --no-build-isolation -c constraints.txt -e '.[dev]'
	$(PIP) install -q --no-deps --upgrade --target $(VENV)/oracles -r tests/oracles.txt
	@touch $@

graphviz:
	@$(call system,command -v dot,graphviz)

demo: $(VENV)/.installed graphviz ## Check, compile, draw and train LeNet-5 (about a minute)
	@mkdir -p demo
	$(ARCHC) check lenet5
	$(ARCHC) compile lenet5 -o demo/lenet5.py
	$(ARCHC) render lenet5 -o demo/lenet5.svg
	$(ARCHC) train lenet5 --output demo/run
	@echo; echo "The source:  demo/lenet5.py"; echo "The figure:  demo/lenet5.svg"

test: $(VENV)/.dev graphviz ## Run the whole test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

lint: $(VENV)/.dev ## Check style: ruff check, ruff format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## Check types: mypy, strict about what is declared
	@rm -rf build/types && mkdir -p build/types/archlang
	@for path in api/*; do ln -s "../../../$$path" build/types/archlang/; done
	@for room in compiler grammar runtime specs; do ln -s "../../../$$room" build/types/archlang/; done
	MYPYPATH=build/types $(BIN)/mypy -p archlang

docs: $(VENV)/.installed ## Write the generated pages again: docs/ops.md, docs/errors.md
	$(BIN)/python docs/generate.py

clean: ## Remove what was built, the environment included
	rm -rf $(VENV) build dist demo *.egg-info .pytest_cache .ruff_cache .mypy_cache
