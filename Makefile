# make demo: the main job on text that every Python carries.   make test: all tests.   Both set themselves up.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test check format quality docs bench clean

demo: .venv/.demo
	$(BIN)/ostinato demo

test: .venv/.test
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal

check: .venv/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

format: .venv/.test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

quality: .venv/.test
	@test -n "$(DATA)" || { echo 'make quality needs the folder that holds ptb/, tinyshakespeare/, imdb/ and so on: make quality DATA=FOLDER' >&2; exit 2; }
	$(BIN)/python -m benchmarks.quality --data "$(DATA)"

bench: .venv/.test
	$(BIN)/python -m benchmarks

docs: .venv/.docs
	$(BIN)/sphinx-build -W -b html docs docs/_build/html

.venv/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Ostinato needs Python 3.11 or newer, this is {v[0]}.{v[1]}; try: make PYTHON=python3.12 demo")'
	$(PYTHON) -m venv .venv

.venv/.demo: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install -q -c constraints.txt -e .
	@touch $@

.venv/.test: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install -q -c constraints.txt -e '.[test]'
	@touch .venv/.demo $@

.venv/.docs: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install -q -c constraints.txt -e '.[docs]'
	@touch $@

clean:
	rm -rf .venv runs docs/_build build dist
