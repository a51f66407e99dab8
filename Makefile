# Everything a newcomer types. Each target sets up what it needs first: on a machine with nothing
# but git, make and python3, `make test` ends in a tested library. docs/install.md says what is
# installed and why.
#
#   TORCH_INDEX_URL=URL   pip index for torch, e.g. https://download.pytorch.org/whl/cpu
#   JOBS=N                compilers at a time (default: one per core, 2 GB of memory each)
#   PYTHON=PATH           the Python that .venv is made from (default: python3)

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup build demo test bench bench-peers format lint clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:
	@scripts/apt.sh
	@scripts/venv.sh

build: setup  ## compile libcupel, its tests and the Python module, and install them into .venv
	@scripts/build.sh

demo: build  ## see what compression costs the model that comes with the package
	@rm -rf build/demo
	@.venv/bin/cupel demo --out build/demo

test: build  ## run the C++ and the Python tests
	@scripts/test.sh

bench: build  ## measure kernels and solvers on a quiet machine (ANYWAY=1: on a busy one too)
	@scripts/bench.sh

bench-peers: build  ## compare with llm-compressor and GPTQModel (downloads them; quiet machine, as bench)
	@scripts/bench_peers.sh

format: setup  ## rewrite the sources in the house style
	@scripts/style.sh --fix

lint: setup  ## check style, include layers and file lengths
	@scripts/style.sh

clean:  ## delete build/ (.venv stays)
	@rm -rf build dist
