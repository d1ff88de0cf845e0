# make run, make test: each sets up what it needs in .venv, from Python and make alone.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup run test-fast test test-cluster notebooks pictures check fuzz bench bench-scale bench-search gpu format clean

setup: .venv/ready

# uv links packages from its cache, so a second checkout is set up in seconds.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --constraint constraints.txt --editable '.[dev]'
	touch .venv/ready

run: setup
	$(BIN)/python -m tuner run search_spaces/digits.yaml

# One process more than two cores, because tests with Ray wait for its processes. Each runs whole files.
PYTEST := $(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

test-fast: setup
	@echo "Runs the tests that are quick and need neither Ray nor an object store: about a minute on two cores."
	$(PYTEST) --numprocesses 2 -m 'not ray and not slow'

test: setup
	@echo "Runs all tests but those of clusters and of what fails or is interrupted: about five minutes on two cores."
	$(PYTEST) -m 'not cluster'

test-cluster: setup
	@echo "Runs the tests of clusters, and of what fails or is interrupted: about ten minutes on two cores."
	$(PYTEST) -m cluster

notebooks: setup
	$(BIN)/python notebooks/execute.py

pictures: setup
	$(BIN)/python docs/make_pictures.py

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fuzz: setup
	@echo "Reads 10,000 random study files, tries the rungs on as many streams, builds all networks, flips more bits: five minutes on one core."
	$(BIN)/python -m tests.config.fuzz 10000
	TUNER_STREAMS=10000 $(BIN)/python -m pytest tests/search/test_asha.py tests/search/test_waiting.py
	TUNER_NETWORKS=all $(BIN)/python -m pytest tests/models/test_external.py
	TUNER_DAMAGES=all $(BIN)/python -m pytest tests/results/test_damaged_folders.py

bench: setup
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/augmentation.py

bench-scale: setup
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/rungs.py
	$(BIN)/python benchmarks/resume.py

bench-search: setup
	@echo "Reads recorded learning curves from the folder TUNER_RECORDINGS: about an hour on one core."
	$(BIN)/python benchmarks/search_quality.py

gpu: setup
	$(BIN)/python benchmarks/gpu.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache
