# make quickstart   sets up .venv and runs the whole pipeline: simulator -> episodes -> slots -> C-JEPA -> plans -> report
# make test         sets up .venv with the test extras and runs every test
PYTHON ?= python3
STUDY ?= experiments/studies/quickstart.yaml
BIN := .venv/bin

.PHONY: quickstart test lint clean

quickstart: .venv/.installed
	$(BIN)/cjepa study $(STUDY)

test: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest

lint: .venv/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/.installed-test: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

clean:
	rm -rf .venv runs
