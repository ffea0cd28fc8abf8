# Every target sets up what it needs. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:

export PATH := $(PATH):/usr/sbin:/sbin
export PYTHON

VENV := .venv
PY := $(VENV)/bin/python
PYTEST := $(PY) -m pytest
WORKERS ?= 2
C_BUILD := cmake -S . -G Ninja -DFASTSSH_PYTHON=OFF -DFASTSSH_TESTS=ON -DFASTSSH_WERROR=ON
PACKAGES := build openssh test

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- set-up -------------------------------------------------------------------------------------------------------
.PHONY: help docs setup build openssh demo test ctest pytest lint types asan valgrind fuzz fuzz-native soak regress bench roofline microbench clean distclean

setup: $(VENV)/.packages $(VENV)/.ready ## System packages, .venv and the editable install

$(VENV)/.packages: scripts/setup.sh
	@scripts/setup.sh packages $(PACKAGES)
	@mkdir -p $(VENV) && touch $@

# Building and the demo ask for less than the tests do: no OpenSSH, no second compiler, no dropbear.
$(VENV)/.ready: pyproject.toml scripts/setup.sh
	@scripts/setup.sh packages build
	@scripts/setup.sh venv
	@touch $@

build: $(VENV)/.ready ## Brings the extension modules up to date
	@[ -f build/editable/build.ninja ] || $(PY) -m pip install -q --no-build-isolation --no-deps -e .
	@cmake --build build/editable
	@$(PY) -m compileall -q src/fastssh # or tools compile themselves at each start where PYTHONDONTWRITEBYTECODE is set

openssh: # what the tests meet, and what is measured beside ours
	@scripts/setup.sh packages openssh

# --- the main job -------------------------------------------------------------------------------------------------
demo: build ## A 1 GiB file up to fastsshd and down again, beside OpenSSH if that is there (FASTSSH_DEMO_MIB=64: short)
	@$(PY) -m scripts.demo

# --- tests --------------------------------------------------------------------------------------------------------
test: setup build ctest lint types pytest ## Everything: C tests, lint, types, pytest

ctest: $(VENV)/.packages ## C tests, with gcc and with clang, warnings being errors
	@for compiler in gcc clang; do \
	    $(C_BUILD) -B build/test-$$compiler -DCMAKE_C_COMPILER=$$compiler >/dev/null; \
	    cmake --build build/test-$$compiler; \
	    ctest --test-dir build/test-$$compiler --output-on-failure; \
	done

pytest: build openssh ## Python tests, in WORKERS (2) processes
	@$(PYTEST) -q -n $(WORKERS) --dist loadfile --durations=15

docs: build ## Manual pages and completion of the tools, from what they say of themselves
	@$(PY) -m scripts.docs

lint: $(VENV)/.ready ## ruff; clang-format for C
	@$(PY) -m ruff check .
	@$(VENV)/bin/clang-format --dry-run -Werror csrc/*/*.[ch] benchmarks/native/*.c

types: $(VENV)/.ready ## mypy --strict
	@$(PY) -m mypy

# The same tests under AddressSanitizer and UBSan: the C tests, then the tests of the native modules, whose build stands in
# a package tree of its own (links to the sources, its own modules).
ASAN := build/asan
ASAN_PACKAGE := $(CURDIR)/$(ASAN)/python/fastssh
asan: $(VENV)/.ready ## C tests and native module tests with address and undefined-behaviour sanitizers
	@mkdir -p $(ASAN_PACKAGE)/_native
	@ln -sfn $(filter-out %/_native,$(wildcard $(CURDIR)/src/fastssh/[!_]* $(CURDIR)/src/fastssh/__init__.py)) $(ASAN_PACKAGE)/
	@ln -sfn $(wildcard $(CURDIR)/src/fastssh/_native/*.py*) $(ASAN_PACKAGE)/_native/
	@cmake -S . -B $(ASAN) -G Ninja -DCMAKE_C_COMPILER=gcc -DCMAKE_BUILD_TYPE=RelWithDebInfo -DFASTSSH_TESTS=ON \
	    -DFASTSSH_WERROR=ON -DFASTSSH_SANITIZE=address,undefined -DFASTSSH_MODULE_DIR=$(ASAN_PACKAGE)/_native \
	    -DPython_EXECUTABLE=$(CURDIR)/$(PY) >/dev/null
	@cmake --build $(ASAN)
	@UBSAN_OPTIONS=print_stacktrace=1 ctest --test-dir $(ASAN) --output-on-failure
	@LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
	    UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc \
	    PYTHONPATH=$(dir $(ASAN_PACKAGE)):$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
	    $$($(PY) -c 'import sys; print(sys._base_executable)') \
	    -m pytest -q --hypothesis-profile=ci $(wildcard tests/test_packet*.py tests/test_plane*.py)

valgrind: $(VENV)/.ready ## C tests under valgrind
	@scripts/setup.sh packages build valgrind
	@$(C_BUILD) -B build/valgrind -DCMAKE_C_COMPILER=gcc -DCMAKE_BUILD_TYPE=RelWithDebInfo >/dev/null
	@cmake --build build/valgrind
	@for program in build/valgrind/test_*; do \
	    [ -x "$$program" ] && [ -f "$$program" ] || continue; \
	    echo "valgrind $${program##*/}"; \
	    valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite,possible "$$program"; \
	done

fuzz: build openssh ## Property tests with many more examples (FASTSSH_FUZZ_EXAMPLES=5000)
	@$(PYTEST) -q -m hypothesis --hypothesis-profile=fuzz

fuzz-native: $(VENV)/.packages ## libFuzzer on packets and on the data plane, FASTSSH_FUZZ_SECONDS (60) each
	@$(C_BUILD) -B build/fuzz -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=RelWithDebInfo -DFASTSSH_TESTS=OFF -DFASTSSH_FUZZ=ON \
	    -DFASTSSH_SANITIZE=address,undefined >/dev/null
	@cmake --build build/fuzz
	@cd build/fuzz; for program in fuzz_*; do \
	    [ -x "$$program" ] && [ -f "$$program" ] || continue; \
	    mkdir -p "corpus/$$program"; \
	    "./$$program" -max_len=3000 -max_total_time=$${FASTSSH_FUZZ_SECONDS:-60} "corpus/$$program"; \
	done

soak: build openssh ## Random transfers against a real sshd for FASTSSH_SOAK_SECONDS (600)
	@$(PYTEST) -q -m soak

regress: build openssh ## OpenSSH's regress suite with programs of ours in their place, beside stock; writes docs/regress.md
	@scripts/setup.sh packages regress
	@$(PY) -m scripts.regress --write

# --- measurements -------------------------------------------------------------------------------------------------
roofline: $(VENV)/.ready
	@$(C_BUILD) -B build/test-gcc -DCMAKE_C_COMPILER=gcc >/dev/null
	@cmake --build build/test-gcc

bench: build openssh roofline ## Paired comparison with scp, asyncssh and paramiko; writes benchmarks/RESULTS.md
	@$(PY) -m benchmarks.compare --write
	@$(PY) -m benchmarks.connections

microbench: build openssh ## Packets and key exchanges one by one (pytest-benchmark), start-up times (pyperf)
	@$(PYTEST) -q benchmarks/micro --benchmark-columns=median,iqr,rounds --benchmark-sort=name
	@$(PY) -m benchmarks.startup

# --- away with it -------------------------------------------------------------------------------------------------
clean: ## Removes what the build made
	@rm -rf build src/fastssh/_native/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@rm -f $(VENV)/.ready

distclean: clean ## ... and the virtual environment
	@rm -rf $(VENV)
