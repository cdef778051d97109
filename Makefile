# Two commands: `make demo` and `make test`. Each creates .venv and installs what it needs when that is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := sb3_grpo hospital_gym callbacks zoo_configs
SOURCES := $(PACKAGES) tests docs/conf.py
PIN := setup.cfg constraints.txt sb3_grpo/version.txt

# Options for the commands: make demo ARGS="--scenario Rural", make test ARGS="-k scenarios"
ARGS ?=
# Test processes side by side; 0 runs them in one.
JOBS ?= 2

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo study study-sensitivity study-quick study-diagnosis study-sepsis report test lint format docs clean
.DEFAULT_GOAL := help

help:  ## Say what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | awk -F '\t' '{printf "make %-18s %s\n", $$1, $$2}'

demo: $(VENV)/.installed  ## Train two policies, compare them with the rules in use today (ARGS="--scenario Rural")
	$(BIN)/sb3-grpo demo $(ARGS)

study: $(VENV)/.installed  ## Do the core study, about 90 minutes on two cores; go on where it was interrupted (ARGS="--dry-run")
	$(BIN)/sb3-grpo study core $(ARGS)

study-sensitivity: $(VENV)/.installed  ## Do the study of learning rate, batch size and depth
	$(BIN)/sb3-grpo study sensitivity $(ARGS)

study-quick: $(VENV)/.installed  ## Do a small study and report it, which takes minutes
	$(BIN)/sb3-grpo study quick $(ARGS)
	$(BIN)/sb3-grpo report runs/study/quick

study-diagnosis: $(VENV)/.installed  ## Do the comparison of methods that diagnose, and report it (HOSPITAL_GYM_DATA says where the tables lie)
	$(BIN)/sb3-grpo study diagnosis $(ARGS)
	$(BIN)/sb3-grpo report runs/study/diagnosis

study-sepsis: $(VENV)/.installed  ## Train GroupRelativePPO on the treatment of sepsis, and report exact values (pip install --no-deps icu-sepsis)
	$(BIN)/sb3-grpo study sepsis $(ARGS)
	$(BIN)/sb3-grpo report runs/study/sepsis

report: $(VENV)/.installed  ## Write docs/results.md and its figures from the core study and that of sensitivity
	$(BIN)/sb3-grpo report $(wildcard runs/study/core runs/study/sensitivity) --markdown docs/results.md --figures docs/images/study $(ARGS)

test: $(VENV)/.installed-dev  ## Run the tests (ARGS="-k scenarios")
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile $(ARGS)

lint: $(VENV)/.installed-dev  ## Check style, formatting and types; any finding fails
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev  ## Format the code and mend what can be mended by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-dev  ## Build the documentation into docs/_build/html; any warning fails
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -q -W --keep-going -E -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

clean:  ## Delete what the tools wrote; keep .venv and runs
	rm -rf docs/_build build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(PACKAGES) tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or newer is needed, and $(PYTHON) is older: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@echo "Creating $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

# The stamps are remade when the requirements or the version change.
$(VENV)/.installed: $(PIN) | $(BIN)/python
	@echo "Installing sb3-grpo and what it needs into $(VENV) (the first time takes minutes: PyTorch is large) ..."
	@$(BIN)/python -m pip install -qq -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(PIN) | $(BIN)/python
	@echo "Installing sb3-grpo and its test tools into $(VENV) (the first time takes minutes: PyTorch is large) ..."
	@$(BIN)/python -m pip install -qq -c constraints.txt -e ".[dev]"
# Only its data files are used: its dependency gym would print a notice whenever Stable-Baselines3 is imported.
	@$(BIN)/python -m pip install -qq -c constraints.txt --no-deps icu-sepsis
	@touch $@ $(VENV)/.installed
