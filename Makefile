# make demo    installs what running needs into .venv, plays the bundled clip as a camera, leaves out/demo
# make test    also installs what testing needs (torch among it), and runs every test
# make check   checks style and types, then runs every test
# make train-smoke   trains a tiny model for two minutes and shows the error falling
# make lock    renews constraints.txt with the newest versions that pyproject.toml allows; torch stays as it is
# make clean   removes everything that was made here

PYTHON ?= python3
BIN := .venv/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

LOCK ?= constraints.txt
# Whole files of tests in up to four processes, one per core.
SIDE_BY_SIDE := --numprocesses auto --maxprocesses 4 --dist loadfile

.PHONY: demo test check train-smoke lock clean

demo: .venv/run
	$(BIN)/refit-rt demo

test: .venv/test
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

check: .venv/check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

train-smoke: .venv/test
	$(BIN)/python -m training.smoke

# A local build of torch (2.13.0+cpu) is pinned as its release (2.13.0), which any build of it satisfies.
lock:
	@echo "resolving in a temporary environment (some minutes; torch is large)"
	@set -e; made=$$(mktemp -d); trap 'rm -rf "$$made"' EXIT; trap 'exit 1' INT TERM; \
	grep '^torch==' constraints.txt >"$$made/torch"; \
	$(PYTHON) -m venv "$$made/venv"; pip="$$made/venv/bin/python -m pip --disable-pip-version-check"; \
	$$pip install --quiet --constraint "$$made/torch" --editable '.[train,test,check]'; \
	$$pip freeze --all --exclude pip --exclude refit-rt >"$$made/all"; \
	{ grep '^#' constraints.txt; grep -Ev '^(cuda-|nvidia-|triton=)' "$$made/all" | sed 's/+.*//'; } >"$$made/lock"; \
	cp "$$made/lock" $(LOCK)
	@echo "$(LOCK) is renewed: run make check before you commit it"

clean:
	rm -rf .venv out/demo runs/smoke build *.egg-info .pytest_cache .ruff_cache

# A stamp records that its packages are installed, so that a second call does nothing.
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
