# Everything one does here. After the set-up only .venv/bin/* is called: on Python 3.11 `uv run` and `uv sync` rewrite vLLM under running processes.
PYTHON ?= python3.11
BIN := .venv/bin
COMPILE := $(BIN)/uv pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes --no-header \
	--no-emit-index-url --extra operator --extra cluster --group build pyproject.toml
COMPILE_CPU := $(COMPILE) --override requirements/overrides.txt requirements/cpu.in
INSTALL := $(BIN)/uv pip install --quiet --compile-bytecode --no-deps
MATRIX := $(BIN)/matrix
TESTS := $(BIN)/pytest -n 2

.DEFAULT_GOAL := help
.PHONY: help quickstart test check lint unit e2e bench generate lock clean setup

help:  ## what there is
	@sed -n 's/^\([a-z0-9]*\):.*## /\1\t/p' Makefile | expand -t 14

quickstart: .venv/.cpu  ## set up, start a cluster with a real model on this machine, ask it a question
	$(MATRIX) up examples/quickstart.yaml
	$(MATRIX) chat smollm2 --temperature 0 "What is the capital of France?"
	@echo "It goes on running. To look: $(MATRIX) get matrix. To end it: $(MATRIX) down examples/quickstart.yaml"

test: lint  ## set up and run every check and test
	$(TESTS) tests

check: lint unit  ## the fast part

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m matrix_crds.generate --check
	$(BIN)/python -m matrix_proto.generate --check
	$(BIN)/python -m matrix_operator.rbac_generate --check
	$(BIN)/python charts/values_table.py --check

unit: .venv/.dev  ## the tests without Ray
	$(TESTS) -q tests/unit

e2e: .venv/.dev  ## the tests with real processes
	$(TESTS) tests/e2e

bench: .venv/.dev  ## the short benches; tables on the terminal, JSON in bench/results
	$(BIN)/python -m bench

generate: .venv/.dev  ## write the CRDs, the gRPC stubs, the operator's roles, the chart's renderings and generated pages from their sources
	$(BIN)/python -m matrix_crds.generate
	$(BIN)/python -m matrix_proto.generate
	$(BIN)/python -m matrix_operator.rbac_generate
	$(BIN)/python charts/values_table.py
	$(BIN)/python -m tests.unit.chart.rendered

lock: .venv/.bootstrap  ## resolve the requirements anew
	$(BIN)/uv pip compile --quiet --generate-hashes --no-header --no-emit-index-url --no-annotate requirements/bootstrap.in -o requirements/bootstrap.txt
	$(COMPILE_CPU) -o requirements/cpu.txt
	$(COMPILE) --extra gpu requirements/gpu.in -o requirements/gpu.txt
	$(COMPILE_CPU) --group dev -c requirements/cpu.txt -o requirements/dev.txt

setup: .venv/.dev  ## set up and do nothing else

clean:  ## remove what was made here; caches outside of the checkout stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache bench/results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.bootstrap: requirements/bootstrap.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	touch $@

# A stamp per set, so that nothing that is installed already is touched again. dev holds all of cpu.
.venv/.cpu .venv/.dev: .venv/.%: requirements/%.txt pyproject.toml .venv/.bootstrap
	$(INSTALL) --require-hashes -r requirements/$*.txt
	$(INSTALL) --no-build-isolation --editable .
	touch .venv/.cpu $@
