# make repro                   set up and run the pipeline on params.yaml
# make repro PROFILE=mldr-zh   the same with the profile mldr-zh; PROFILE="mldr-zh lora" combines two, PROFILE=--none none
# make report                  write metrics/report.html again
# make gate                    fail where the last run does not meet the rules of params.yaml's section gate
# make test, lint, bench       tests, linters, benchmarks

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
HARDWARE := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup repro profile report gate test lint format bench clean

setup: $(VENV)/.installed-$(HARDWARE)

$(VENV)/.installed-$(HARDWARE): $(wildcard requirements/*.txt) pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"error: Python 3.11 or newer is needed, $(PYTHON) is {v[0]}.{v[1]}; write make PYTHON=/path/to/python3.11")'
	@if ls $(VENV)/.installed-* 2>/dev/null | grep -qv -- '-$(HARDWARE)$$'; then rm -rf $(VENV); fi  # made for other hardware
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -r requirements/$(HARDWARE).txt -r requirements/dev.txt
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@

repro: setup profile
	@embedtune check
	@rm -f metrics/report.html
	dvc repro
	@test -f metrics/report.html || python -m stages.report
	@printf '%s\n' '' 'the report:  metrics/report.html' \
		'the model:   models/release (README.md there is its card)' 'the metrics: metrics/summary.json, and the others of metrics/'

profile: setup
ifdef PROFILE
	@embedtune profile $(PROFILE)
endif

report: setup
	@embedtune check --results-of report
	@python -m stages.report

gate: setup
	@embedtune gate

test: setup
	python -m pytest -n logical --maxprocesses 4 --dist loadscope

lint: setup
	ruff format --check .
	ruff check .
	mypy embedtune stages
	lint-imports --no-logo

format: setup
	ruff format .
	ruff check --fix .

bench: setup
	python -m benchmarks.segmenting
	python -m benchmarks.encoding
	python -m benchmarks.training
	python -m benchmarks.real_model
	python -m benchmarks.methods
	python -m benchmarks.retrieval
	python -m benchmarks.mining
	python -m benchmarks.indexes
	python -m benchmarks.lexical
	python -m benchmarks.scale
	python -m benchmarks.comparing
	python -m benchmarks.pipeline

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
