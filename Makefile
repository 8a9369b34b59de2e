# make demo: the whole pipeline on the built-in scene.  make test: environment with the test tools, checks, tests.
# Needs Python 3.11 or newer, make, and a package index. Nothing is installed outside .venv/.
PYTHON ?= python3
BIN := .venv/bin
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt

.PHONY: demo test lint bench system clean
.DELETE_ON_ERROR:

demo: .venv/demo-ready
	$(BIN)/trajkit demo --out demo

test: .venv/test-ready lint
	$(BIN)/python -m pytest -n 2 $(ARGS)

lint: .venv/test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Benchmarks print; docs/benchmarks.md keeps what they printed.
bench: .venv/test-ready
	for script in tests/bench/bench_*.py; do $(BIN)/python $$script || exit 1; done

# Optional system packages, for tests that are skipped without them: FFmpeg's libraries (torchcodec), Chromium (pages).
system:
	apt-get update -qq
	apt-get install -y -qq ffmpeg chromium chromium-driver

.venv/uv-ready:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "trajkit needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	touch $@

.venv/demo-ready: .venv/uv-ready pyproject.toml constraints.txt
	$(INSTALL) --editable '.[capture]'
	touch $@

.venv/test-ready: .venv/uv-ready pyproject.toml constraints.txt
	$(INSTALL) --editable '.[test]'
	touch $@ .venv/demo-ready

clean:
	rm -rf .venv demo
