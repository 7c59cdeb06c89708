# Two commands for a newcomer: `make demo` and `make test`. Both set up .venv themselves.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
BENCH  := .venv-bench
OLDEST := .venv-oldest
LOCK   := .venv-lock
ON_OLDEST := tests/aimlib tests/analysis tests/ablations tests/reference tests/test_surface.py tests/test_documentation.py
ASKED  := training_step step_memory training_loop input_pipeline shared_data launch resume startup check large_results integrity own_code driver_memory reports calibration
# What belongs to torch, whose files differ between machines; see requirements.lock.
UNLOCKED := torch torchvision triton cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx
ON_GPU := training_step step_memory training_loop input_pipeline

# On a node without a network: PYTHON=python3 takes what is installed there, and no environment is made.
ifeq ($(origin PYTHON),file)
GPU_PYTHON := $(BIN)/python
GPU_NEEDS  := $(STAMP)
else
GPU_PYTHON := $(PYTHON)
GPU_NEEDS  :=
endif
gpu_option  = $(if $(2),--$(1) $(2))

.DEFAULT_GOAL := help
.PHONY: help setup azurite lock audit demo test test-all test-oldest docs-check docs check lint types contracts calibrate bench bench-gpu gpu gpu-study gpu-bundle format clean

help:           ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

setup: $(STAMP) ## install into .venv (pinned by constraints.txt)

# pip, not uv: it honours a machine's own wheel folders (PIP_FIND_LINKS), which matters for a 3 GB torch.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(if $(LOCKED),$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch torchvision
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

azurite:        ## install Azurite, an emulator of Azure Storage, for the tests of az:// (needs npm)
	npm ci --prefix tests/azurite --no-audit --no-fund --loglevel=error

$(LOCK)/.installed:
	$(PYTHON) -m venv $(LOCK)
	$(LOCK)/bin/python -m pip install --quiet --disable-pip-version-check pip-audit uv
	@touch $@

lock: $(LOCK)/.installed ## write requirements.lock, with hashes, from pyproject.toml and constraints.txt
	@sed '/^[^#]/,$$d' requirements.lock > $(LOCK)/head
	$(LOCK)/bin/uv pip compile pyproject.toml --quiet --extra dev -c constraints.txt --universal --python-version 3.11 --generate-hashes --no-header --no-annotate $(addprefix --no-emit-package ,$(UNLOCKED)) -o $(LOCK)/body
	@cat $(LOCK)/head $(LOCK)/body > requirements.lock

audit: $(LOCK)/.installed ## look up known vulnerabilities of everything in requirements.lock (needs pypi.org)
	$(LOCK)/bin/pip-audit -r requirements.lock --no-deps --disable-pip

demo: $(STAMP)  ## run the shipped study `demo` on the embedded digits, then print the verdict
	$(BIN)/ablate run demo

test: lint types contracts $(STAMP) ## lint, types, import contracts and the tests (no GPU, no network)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -m "not slow" -n auto --dist loadgroup

test-all: test  ## the same, then the slow tests, one at a time; they write the table of faults in docs/reliability.md
	AIM_FAULTS_RESULTS=$(CURDIR)/tests/data/faults.json $(BIN)/python -m pytest -q -m slow
	$(BIN)/python tests/faults/table.py

test-oldest: tests/lower_bounds.py pyproject.toml ## the tests with the oldest versions that pyproject.toml allows, in .venv-oldest (PYTHON: 3.11)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Python 3.11 is needed, the oldest that is supported; this is $$($(PYTHON) --version). Try: make PYTHON=python3.11 test-oldest"; exit 1; }
	$(PYTHON) -m venv $(OLDEST)
	$(PYTHON) tests/lower_bounds.py > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check -c $(OLDEST)/constraints.txt -e '.[dev]'
	$(OLDEST)/bin/python -m pytest -q -m "not slow" $(ON_OLDEST)

docs-check: $(STAMP) ## run the commands and blocks of Python in README and docs; those that need a network or a cluster are parsed
	$(BIN)/python -m pytest -q tests/test_docs_check.py tests/test_documentation.py

docs: $(STAMP)  ## a site of README's pages, the command line and the Python names, in build/docs
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/docs
	@echo build/docs/index.html

check: lint types contracts ## everything of `make test` but the tests

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

contracts: $(STAMP)
	$(BIN)/lint-imports

calibrate: $(STAMP) ## simulate what the statistics do when the truth is known, into docs/calibration.md
	$(BIN)/python -m analysis.calibration docs/calibration.md

$(BENCH)/.installed: pyproject.toml constraints.txt bench/rivals/requirements.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch torchvision
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e . -r bench/rivals/requirements.txt
	@touch $@

bench: $(BENCH)/.installed ## measure against what people would use instead, into bench/results and docs/performance.md
	@set -e; for question in $(ASKED); do echo "== $$question"; $(BENCH)/bin/python -m bench.$$question; done
	$(BENCH)/bin/python -m bench.summary

bench-gpu: $(BENCH)/.installed ## the questions of training and input on a GPU, printed and kept beside the others
	@set -e; for question in $(ON_GPU); do echo "== $$question"; $(BENCH)/bin/python -m bench.$$question --device cuda; done

gpu: $(GPU_NEEDS) ## try on a GPU what needs one: STEPS=1-5, DEVICE=cpu rehearses, PYTHON=python3 installs nothing (docs/gpu.md)
	$(GPU_PYTHON) -m bench.gpu $(call gpu_option,steps,$(STEPS)) $(call gpu_option,device,$(DEVICE)) $(call gpu_option,results,$(RESULTS)) $(call gpu_option,minutes,$(MINUTES))

gpu-study: $(GPU_NEEDS) ## real studies on a GPU: PHOTOS=folder, MINUTES=10, DEVICE=cpu rehearses, PYTHON=python3 installs nothing
	$(GPU_PYTHON) -m bench.gpu.study $(call gpu_option,photos,$(PHOTOS)) $(call gpu_option,breeds,$(BREEDS)) $(call gpu_option,share,$(SHARE)) $(call gpu_option,device,$(DEVICE)) $(call gpu_option,minutes,$(MINUTES)) $(call gpu_option,out,$(OUT))

gpu-bundle: $(STAMP) ## what a node without a network needs for `make gpu`, in folders of at most 60 MiB: PHOTOS=, HAVE=, NODE_PYTHON=3.12
	$(BIN)/python -m bench.gpu.bundle $(call gpu_option,photos,$(PHOTOS)) $(call gpu_option,have,$(HAVE)) $(call gpu_option,python,$(NODE_PYTHON)) $(call gpu_option,out,$(OUT)) $(call gpu_option,limit,$(LIMIT))

format: $(STAMP) ## format and fix what can be fixed by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:          ## remove .venv and caches (not results)
	rm -rf $(VENV) $(BENCH) $(OLDEST) $(LOCK) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info
