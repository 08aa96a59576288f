# `make demo` and `make test` are all a newcomer needs; both make the environment first.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
HW_TOOLS := verilator yosys iverilog g++
STAMP := $(VENV)/.installed

.PHONY: help demo test hw-tools hw networks tables nightly bench accuracy clean

help:
	@echo "make demo      environment, then quantize the embedded digits network"
	@echo "make test      environment, hw-tools where it may, then style, types, tests, executed documentation"
	@echo "make hw-tools  simulators and synthesis for hw/: verilator, yosys, iverilog, g++, ap_int headers"
	@echo "make hw        synthesise the arrays and the engine: hw/syn/*.json and the tables in docs/hardware.md"
	@echo "make tables    the comparison of designs: docs/comparison.json and its tables in docs/results.md"
	@echo "make networks  whole networks on the simulated engines: hw/sim/networks.json and their table"
	@echo "make nightly   the long form of the random tests: 500 networks, 10^8 accumulations of packed DSPs, random programs on the engines"
	@echo "make bench     compare with Brevitas' GPTQ on ResNet-18 (installs brevitas)"
	@echo "make accuracy  the accuracy table; DATA=folder with the CIFAR-10 files"
	@echo "make clean     remove the environment and everything built"

$(STAMP): pyproject.toml constraints.txt
	@echo "== environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	@echo "== ilmpq quantize digits"
	$(BIN)/ilmpq quantize digits --out runs/digits

test: $(STAMP)
	@echo "== tools for hw/"
	-@$(MAKE) --no-print-directory hw-tools
	$(BIN)/python scripts/check.py

# Debian packages of these names bring the programs of these names; hls4ml is wanted for its ap_int headers alone.
hw-tools: $(STAMP)
	@missing=$$(for tool in $(HW_TOOLS); do command -v $$tool > /dev/null || printf '%s ' $$tool; done); \
	[ -z "$$missing" ] && exit 0; \
	[ "$$(id -u)" = 0 ] && root="" || root="sudo -n"; \
	{ command -v apt-get > /dev/null && $$root apt-get update -qq && $$root apt-get install -y -qq --no-install-recommends $$missing; } \
	|| { echo "missing: $$missing- install them (Debian: apt-get install $$missing)" >&2; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --constraint constraints.txt hls4ml

hw: hw-tools
	$(BIN)/python scripts/synthesise.py
	$(BIN)/python scripts/synthesise_engine.py

networks: hw-tools
	$(BIN)/python scripts/simulate.py

tables: hw-tools
	$(BIN)/python scripts/tables.py --check --rtl xc7z020

nightly: $(STAMP)
	ILMPQ_NIGHTLY=1 $(BIN)/python -m pytest -q tests/test_integer.py tests/test_lanes.py tests/test_compile.py tests/test_hls_engine.py tests/test_compute_core.py

bench: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt '.[bench]'
	$(BIN)/python scripts/bench_ptq.py

accuracy: $(STAMP)
	$(BIN)/python scripts/accuracy.py --data $(DATA)

clean:
	rm -rf $(VENV) build dist runs .mypy_cache .ruff_cache .pytest_cache .hypothesis
