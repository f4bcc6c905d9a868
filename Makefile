# `make` lists what can be done here. Everything is installed into $(VENV), nothing outside this folder, never with sudo.
#
#   PYTHON=python3.12    the Python that makes the environment (3.11, 3.12 or 3.13)
#   VENV=.venv           where the environment is
#   PIP_ARGS=...         passed on to `pip install`, e.g. an index that offers CPU builds of torch
#   SYSTEM_TORCH=1       use the torch and torchvision that $(PYTHON) already has (a GPU or Jetson build, say)
#   PYTEST_ARGS=...      passed on to pytest, e.g. -n 4

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
SYSTEM_TORCH ?=
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo lab docs test test-fast test-browser test-k3s course lint bench clean

bin := $(VENV)/bin
system_torch := $(filter-out 0,$(SYSTEM_TORCH))

# One stamp for what running needs and one for what testing needs on top; both are remade when pyproject.toml changes.
ready := $(VENV)/.ready$(if $(system_torch),-system-torch)
ready_to_test := $(ready)-to-test

# $(call set_up,EXTRAS): torch, torchvision and everything else are resolved in one pip call, so that they fit each other.
define set_up
@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here: install Python 3.11, 3.12 or 3.13, or name one with PYTHON=." >&2; exit 1; }
@$(PYTHON) .ci/preflight.py machine $(VENV) $(if $(system_torch),--system-torch)
@$(PYTHON) -m venv $(if $(system_torch),--system-site-packages) $(VENV)
$(if $(system_torch),@$(bin)/python .ci/preflight.py system-torch $(VENV)/constraints.txt)
@$(bin)/python -m pip install $(if $(system_torch),--constraint $(VENV)/constraints.txt) $(PIP_ARGS) -e '.$(1)'
endef

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(ready) ## run the labs improvement and degradation, and print what was decided
	@now=$$(date -u +%Y%m%dT%H%M%SZ) && for lab in improvement degradation; do \
	    $(bin)/aiotwin run $$lab --out runs/demo-$$now-$$lab || exit; \
	done && echo && echo "The two verdicts:" && for lab in improvement degradation; do \
	    $(bin)/aiotwin status runs/demo-$$now-$$lab || exit; \
	done

lab: $(ready) ## open the notebooks in JupyterLab
	@$(bin)/aiotwin lab

docs: $(ready_to_test) ## build the pages in build/docs, without network
	@$(bin)/python docs/build.py

test: lint test-fast ## lint and all tests, the fast ones first
	@$(bin)/python -m pytest -m 'slow and not k3s and not course' $(PYTEST_ARGS)

test-fast: $(ready_to_test) ## the tests that train little and install nothing
	@$(bin)/python -m pytest -n 2 -m 'not slow and not k3s and not course' $(PYTEST_ARGS)

test-k3s: $(ready_to_test) ## the tests against a real Kubernetes; needs root and the test bed in ../shared
	@$(bin)/python -m pytest -m k3s --durations=10 $(PYTEST_ARGS)

course: $(ready_to_test) ## execute every notebook of the course, student's and solved, and compare what comes out
	@$(bin)/python -m pytest -m course -n 2 --durations=5 tests/course

test-browser: $(ready_to_test) ## the tests of JupyterLab in Chromium (Debian's package chromium)
	@$(bin)/python -m pytest -m browser $(PYTEST_ARGS)

lint: $(ready_to_test) ## ruff, mypy and the layers of the packages
	@$(bin)/ruff check .
	@$(bin)/ruff format --check .
	@$(bin)/mypy
	@$(bin)/lint-imports

bench: $(ready) ## run every benchmark; fails if one misses its target
	@failed=0; for script in tests/benchmarks/bench_*.py; do \
	    echo "== $$script"; $(bin)/python $$script || failed=1; \
	done; exit $$failed

clean: ## remove the environment, builds and caches; runs/ stays
	@# An environment is recognised by its pyvenv.cfg: a mistyped VENV= removes nothing.
	@if [ -f "$(VENV)/pyvenv.cfg" ]; then rm -rf "$(VENV)"; fi
	@rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find aiotwin_nb fl_service tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(ready): pyproject.toml
	$(call set_up)
	@touch $@

$(ready_to_test): pyproject.toml
	$(call set_up,[kubernetes$(comma)test$(comma)dev$(comma)docs])
	@touch $(ready) $@

comma := ,
