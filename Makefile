# `make demo` and `make test` start from nothing: they make .venv and install what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
export HF_HUB_OFFLINE ?= 1

.PHONY: demo abo mini test test-all check lint types install clean help

help:
	@echo "make demo     draw a catalogue, tune the bundled model on it, measure, report (about 3 minutes)"
	@echo "make abo      the same on the Amazon Berkeley Objects slice in ../shared/abo"
	@echo "make mini     train the bundled model anew from ../shared/abo (about an hour)"
	@echo "make test     the tests            make check   lint, types, the import rule and the tests"
	@echo "make install  all extras in $(VENV)     make clean   remove $(VENV), caches and runs/"

demo: $(VENV)/.models
	$(BIN)/shelfqa run recipes/demo.yaml

abo: $(VENV)/.models
	$(BIN)/shelfqa run recipes/abo-slice.yaml

# The bundled model, from photographs and published questions: the split first, then the training.
ABO ?= ../shared/abo
mini: $(VENV)/.models
	$(PIP) install -q -c constraints.txt -e '.[mini]'
	$(BIN)/shelfqa curate $(ABO) --out runs/mini/curated
	$(BIN)/shelfqa generate runs/mini/curated --provider file --out runs/mini/questions \
	  $(foreach name,three_per_image five_per_image with_difficulty used_metadata,--files $(ABO)/questions/gemini_$(name).csv)
	$(BIN)/shelfqa split runs/mini/questions --held-out-rows --out runs/mini/split
	$(BIN)/python scripts/train_mini.py --split runs/mini/split --images $(ABO)/images/small \
	  --published $(ABO)/questions/gemini_three_per_image.csv --out runs/mini/checkpoint

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2

test-all: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --runslow

check: lint types test

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

install: $(VENV)/.dev

# torch is installed first and by its pinned version: a range would take a build with gigabytes of CUDA.
$(VENV)/.models: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "shelfqa needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' || { echo "Python's venv is missing: apt-get install python3-venv"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt torch==2.13.0
	$(PIP) install -q -c constraints.txt -e '.[models]'
	@touch $@

$(VENV)/.dev: $(VENV)/.models
	$(PIP) install -q -c constraints.txt -e '.[models,dev]'
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis runs
