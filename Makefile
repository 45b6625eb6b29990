# Two commands set everything up: `make up` starts a cluster, `make test` runs the tests.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: native
native: $(STAMP)  ## build the Cython modules that changed
	@mkdir -p build && flock build/.lock $(BIN)/python setup.py -q build_ext --inplace

$(STAMP): pyproject.toml
	python3 -m venv $(VENV)
	$(BIN)/pip -q install -e '.[dev]' --no-build-isolation
	touch $@
