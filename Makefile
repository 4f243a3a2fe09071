# Needs Python 3.11+ and make; everything else goes into .venv on first use.

PYTHON  ?= python3
WORKERS ?= 2
TORCH   ?= torch>=2.5
BIN     := .venv/bin
STAMP   := .venv/.ready-$(shell cksum < pyproject.toml | tr -d ' \t')
PYTEST  := $(BIN)/pytest -n $(WORKERS) --dist loadfile --durations=15

.DEFAULT_GOAL := help
.PHONY: help env demo test test-full check format budgets contract bench docs mock \
  check-format check-lint check-mypy check-pyright check-layers check-budgets check-docs

help:            ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

env: $(STAMP)    ## create .venv with everything the other targets need

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "mlport needs Python 3.11 or newer; name one with: make PYTHON=python3.12 env" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
	  { rm -rf .venv; echo "no venv module: install your system's python3-venv package" >&2; exit 1; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable . --group dev
	@rm -f .venv/.ready-*
	@touch $@

demo: $(STAMP)   ## train, deploy, call, watch and delete a real model on this machine
	$(BIN)/python examples/demo.py

test: $(STAMP)   ## every test but the whole matrices
	$(PYTEST) -m "not full"

test-full: $(STAMP) ## every test, with every model flavour (a CPU build: make test-full TORCH=torch==2.13.0+cpu)
	UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}" \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python --group flavours "$(TORCH)"
	$(PYTEST)

contract: $(STAMP) ## the adapter contract only
	$(PYTEST) -m "not full" contract_tests

check: $(STAMP)  ## format, lint, types, layers, budgets, docs; tells all that is wrong, not only the first
	@$(MAKE) --no-print-directory --keep-going check-format check-lint check-mypy check-pyright check-layers \
	  check-budgets check-docs

check-format check-lint check-mypy check-pyright check-layers check-budgets check-docs: $(STAMP)
check-format:
	$(BIN)/ruff format --check .
check-lint:
	$(BIN)/ruff check .
check-mypy:
	$(BIN)/mypy
check-pyright:
	$(BIN)/pyright
check-layers:
	$(BIN)/lint-imports
check-budgets:
	$(BIN)/python tools/check_budgets.py
check-docs:
	$(BIN)/python tools/check_docs.py

format: $(STAMP) ## format and apply the safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

budgets: $(STAMP) ## lower the budgets to what the tree needs today
	$(BIN)/python tools/check_budgets.py --lower

bench: $(STAMP)  ## run every benchmark; fails at the end if one misses its goal
	@failed=0; for run in benchmarks/*/run.py; do \
	  echo "== $$run"; $(BIN)/python "$$run" || failed=1; done; exit $$failed

docs: $(STAMP)   ## write the generated pages under docs/reference
	$(BIN)/python tools/gen_docs.py

mock: $(STAMP)   ## start the mini clouds
	$(BIN)/mlport mock up
