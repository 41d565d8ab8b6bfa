# Two commands do everything: `make quickstart` and `make test`. Both set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# how many of the faults of tests/faults are tried: sample or all
FAULTS ?= sample
# the folder of images and weights of `make reproduce`
DATA ?= ../shared/data
OUTCOMES := $(VENV)/.outcomes.jsonl

.PHONY: quickstart test faults lint docs reproduce clean

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "transferkit needs Python >= 3.11; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Downloading transferkit's libraries into $(VENV): on Linux 3.4 GB, 7.1 GB on the disk, 3 GB of it torch for NVIDIA"
	@echo "cards. Without one, torch's CPU build and 430 MB beside it are enough: stop this, then"
	@echo "  make quickstart PIP='--extra-index-url https://download.pytorch.org/whl/cpu'"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --progress-bar on --disable-pip-version-check $(PIP) -c constraints.txt -e '.[dev,docs,hf]'
	@touch $@

quickstart: $(READY)
	$(BIN)/transferkit quickstart

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore=tests/faults

# Kills, full disks, damage, made-up input: what comes of it is the table of docs/reliability.md, written in any case.
faults: $(READY)
	rm -f $(OUTCOMES)
	$(BIN)/python -m pytest tests/faults -n 2 --faults $(FAULTS) --outcomes $(OUTCOMES); tests=$$?; \
	  if [ $(FAULTS) = all ]; then $(BIN)/python -m tests.faults.atheris_intake --outcomes $(OUTCOMES) || tests=1; fi; \
	  $(BIN)/python -m tests.faults.table $(OUTCOMES) docs/reliability.md && exit $$tests

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/sphinx-build -W -b html docs docs/_build

# Rows of docs/reproduction.md: ROW=000-F3a for one, all that fit two cores without it; DATA is where images and weights lie.
reproduce: $(READY)
	$(BIN)/python -m evidence run $(ROW) --data $(DATA)

clean:
	rm -rf $(VENV) build dist docs/_build
