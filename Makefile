# Two commands set everything up: `make up` starts a cluster, `make test` runs the tests.
# `make help` lists the rest.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ifndef PYTHON
PYTHON := $(shell sh .ci/python)
endif
DEV := $(VENV)/.dev
PYTEST := $(BIN)/python -m pytest -q -rs
ALONE := tests/unit tests/property tests/conformance tests/sim
LINT := $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
# Each target says how it went when it has ended.
SIDE_BY_SIDE := $(MAKE) -s -j 3 --output-sync=target
# The packages of the extra alone: installing '.[dev]' would build replicast a second time.
EXTRA := import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['dev'], sep='\n')
DATA ?= .cluster
SEEDS ?= 100
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Clusters are made of processes, and tests of clusters: where none may keep what it compiled of what it
# imports, as in many containers, the next one does it again, and that is half of its start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help up down native dev check check-tests check-rest lint test test-machines test-s3 test-alone test-slow slow-machines slow-s3 slow-alone test-all test-pure sanitize explore sim s3-matrix bench clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

up: native  ## start a cluster of 4 targets x 2 VDEVs on loopback (harmless when it runs already)
	@$(BIN)/replicast up --targets 4 --vdevs 2 --data $(DATA)

down:  ## stop it; its state stays in $(DATA)
	@$(BIN)/replicast down --data $(DATA)

native: $(STAMP)  ## build the Cython modules that changed
	@mkdir -p build && flock build/.lock $(BIN)/python setup.py -q build_ext --inplace -j 2

$(STAMP): pyproject.toml setup.py .ci/preflight .ci/python
	@PYTHON=$(PYTHON) sh .ci/preflight
	@echo "Making $(VENV), installing packages and building (about a minute) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip -q install 'setuptools>=77' 'cython>=3.3,<3.4' wheel
	@mkdir -p build && flock build/.lock $(BIN)/pip -q install --no-build-isolation -e .
	@touch $@

dev: native $(DEV)

$(DEV): $(STAMP)
	@echo "Installing what the tests need ..."
	@$(BIN)/python -c "$(EXTRA)" | $(BIN)/pip -q install -r /dev/stdin
	@touch $@

lint: dev  ## ruff and mypy
	@$(LINT)

check: dev  ## lint, types, unit and property tests, tiny benches: 2 minutes
	@$(SIDE_BY_SIDE) check-tests check-rest

check-tests:
	@$(PYTEST) tests/unit tests/property tests/conformance -m 'not slow'

check-rest:
	@$(LINT)
	@REPLICAST_BENCH_TINY=1 $(PYTEST) bench --benchmark-disable

# Tests run in three groups side by side, each of which says how it went when it has ended: those with real
# daemons, which take longest; S3 with its clients; and single processes without a machine around them,
# which take what the others leave.
test: dev  ## everything but the slow tests: 10 to 12 minutes
	@echo "Three groups of tests side by side, 10 to 12 minutes; each is shown when it has ended."
	@$(SIDE_BY_SIDE) test-machines test-s3 test-alone

test-machines:
	@$(PYTEST) tests -m 'not slow' $(ALONE:%=--ignore %) --ignore tests/s3

test-s3:
	@nice -n 10 $(PYTEST) tests/s3 -m 'not slow'

test-alone:
	@nice -n 19 $(PYTEST) $(ALONE) -m 'not slow'

test-all: test test-slow  ## everything: 45 minutes

test-slow: dev  ## what `make test` leaves out
	@$(SIDE_BY_SIDE) slow-machines slow-s3 slow-alone

slow-machines:
	@$(PYTEST) tests -m slow --timeout 900 --ignore tests/sim --ignore tests/s3

slow-s3:
	@nice -n 10 $(PYTEST) tests/s3 -m slow --timeout 900

slow-alone: export PYTEST := nice -n 19 $(PYTEST)
slow-alone:
	@$(PYTEST) tests/sim -m slow --timeout 1200
	@REPLICAST_PURE=1 $(PYTEST) tests/unit tests/property tests/conformance -m 'not slow'
	@REPLICAST_FUZZ_COUNT=200000 $(PYTEST) tests/property tests/unit/test_transfer_header.py -k mutated

test-pure: export REPLICAST_PURE := 1
test-pure: dev  ## without compiled modules: unit, property, conformance, 50 simulations, a cluster: 6 minutes
	@$(PYTEST) tests/unit tests/property tests/conformance -m 'not slow'
	@$(BIN)/replicast sim --test tests/sim/*.toml --seeds 50 -j 2
	@$(PYTEST) tests/cluster/test_objects.py -k all_sizes

# In a copy, so that the modules that are in use stay what they are. What is left out is about the
# allocator, which sanitizers replace, and about the repository.
SANITIZERS ?= address,undefined
RUNTIMES := $(if $(findstring thread,$(SANITIZERS)),libtsan.so,libasan.so libubsan.so)
SANITIZED := cd build/sanitize && PYTHONPATH=$(CURDIR)/build/sanitize PYTHONMALLOC=malloc \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1

sanitize: dev  ## the compiled modules under SANITIZERS (address,undefined; or thread): 15 minutes
	@rm -rf build/sanitize && mkdir -p build/sanitize
	@git ls-files -z | xargs -0 cp -d --parents -t build/sanitize
	@$(SANITIZED) REPLICAST_SANITIZERS=$(SANITIZERS) $(CURDIR)/$(BIN)/python setup.py -q build_ext --inplace -j 2
	@$(SANITIZED) LD_PRELOAD="$(foreach each,$(RUNTIMES),$$(gcc -print-file-name=$(each)))" \
		$(CURDIR)/$(PYTEST) tests/unit tests/property tests/conformance -m 'not slow' --timeout 1800 \
		--ignore tests/unit/test_layout.py --ignore tests/unit/test_trimming.py

explore: dev  ## property tests with examples that no run has drawn yet
	@REPLICAST_EXPLORE=1 STORE_EXAMPLES=1000 $(PYTEST) tests/property tests/unit/test_manifest.py --timeout 3600

sim: dev  ## sweep SEEDS runs of whole simulated clusters
	@$(BIN)/replicast sim --test tests/sim/*.toml --seeds $(SEEDS) -j 2

s3-matrix: dev  ## which tests hold which operation and which error of S3
	@$(BIN)/python -m tests.s3.matrix

bench: export REPLICAST_BENCH_JSON ?= bench-results.json
bench: dev  ## measure: MiB/s, op/s, CPU seconds; figures also in bench-results.json: 6 minutes
	@$(PYTEST) bench -s --benchmark-quiet

clean:  ## remove what was built
	rm -rf build dist *.egg-info native/*.c native/*.so
