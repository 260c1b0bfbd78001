# Everything a developer does, by name; `make` lists it. Caches live outside the repository.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON := /usr/bin/python3
SEEDS ?= 1000
FROM ?= 1
SECONDS_EACH ?= 60
MINUTES ?= 10
export CCACHE_BASEDIR := $(CURDIR)
export CCACHE_NOHASHDIR := 1
export CCACHE_MAXSIZE := 5G

.PHONY: help setup build unit release test style e2e clients soak chaos demo demo-sim sim fuzz \
        bench clean

help: ## what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: ## install what is missing (Debian packages, llama.cpp's server, a small model)
	@tools/install.sh

build: ## debug build, everything
	@tools/install.sh apt
	cmake --preset debug >/dev/null
	ninja -C build/debug

unit: build ## the inner loop: debug build and unit tests
	ctest --test-dir build/debug -j2 --output-on-failure --no-tests=error --progress

release: ## build/release/holdfast
	@tools/install.sh apt
	cmake --preset release >/dev/null
	ninja -C build/release holdfast

test: setup ## everything that CI checks (tools/check.py list); one step: tools/check.py NAME
	$(PYTHON) tools/check.py

style: ## include arrows, tidy, clang-format
	tools/arrows.py
	tools/tidy.py
	clang-format-19 --dry-run -Werror $$(find src -name '*.[ch]pp')

e2e: setup release ## failure scenarios on real processes; ARGS goes to pytest
	$(PYTHON) -m pytest -p no:cacheprovider tests/e2e $(ARGS)

clients: setup release ## official SDKs, LangChain, AI SDK and curl, through kills; ARGS to pytest
	$(PYTHON) -m pytest -p no:cacheprovider tests/clients $(ARGS)

soak: release ## a kill storm for MINUTES=10: answers right, memory flat, nothing left
	$(PYTHON) tests/soak.py $(MINUTES)

chaos: setup release ## fault tests in their long form, with an HTML report in build/chaos
	build/release/holdfast chaos run chaos --long --jobs 2 --out build/chaos
	tools/fault_tolerance.py take build/chaos

demo: setup release ## kill and freeze real llama.cpp engines under a running answer
	$(PYTHON) tools/demo.py

demo-sim: release ## the same on simulated engines, in seconds
	$(PYTHON) tools/demo.py --sim

sim: release ## SEEDS=1000 worlds from FROM=1, every pair of scenarios, 60 s of fresh seeds
	build/release/holdfast sim --seeds $(SEEDS) --from $(FROM) --pairs --edges --counts
	build/release/holdfast sim --minutes 1

fuzz: ## every fuzz target for SECONDS_EACH=60
	@tools/install.sh apt
	cmake --preset asan >/dev/null
	ninja -C build/asan fuzzers
	tools/fuzz.sh $(SECONDS_EACH)

bench: release ## pauses and added delay, five rounds of 100 streams; failovers; promised times
	$(PYTHON) tests/bench/pause.py
	$(PYTHON) tests/bench/failover.py
	$(PYTHON) tests/bench/times.py

clean: ## remove build/ (caches stay)
	rm -rf build
