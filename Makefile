# The two commands are `make demo` and `make test`; `make help` lists the others.
#
# Everything lives in $(VENV); nothing needs root, a GPU or more than pip. Stamp files in
# it remember what was done: a second run is quick, a changed C++ source is rebuilt.
# PYTHON=python3.12 and CXX=clang++ choose others. PYCONV_TEST_TORCH=1 adds PyTorch to
# the tests (a large download).

SHELL := /bin/sh
PYTHON ?= python3
VENV ?= .venv
BUILD := build/release
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

# make's own default for CXX is g++; take it, or the first that exists.
ifeq ($(origin CXX),default)
CXX := $(shell for c in c++ g++ clang++; do \
	command -v $$c >/dev/null 2>&1 && echo $$c && break; done)
endif
export CXX

SOURCES := CMakeLists.txt pyproject.toml $(shell find csrc pyconv -name "*.[chp]*" -type f -not -name "*.pyc" 2>/dev/null)
TORCH ?= torch==2.13.0
# Passed on to the program that runs: make test ARGS="-k pool"
ARGS ?=

# Requirements of the extras named as arguments, read from the installed package, so
# that pyproject.toml stays the only list.
EXTRAS = $(BIN)/python -c 'import importlib.metadata as m, sys; \
	rows = [r.partition(";") for r in m.requires("pyconv-kernels") or ()]; \
	print(*(r.strip().replace(" ", "") for r, _, mark in rows \
	if any(repr(e) in mark.replace(chr(34), chr(39)) for e in sys.argv[1:])))'

# Files of tests side by side; a debugger wants one process: make test SPREAD=
SPREAD ?= -n auto --maxprocesses=4 --dist=loadfile

# make bench SUITE=3x3,thin THREADS=1: those suites only, on one thread.
SUITE ?=
THREADS ?=
SUITES = $(if $(SUITE),--suite $(SUITE)) $(if $(THREADS),--threads $(THREADS))

.PHONY: help demo test lint bench ladders report selection operations types layers ratio clean check

help:
	@echo "make demo   a photograph and ResNet-50 through every algorithm (build/demo/)"
	@echo "make test   the test suite"
	@echo "make lint   ruff, mypy, clang-format"
	@echo "make bench  the suites against every peer (SUITE=name THREADS=1 ARGS=--quick)"
	@echo "make ladders  a few problems by every algorithm, bytes beside time"
	@echo "make report  one HTML page of all results (build/report.html)"
	@echo "make selection  auto's pick against every algorithm, on the same layers"
	@echo "make operations  pooling, gradients and transposed convolution against the peers"
	@echo "make types  bfloat16, float16 and bytes against the peers and float32"
	@echo "make layers  pytest benchmarks, all published layers (ARGS=--quick for a few)"
	@echo "make ratio  against PyTorch on ResNet-50, one run (installs PyTorch)"
	@echo "make clean  remove build/ and $(VENV)/"

demo: $(VENV)/.demo
	@$(BIN)/python -m benchmarks.demo $(ARGS)

test: $(VENV)/.test $(if $(PYCONV_TEST_TORCH),$(VENV)/.torch)
	@$(BIN)/python -m pytest $(SPREAD) $(ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	find csrc -name '*.cpp' -o -name '*.hpp' -o -name '*.cuh' | \
		xargs $(BIN)/clang-format --dry-run --Werror

bench: $(VENV)/.bench $(VENV)/.torch
	@$(BIN)/python -m benchmarks.bench $(SUITES) $(ARGS)
	@$(BIN)/python -m benchmarks report

ladders: $(VENV)/.bench
	@$(BIN)/python -m benchmarks.ladders $(if $(THREADS),--threads $(THREADS)) $(ARGS)

report: $(VENV)/.bench
	@$(BIN)/python -m benchmarks report $(ARGS)

selection: $(VENV)/.bench
	@$(BIN)/python -m benchmarks.selection $(SUITES) $(ARGS)

operations: $(VENV)/.bench $(VENV)/.torch
	@$(BIN)/python -m benchmarks.operations $(if $(THREADS),--threads $(THREADS)) $(ARGS)

types: $(VENV)/.bench $(VENV)/.torch
	@$(BIN)/python -m benchmarks.element_types $(if $(THREADS),--threads $(THREADS)) $(ARGS)

layers: $(VENV)/.bench
	@$(BIN)/python -m pytest benchmarks --benchmark-json=build/benchmarks.json $(ARGS)

ratio: $(VENV)/.bench $(VENV)/.torch
	@$(BIN)/python -m benchmarks.ratio $(ARGS)

clean:
	rm -rf build $(VENV)

# Each missing thing is one sentence, before anything is downloaded.
check:
	@$(PYTHON) -c '' 2>/dev/null || { \
		echo "pyconv needs Python 3.10 or newer, and '$(PYTHON)' does not run:" \
			"install it, or name another with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "pyconv needs Python 3.10 or newer, and '$(PYTHON)' is" \
			"$$($(PYTHON) -c 'import platform; print(platform.python_version())'):" \
			"name another with make PYTHON=..." >&2; exit 1; }
	@test -n "$(CXX)" && command -v $(firstword $(CXX)) >/dev/null 2>&1 || { \
		echo "pyconv needs a C++20 compiler, and none was found (looked for" \
			"'$(or $(CXX),c++, g++, clang++)'): install g++ or clang++, or set CXX" >&2; \
		exit 1; }
	@printf '#include <concepts>\n#include <span>\ntemplate <std::integral T> T f(T a) { return a; }\nint main() { return f(0); }\n' | \
		$(CXX) -std=c++20 -x c++ -fsyntax-only - 2>/dev/null || { \
		echo "pyconv needs a C++20 compiler, and '$(CXX)' does not compile C++20:" \
			"name a newer one with make CXX=..." >&2; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || { \
		echo "pyconv needs Python's C headers (Python.h) for '$(PYTHON)': install the" \
			"python3-dev package or a Python that carries them" >&2; exit 1; }

$(VENV)/.python: | check
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || \
		$(PYTHON) -m virtualenv --quiet $(VENV) 2>/dev/null || { \
		rm -rf $(VENV); \
		echo "'$(PYTHON) -m venv' failed: install the python3-venv package, or" \
			"virtualenv (pip install --user virtualenv)" >&2; exit 1; }
	@touch $@

$(VENV)/.tools: $(VENV)/.python pyproject.toml
	@echo "installing the build tools"
	@$(PIP) "scikit-build-core>=0.11" "pybind11>=3" "numpy>=2.0" cmake ninja
	@touch $@

$(VENV)/.built: $(VENV)/.tools $(SOURCES)
	@echo "building pyconv ($(CXX), Release)"
	@PATH="$(abspath $(BIN)):$$PATH" $(PIP) --no-build-isolation --editable . \
		-Cbuild-dir=$(BUILD) -Ccmake.build-type=Release
	@touch $@

$(VENV)/.demo: $(VENV)/.built
	@echo "installing what the demo needs"
	@$(PIP) scikit-learn matplotlib rich
	@touch $@

$(VENV)/.lint: $(VENV)/.built
	@echo "installing the linters"
	@$(PIP) $$($(EXTRAS) dev)
	@touch $@

# CuPy and NVRTC let the tests compile every CUDA kernel without a GPU. Where they
# cannot be installed, those tests skip with the reason.
$(VENV)/.test: $(VENV)/.built
	@echo "installing what the tests need"
	@$(PIP) $$($(EXTRAS) dev)
ifeq ($(shell uname -s)-$(shell uname -m),Linux-x86_64)
	@$(PIP) $$($(EXTRAS) cuda) || \
		echo "CuPy and NVRTC could not be installed: the CUDA tests will be skipped"
endif
	@touch $@

$(VENV)/.bench: $(VENV)/.built
	@echo "installing the peers"
	@$(PIP) $$($(EXTRAS) bench dev)
	@touch $@

$(VENV)/.torch: $(VENV)/.built
	@echo "installing $(TORCH)"
	@$(PIP) "$(TORCH)"
	@touch $@
