# make demo   simulate a low-dose scan, denoise it and show where the pictures are
# make test   run every test, ruff and mypy among them
# Both make .venv and install into it first; python3 ≥ 3.11 is all they need.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test install clean

demo: $(BIN)/petdiff
	rm -rf demo
	$(BIN)/petdiff demo -o demo

test: .venv/installed-for-tests
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest

install: $(BIN)/petdiff

# torch first and pinned: anything else that asks for "torch" then finds the tested one in place.
$(BIN)/petdiff: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "petdiff needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet --constraint constraints.txt torch
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dicom]'
	touch $@

.venv/installed-for-tests: $(BIN)/petdiff
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dicom,test]'
	touch $@

clean:
	rm -rf .venv demo
