# Everything that is done with this checkout. Each target sets up what it needs by itself.
#
#   make          build the core and the guests in place, into a virtual environment
#   make demo     boot a guest
#   make test     run the tests
#   make lint     check style, types and layers
#   make bench    measure, against bare C and QEMU
#   make dist     sdist and manylinux wheel, into dist/
#   make clean    remove what was built

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
DIST ?= dist
GUESTS := $(CURDIR)/src/ringlet/_guests

build: $(READY)
	@$(BIN)/python setup.py -q build_ext --inplace
	@$(MAKE) --silent -C guests OUT=$(GUESTS) OBJ=$(CURDIR)/build/guests

demo: build
	$(BIN)/ringlet doctor
	$(BIN)/ringlet boot hello

test: build
	$(BIN)/python -m pytest

lint: build
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(CC) -fsyntax-only -Wall -Wextra -Werror -Icsrc csrc/*.c benchmarks/*.c

# Measures what users have: the wheel, installed.
bench: $(READY)
	@$(PYTHON) -m venv --clear build/bench
	@build/bench/bin/pip install --quiet .
	build/bench/bin/python benchmarks/run.py $(BENCH)

dist: $(READY)
	@rm -rf build/wheel $(DIST)
	$(BIN)/python -m build --outdir build/wheel
	PATH="$(BIN):$$PATH" $(BIN)/auditwheel repair --wheel-dir $(DIST) build/wheel/*.whl
	cp build/wheel/*.tar.gz $(DIST)

clean:
	rm -rf build dist $(VENV) src/*.egg-info src/ringlet/_core.* $(GUESTS)
	git checkout --quiet src/ringlet/_core.pyi

$(READY): pyproject.toml Makefile
	@PYTHON=$(PYTHON) sh .ci/prerequisites
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

.PHONY: build demo test lint bench dist clean
