# Everything that is done with this checkout. Each target sets up what it needs by itself.
#
#   make          build the core, the guests and the init in place, into a virtual environment
#   make demo     boot a guest, and compare a process, a container and a VM
#   make test     run the tests, two beside each other, or JOBS=N
#   make test-slow     run those that take long: a browser, other tools' figures, more examples
#   make test-nested   run those that need a hardware KVM, in a machine that QEMU emulates
#   make test-labs     grade all solutions of the labs, on this host and in such machines
#   make fuzz     drive virtio devices with a million hostile operations, or FUZZ_OPERATIONS=N
#   make fuzz-config   run 2,000 containers of any configuration, or CONFIG_COUNT=N
#   make lint     check style, types and layers
#   make docs     build the documentation site, into build/site
#   make bench    measure, against bare C and QEMU
#   make bench-linux   the same for a Linux guest, in a machine that QEMU emulates
#   make dist     sdist and manylinux wheel, into dist/
#   make clean    remove what was built

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
DIST ?= dist
NESTED_MEMORY ?= 8G
FUZZ_OPERATIONS ?= 1000000
CONFIG_COUNT ?= 2000
JOBS ?= 2
# A thousand tests start a ringlet of their own, which compiles nothing then, also where Python is
# told to write no bytecode (PYTHONDONTWRITEBYTECODE).
COMPILE = $(BIN)/python -m compileall -q src
GUESTS := $(CURDIR)/src/ringlet/_guests
INIT := $(CURDIR)/src/ringlet/_init
CONTAINER := $(CURDIR)/src/ringlet/_container

build: $(READY)
	@$(BIN)/python setup.py -q build_ext --inplace
	@$(MAKE) --silent -C guests OUT=$(GUESTS) OBJ=$(CURDIR)/build/guests
	@$(MAKE) --silent -C csrc/init OUT=$(INIT)
	@$(MAKE) --silent -C csrc/container OUT=$(CONTAINER)

demo: build
	$(BIN)/ringlet doctor
	$(BIN)/ringlet boot hello
	$(BIN)/ringlet compare --quick --ways process,container,tiny-vm

test: build $(VENV)/docs-ready
	@PYTHON=$(PYTHON) sh .ci/prerequisites tests
	@$(COMPILE)
	$(BIN)/python -m pytest -n $(JOBS) \
	    -m "not slow and not nested and not nested_host"

# What takes long: a page in a browser, figures against another tool's, all examples of properties.
test-slow: build $(VENV)/docs-ready
	@PYTHON=$(PYTHON) sh .ci/prerequisites tests
	@$(COMPILE)
	EXAMPLES=all $(BIN)/python -m pytest -m "(slow or hypothesis) and not nested and not nested_host"

# What takes an emulated machine: tests of the machine itself, from outside; labs, graded in one
# machine for each process; then, in one machine, all that take a hardware KVM.
test-nested: test-nested-host test-nested-labs test-nested-inside

nested-kernel: build
	@PYTHON=$(PYTHON) sh .ci/prerequisites tests
	$(BIN)/ringlet nested --setup --package linux-image-cloud-amd64

test-nested-host: nested-kernel
	$(BIN)/python -m pytest -m nested_host --ignore tests/labs/test_nested_solutions.py

test-nested-labs: nested-kernel
	$(BIN)/python -m pytest -n $(JOBS) -m nested_host tests/labs/test_nested_solutions.py

# What is compiled beforehand starts faster in there.
test-nested-inside: nested-kernel
	@mkdir -p build/nested
	@$(COMPILE)
	$(BIN)/ringlet nested --memory $(NESTED_MEMORY) --timeout 3000 --share build/nested -- \
	    $(BIN)/python -m pytest -m nested --junitxml build/nested/results.xml \
	    -o cache_dir=build/nested/pytest tests/nested

# Every solution of every lab, of which test-nested takes a part.
test-labs: nested-kernel
	EXAMPLES=all $(BIN)/python -m pytest -n $(JOBS) tests/labs/test_solutions.py \
	    tests/labs/test_nested_solutions.py

# What fails names its seed: FUZZ_SEED=N does the same again.
fuzz: build
	FUZZ_OPERATIONS=$(FUZZ_OPERATIONS) FUZZ_SEED=$(FUZZ_SEED) $(BIN)/python -m pytest \
	    -q -k test_a_hostile_driver tests/virtio/test_hostile.py

# What fails names its seed: CONFIG_SEED=N CONFIG_COUNT=1 does the same again.
fuzz-config: build
	@PYTHON=$(PYTHON) sh .ci/prerequisites tests
	CONFIG_COUNT=$(CONFIG_COUNT) CONFIG_SEED=$(CONFIG_SEED) $(BIN)/python -m pytest \
	    -q -k test_no_configuration tests/container/test_fuzz_config.py

lint: build
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/rooms.py --check
	$(CC) -fsyntax-only -Wall -Wextra -Werror -Icsrc/core csrc/core/*.c csrc/init/*.c csrc/container/*.c benchmarks/*.c

# A warning is an error. Each build is a new one, so that no page of an earlier one is left.
docs: build $(VENV)/docs-ready
	@rm -rf build/site
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env --write-all \
	    --doctree-dir build/doctrees docs build/site
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env -b revealjs -c docs/slides \
	    --doctree-dir build/doctrees-slides docs build/site/slides
	@echo "the site: build/site/index.html"

# Measures what users have: the wheel, installed.
bench: build/bench
	build/bench/bin/python benchmarks/run.py $(BENCH)

bench-linux: build build/bench
	$(BIN)/ringlet nested --setup --package linux-image-cloud-amd64
	$(BIN)/ringlet nested --cpus 2 --memory 4G --timeout 1800 -- build/bench/bin/python \
	    benchmarks/run.py $(or $(BENCH),linux linux_disk)

build/bench: $(READY)
	@$(PYTHON) -m venv --clear build/bench
	@build/bench/bin/pip install --quiet .

dist: $(READY)
	@rm -rf build/wheel $(DIST)
	$(BIN)/python -m build --outdir build/wheel
	PATH="$(BIN):$$PATH" $(BIN)/auditwheel repair --wheel-dir $(DIST) build/wheel/*.whl
	cp build/wheel/*.tar.gz $(DIST)

clean:
	rm -rf build dist $(VENV) src/*.egg-info src/ringlet/_core.* $(GUESTS) $(INIT) $(CONTAINER)
	git checkout --quiet src/ringlet/_core.pyi

$(READY): pyproject.toml Makefile $(wildcard scripts/*)
	@PYTHON=$(PYTHON) sh .ci/prerequisites
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

# What the documentation site and its tests take, and nothing else.
$(VENV)/docs-ready: $(READY)
	$(BIN)/pip install --quiet --editable '.[docs]'
	@touch $@

.PHONY: build demo test test-slow test-nested test-nested-host test-nested-labs test-nested-inside nested-kernel test-labs fuzz fuzz-config lint docs bench bench-linux build/bench dist clean
