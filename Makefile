# make demo    installs what running needs into .venv, plays the bundled clip as a camera, leaves out/demo
# make test    installs what testing needs beside it (torch among it), runs every test
# make check   the same, and style and types before
# make train-smoke   trains a tiny model for two minutes and shows the error falling
# make clean   removes all that was made here

PYTHON ?= python3
BIN := .venv/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: demo test check train-smoke clean

demo: .venv/run
	$(BIN)/refit-rt demo

test: .venv/test
	$(BIN)/python -m pytest

check: .venv/check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest

train-smoke: .venv/test
	$(BIN)/python -m training.smoke

clean:
	rm -rf .venv out/demo runs/smoke build *.egg-info .pytest_cache .ruff_cache

# Each stamp says that the environment holds what it is named after; a second call does nothing.
.venv/run: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "refit_rt needs Python 3.11 or newer: make PYTHON=python3.12")'
	@echo "installing into .venv (once, about a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(INSTALL) .
	@touch $@

.venv/test: .venv/run
	@echo "installing what tests need (once; torch is large)"
	@$(INSTALL) '.[train,test]'
	@touch $@

.venv/check: .venv/test
	@$(INSTALL) '.[train,test,check]'
	@touch $@
