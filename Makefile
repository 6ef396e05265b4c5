# hswish: `make demo` to see it work, `make test` to check it. Both make the environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test test-long test-all test-arm check build clean

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: $(STAMP) ## train, measure and use two small models; writes demo-out/
	$(BIN)/python -m demo

test: $(STAMP) ## the default test suite
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-long: $(STAMP) ## what takes longest: the demo, the wheel, long documents, exports in every precision; continuous integration runs it
	$(BIN)/python -m pytest -n 2 -m long

test-all: $(STAMP) ## every test, the slow ones too
	$(BIN)/python -m pytest -n 2

test-arm: $(STAMP) ## the ARM kernels in an emulator; fetches Debian's cross-compiler where it may
	@command -v aarch64-linux-gnu-g++ > /dev/null && command -v qemu-aarch64 > /dev/null \
	|| (apt-get -qq update && apt-get -qq install -y g++-aarch64-linux-gnu qemu-user) > /dev/null \
	|| echo "no ARM compiler or emulator: apt install g++-aarch64-linux-gnu qemu-user"
	$(BIN)/python -m pytest tests/runtime/native/test_builds.py -k arm

check: $(STAMP) ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

build: $(STAMP) ## wheel and sdist into dist/
	$(BIN)/python -m build

# torch comes first and exactly, so that nothing else decides which build of it is taken.
# The install compiles native/, so a change there installs again.
$(STAMP): pyproject.toml constraints.txt native/CMakeLists.txt $(wildcard native/*.h native/*.cpp native/training/*)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	@touch $@

clean: ## remove everything that make made
	rm -rf $(VENV) demo-out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
