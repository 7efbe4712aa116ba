# make demo   simulate a low-dose scan, denoise it and show where the pictures are
# make test   run every test, ruff and mypy among them
# make docs   build the documentation as a site in build/site
# All make .venv and install into it first; python3 ≥ 3.11 is all they need.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

VIEWER := src/petdiff/report/viewer

.PHONY: demo test docs install viewer clean

demo: install
	rm -rf demo
	$(BIN)/petdiff demo -o demo

# One worker for each core, four at most; each computes with one thread (tests/conftest.py).
test: .venv/installed-for-tests viewer
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

docs: .venv/installed-for-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

.venv/installed-for-docs: $(BIN)/petdiff
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dicom,docs]'
	touch $@

install: $(BIN)/petdiff viewer

# NiiVue for the pages that runs write: pinned, and checked against the hashes in package-lock.json.
viewer:
	@$(MAKE) --no-print-directory $(VIEWER)/niivue.js \
	  || echo "note: npm could not fetch NiiVue, so report.html will hold pictures and no 3-D viewer"

$(VIEWER)/niivue.js: $(VIEWER)/package.json $(VIEWER)/package-lock.json $(VIEWER)/niivue.LICENSE
	mkdir -p build/viewer
	cp $(VIEWER)/package.json $(VIEWER)/package-lock.json build/viewer/
	npm ci --prefix build/viewer --ignore-scripts --no-audit --no-fund --loglevel=error
	{ echo "@niivue/niivue"; echo; cat $(VIEWER)/niivue.LICENSE; cd build/viewer/node_modules; \
	  find . -mindepth 2 -maxdepth 3 -iname 'license*' -not -path './@niivue/*' | sort | while read -r file; do \
	    printf '\n\n%s\n\n' "$$(dirname "$$file" | cut -c3-)"; cat "$$file"; done; } > $(VIEWER)/niivue.licences.txt
	cp build/viewer/node_modules/@niivue/niivue/dist/niivue.umd.js $@

# torch first and pinned: anything else that asks for "torch" then finds the tested one in place.
$(BIN)/petdiff: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "petdiff needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet --constraint constraints.txt torch
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dicom]'
	touch $@

.venv/installed-for-tests: $(BIN)/petdiff
	$(PIP) install --quiet --constraint constraints.txt --editable '.[cluster,dicom,node,regions,test]'
	touch $@

clean:
	rm -rf .venv demo
