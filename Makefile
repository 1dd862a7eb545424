# make quickstart   sets up .venv and runs the whole pipeline: simulator -> episodes -> slots -> C-JEPA -> plans -> report
# make test         sets up .venv with the test extras and runs every test, on all cores (eight at most)
# make test-fast    the tests that need no trained model and no process of their own, three minutes on two cores
# make test-swm     sets up .venv-swm (8 GB: PyTorch with CUDA, stable-worldmodel), exchanges files, plans in its world, compares loaders
# make site         sets up .venv with the test extras and builds the documentation as web pages into site/
PYTHON ?= python3
STUDY ?= experiments/studies/quickstart.yaml
# stages at the same time: two where there are two cores
JOBS ?= $(shell [ "$$(getconf _NPROCESSORS_ONLN)" -ge 2 ] && echo 2 || echo 1)
BIN := .venv/bin
SWM := .venv-swm/bin
# a worker keeps the tests of a file together until others have nothing left to do; each has one thread
ON_ALL_CORES := -n auto --maxprocesses 8 --dist worksteal

.PHONY: quickstart test test-fast test-swm site lint clean

quickstart: .venv/.installed
	$(BIN)/cjepa study $(STUDY) --jobs $(JOBS)

test: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest $(ON_ALL_CORES)

test-fast: .venv/.installed-test
	$(BIN)/python -m pytest $(ON_ALL_CORES) -m "not slow"

test-swm: .venv-swm/.installed
	$(SWM)/python -m pytest tests/swm
	$(SWM)/cjepa bench loader --against stable-worldmodel

site: .venv/.installed-test
	$(BIN)/mkdocs build --strict

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

# nothing is pinned: torchvision decides which torch it goes with
.venv-swm/.installed: pyproject.toml
	test -x $(SWM)/python || $(PYTHON) -m venv .venv-swm
	$(SWM)/python -m pip install --quiet --disable-pip-version-check -e '.[test,swm]'
	touch $@

clean:
	rm -rf .venv .venv-swm runs site
