# Needs Python 3.11+ and make; everything else goes into .venv on first use.

PYTHON  ?= python3
# Two workers for each core, since tests often wait for processes; each worker costs 40 s of CPU time to collect the tests.
WORKERS ?= 4
TIMES   ?= 20
TORCH   ?=
UPGRADE ?= --upgrade
BIN     := .venv/bin
LOCKS   := requirements
STAMP   := .venv/.ready-$(shell cat pyproject.toml $(LOCKS)/dev.txt | cksum | tr -d ' \t')
SELECT   = $(T) $(if $(K),-k '$(K)')
PYTEST  := $(BIN)/pytest -n $(WORKERS) --dist worksteal --durations=15
# What starts no server, engine or browser.
QUICK   := tests/core tests/plane tests/prices tests/test_*.py contract_tests/test_fake.py \
  $(addprefix tests/client/test_,client.py coming_back.py errors.py invoke.py jobs.py lifecycle.py monitor.py payload.py \
    pickling.py secrets.py trouble.py wire.py) \
  $(addprefix tests/clouds/test_,app.py headers.py registry.py timing.py traffic.py) \
  $(addprefix tests/compare/test_,cost.py gate.py judge.py search.py service_hosts.py stats.py verdict.py) \
  $(addprefix tests/executor/test_,apply.py kinds.py machine.py refused.py waiting.py) \
  $(addprefix tests/packaging/test_,archive.py column_types.py onnx.py outsiders.py pins.py usercode.py) \
  $(addprefix tests/serving/test_,inputs.py rows.py sealed.py)
OUTSIDE  = -n $(WORKERS) --dist worksteal -m "not full and not docker" $(SELECT)
LOCKED  := $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps --requirement
COMPILE  = UV_FIND_LINKS= $(BIN)/uv pip compile - --quiet --universal --python-version 3.11 --generate-hashes \
  --no-annotate --no-emit-package mlport --custom-compile-command "make lock" $(UPGRADE)

# An environment of its own, from the ranges of pyproject.toml instead of the lock.
define fresh
$(MAKE) --no-print-directory $(BIN)/uv
$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(1)
$(BIN)/uv pip install --quiet --python $(1)/bin/python $(2) --editable . --requirement pyproject.toml --all-extras --group dev
endef

.DEFAULT_GOAL := help
.PHONY: help env lock demo test quick test-full test-latest test-lowest test-times stress check format budgets contract bench docs mock \
  check-format check-lint check-mypy check-pyright check-layers check-budgets check-docs

help:            ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

env: $(STAMP)    ## create .venv with what requirements/dev.txt locks, and nothing else

$(STAMP): $(BIN)/uv
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes $(LOCKS)/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@rm -f .venv/.ready-*
	@touch $@

# The lock names uv as well: pip installs that one file, and uv the rest.
$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "mlport needs Python 3.11 or newer; name one with: make PYTHON=python3.12 env" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
	  { rm -rf .venv; echo "no venv module: install your system's python3-venv package" >&2; exit 1; }
	@sed -n '/^uv==/,/[^\\]$$/p' $(LOCKS)/dev.txt > .venv/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r .venv/uv.txt

lock: $(BIN)/uv  ## renew requirements/*.txt (UPGRADE= keeps every version that still fits)
	echo . | $(COMPILE) --group pyproject.toml:dev --output-file $(LOCKS)/dev.txt
	echo   | $(COMPILE) --group pyproject.toml:flavours --constraint $(LOCKS)/dev.txt --output-file $(LOCKS)/flavours.txt
	echo   | $(COMPILE) --group pyproject.toml:torch --constraint $(LOCKS)/dev.txt --constraint $(LOCKS)/flavours.txt \
	  --output-file $(LOCKS)/torch.txt

demo: $(STAMP)   ## train, deploy, call, watch and delete a real model on this machine
	$(BIN)/python examples/demo.py

test: $(STAMP)   ## every test but the whole matrices; a part: T=tests/compare, a name: K=expired
	$(PYTEST) -m "not full" $(SELECT)

quick: $(STAMP)  ## the tests that start no server, engine or browser: in a minute
	$(BIN)/pytest -n 2 --dist worksteal -m "not full" $(QUICK) $(if $(K),-k '$(K)')

test-times: $(STAMP) ## the same, then wall, CPU and idle seconds of the tests by folder
	@rm -f .venv/times.jsonl
	MLPORT_TEST_TIMES=.venv/times.jsonl $(PYTEST) -p tools.times -m "not full" $(SELECT); status=$$?; \
	  $(BIN)/python tools/times.py .venv/times.jsonl; exit $$status

stress: $(STAMP) ## repeat tests beside six busy processes: make stress T=tests/local TIMES=20
	$(BIN)/python tools/stress.py --times $(TIMES) --load 6 -n $(WORKERS) --dist worksteal -m "not full" $(SELECT)

test-full: $(STAMP) ## every test, with every model flavour (a CPU build: make test-full TORCH=torch==2.13.0+cpu)
	$(LOCKED) $(LOCKS)/flavours.txt
ifdef TORCH
	UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}" $(BIN)/uv pip install --quiet --python $(BIN)/python \
	  --constraint $(LOCKS)/dev.txt --constraint $(LOCKS)/flavours.txt "$(TORCH)"
else
	$(LOCKED) $(LOCKS)/torch.txt
endif
	$(PYTEST) $(SELECT)

test-latest:     ## the tests without an engine, with the newest of everything that pyproject.toml allows
	$(call fresh,.venv-latest,--upgrade)
	.venv-latest/bin/pytest $(OUTSIDE)

test-lowest:     ## the same with the oldest of everything: the floors in pyproject.toml are true
	$(call fresh,.venv-lowest,--resolution lowest-direct)
	.venv-lowest/bin/pytest $(OUTSIDE)

contract: $(STAMP) ## the adapter contract only
	$(PYTEST) -m "not full" contract_tests

check: $(STAMP)  ## format, lint, types, layers, budgets, docs; tells all that is wrong, not only the first
	@$(MAKE) --no-print-directory --keep-going -j2 check-pyright check-format check-lint check-mypy check-layers \
	  check-budgets check-docs

check-format check-lint check-mypy check-pyright check-layers check-budgets check-docs: $(STAMP)
check-format:
	$(BIN)/ruff format --check .
check-lint:
	$(BIN)/ruff check .
check-mypy:
	$(BIN)/mypy
# It keeps no cache of its own: what it found clean is not checked again until a file, a version or a setting changes.
check-pyright:
	@key=$$({ cat pyproject.toml $(LOCKS)/dev.txt; \
	    find sdk mlport adapters contract_tests -name '*.py' | LC_ALL=C sort | xargs cksum; } | cksum | tr -d ' \t'); \
	  if test -e .venv/.pyright-$$key; then echo "pyright: nothing has changed since it found no error"; \
	  else echo "$(BIN)/pyright"; $(BIN)/pyright && rm -f .venv/.pyright-* && touch .venv/.pyright-$$key; fi
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
