# `make run` installs and rates this machine; `make test` installs and runs every check. Needs python3 (3.11 or newer).
# PYTHON=/path/to/python picks the interpreter, ARGS="..." goes to `effbench run` (or to pytest, for test, test-system and bench).

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help install install-dev run test test-system bench clean

# An activated environment or a PYTHONPATH must not leak into ours.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP VIRTUAL_ENV CONDA_PREFIX PIP_CONSTRAINT
export PYTHON

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

install:  ## create .venv and install what `effbench` needs
	@sh ci/bootstrap.sh run

install-dev:  ## the same, with every tool that the checks need
	@sh ci/bootstrap.sh dev

run: install  ## rate this machine (ARGS="--device cpu", ARGS="node/standard", ...)
	@.venv/bin/python ci/run.py $(ARGS)

test: install-dev  ## every check: ruff, mypy, import-linter, generated files, pytest
	@bash ci/check.sh $(ARGS)

test-system: install-dev  ## a real Slurm and links of known speed (root; REQUIRE=1: what is missing fails)
	@REQUIRE="$(REQUIRE)" bash ci/system.sh $(ARGS)

bench: install-dev  ## effbench's own speed and overhead, printed; nothing fails by a time
	@bash ci/bench.sh $(ARGS)

clean:  ## remove .venv, caches and build products; runs and reports stay
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache
	find effbench tests ci -name __pycache__ -type d -prune -exec rm -rf {} +
