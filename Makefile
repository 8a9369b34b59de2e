# make demo: the whole pipeline on the built-in scene.  make test: environment with the test tools, checks, tests.
# Needs Python 3.11 or newer, make, and a package index. Nothing is installed outside .venv/.
PYTHON ?= python3
BIN := .venv/bin
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt

# Two workers on two cores; worksteal runs each file's tests in one worker, so that its fixtures are made once. Many
# tests start programs: these read the bytecode that the workers write.
ONE_CORE = OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=

.PHONY: demo test lint bench nerfstudio system clean
.DELETE_ON_ERROR:

demo: .venv/demo-ready
	$(BIN)/trajkit demo --out demo

test: .venv/test-ready lint
	$(ONE_CORE) $(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

lint: .venv/test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Benchmarks print; docs/benchmarks.md keeps what they printed.
bench: .venv/test-ready
	for script in tests/bench/bench_*.py; do $(BIN)/python $$script || exit 1; done

# The programs ns-train and ns-export for `trajkit reconstruct --engine nerfstudio:programs=.nerfstudio/bin`, in an
# environment of their own (7 GB): nerfstudio pins old versions of what trajkit needs. Compiles CUDA code at first use.
nerfstudio: .nerfstudio/ready

# Optional system packages, for tests that are skipped without them: FFmpeg's libraries (torchcodec), Chromium (pages).
system:
	apt-get update -qq
	apt-get install -y -qq ffmpeg chromium chromium-driver

.venv/uv-ready:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "trajkit needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	touch $@

.nerfstudio/ready: .venv/uv-ready
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .nerfstudio
	$(BIN)/uv pip install --quiet --python .nerfstudio/bin/python nerfstudio==1.1.5 torch==2.13.0 ninja 'setuptools<81'
	touch $@

.venv/demo-ready: .venv/uv-ready pyproject.toml constraints.txt
	$(INSTALL) --editable '.[capture,quality,train]'
	touch $@

.venv/test-ready: .venv/uv-ready pyproject.toml constraints.txt
	$(INSTALL) --editable '.[test]'
	touch $@ .venv/demo-ready

clean:
	rm -rf .venv .nerfstudio demo
