# Each target installs what it needs by itself: a virtual environment in .venv, and for the tests
# Debian's packages where that is possible (root on Debian or Ubuntu). `make` lists the targets.

VENV := .venv
BIN := $(VENV)/bin
# Two workers: more do not help, as the tests' own guests use further threads.
WORKERS ?= 2
# auto, tier0 or tier1: how the guests of the tests are run (see docs/testing.md).
JIT ?= auto
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --jit $(JIT)

.PHONY: help demo demo-shell demo-machine test test-slow bench lint format clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile | expand -t 18

demo: ## a command in a MIPS busybox, or DEMO='...' in it; then a MIPS machine with a Linux shell
	@sh scripts/venv.sh
	@sh scripts/demo.sh $(BIN) program
	@[ -n "$$DEMO" ] || sh scripts/demo.sh $(BIN) machine

demo-shell: ## the same busybox as an interactive shell
	@sh scripts/venv.sh
	@sh scripts/demo.sh $(BIN) shell

demo-machine: ## the machine alone
	@sh scripts/venv.sh
	@sh scripts/demo.sh $(BIN) machine

test: ## run all tests but the slow ones; T='...' adds pytest arguments
	@sh scripts/venv.sh test
	@sh scripts/system-packages.sh
	$(PYTEST) $(T)

test-slow: ## run the slow tests: real programs, long random streams
	@sh scripts/venv.sh test
	@sh scripts/system-packages.sh
	$(PYTEST) -m slow -o faulthandler_timeout=7200 $(T)

bench: ## time Pemu beside qemu-user; BENCH=images, BENCH=machines: other parts, and arguments
	@sh scripts/venv.sh test
	@sh scripts/system-packages.sh
	$(BIN)/python -m bench $(BENCH)

lint: ## check format, style and types
	@sh scripts/venv.sh test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: ## put the sources into the format that lint checks
	@sh scripts/venv.sh test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove what the other targets made
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis src/*.egg-info
