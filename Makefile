# Two commands set everything up on a fresh machine: `make demo` and `make test`. `make lab` opens the notebooks.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install -c constraints.txt
MODEL ?= sample_models/mobilenetv2_clutter.onnx
OUT ?= out
NAME := $(basename $(notdir $(MODEL)))

.PHONY: demo lab test lint bench chromium sshd clean

demo: $(VENV)/.core  ## profile a sample model here, print its layers, write the HTML report
	@mkdir -p $(OUT)
	$(BIN)/edgeprof profile $(MODEL) --runs 200 -o $(OUT)/$(NAME).edgeprof
	$(BIN)/edgeprof report $(OUT)/$(NAME).edgeprof -o $(OUT)/$(NAME).html
	@echo "Open $(OUT)/$(NAME).html in a browser. Next: make lab"

lab: $(VENV)/.notebook  ## JupyterLab on the notebooks
	$(BIN)/edgeprof lab notebooks

test: $(VENV)/.test chromium sshd  ## all tests, the browser's included, in two processes: more would disturb those that measure
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/.lint  ## style, types, who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.test chromium  ## the figures of the README, on a quiet machine
	for script in benchmarks/bench_*.py benchmarks/views.py; do $(BIN)/python $$script || exit 1; done

chromium:  ## the browser that the tests click in; installed with the system's package manager when there is none
	@./tests/ui/ensure_chromium.sh

sshd:  ## the SSH server that the tests connect to; installed likewise
	@./tests/boards/ensure_sshd.sh

clean:
	rm -rf $(VENV) $(OUT) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found on the PATH. Install it, or name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "The virtual environment could not be made. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.core: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing edgeprof into $(VENV) ..."
	@$(PIP) -e .
	@touch $@

$(VENV)/.notebook: $(VENV)/.core
	@echo "Installing JupyterLab and the widgets ..."
	@$(PIP) -e ".[notebook]"
	@touch $@

$(VENV)/.test: $(VENV)/.core
	@echo "Installing what the tests need ..."
	@$(PIP) -e ".[notebook,xlsx,test]"
	@touch $@ $(VENV)/.notebook

$(VENV)/.lint: $(VENV)/.test
	@$(PIP) -e ".[notebook,xlsx,test,lint]"
	@touch $@
