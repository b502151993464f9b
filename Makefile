# make demo | test | test-jazzy | test-gpu | lint | bench | clean. Needs Linux x86-64 and Python 3.10-3.13.
# The programs run in virtual environments inside this folder; nothing else is touched.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: help demo test test-jazzy test-gpu lint bench clean

VENV := .venv
JAZZY := .venv-jazzy
GPU := .venv-gpu
RUN := $(VENV)/bin/python
PIP_INSTALL := bin/python -m pip install --quiet --disable-pip-version-check
SOURCES := depth_ros training benchmarks test launch setup.py

# A sourced ROS 2 and the ROS 2 wheels must not be mixed in one process, and the guard variable of
# one environment's wheels keeps those of another from being found.
unexport PYTHONPATH AMENT_PREFIX_PATH COLCON_PREFIX_PATH LD_LIBRARY_PATH ROS_DISTRO
unexport ROS_VERSION ROS_PYTHON_VERSION RMW_IMPLEMENTATION _ROS_WHEELS_BOOTSTRAP_COMPLETE

help:
	@sed -n '1,2p' Makefile | sed 's/^# //'

# Each stamp holds what it was made from: a changed setup.py installs again, nothing else does.
$(VENV)/.runtime: setup.py
	tools/venv.sh $(VENV)
	$(VENV)/$(PIP_INSTALL) -e '.[wheels,openvino]'
	touch $@

$(VENV)/.lint: setup.py
	tools/venv.sh $(VENV)
	$(VENV)/$(PIP_INSTALL) -e '.[wheels,openvino,lint]'
	tools/tensorrt_stubs.sh $(RUN) $(VENV)/stubs
	touch $(VENV)/.runtime $@

$(VENV)/.test: setup.py
	tools/venv.sh $(VENV)
	$(VENV)/$(PIP_INSTALL) -e '.[wheels,openvino,tensorrt-rtx,train,test]'
	touch $(VENV)/.runtime $@

$(JAZZY)/.test: setup.py
	tools/venv.sh $(JAZZY)
	$(JAZZY)/$(PIP_INSTALL) -e '.[wheels-jazzy,test]'
	touch $@

# onnxruntime and onnxruntime-gpu are the same module: the second one in place of the first.
$(GPU)/.test: setup.py
	tools/venv.sh $(GPU)
	$(GPU)/$(PIP_INSTALL) -e '.[tensorrt-rtx,test]' cuda-python tensorrt
	$(GPU)/bin/python -m pip uninstall --quiet --yes onnxruntime
	$(GPU)/$(PIP_INSTALL) 'onnxruntime-gpu[cuda,cudnn]'
	touch $@

demo: $(VENV)/.runtime
	$(RUN) -m depth_ros.cli.demo --output out/demo

test: $(VENV)/.test
	$(RUN) -m pytest

test-jazzy: $(JAZZY)/.test
	$(JAZZY)/bin/python -m pytest test/nodes test/ros

test-gpu: $(GPU)/.test
	$(GPU)/bin/python -m pytest -m gpu

lint: $(VENV)/.lint
	$(RUN) -m ruff check $(SOURCES)
	$(RUN) -m ruff format --check $(SOURCES)
	MYPYPATH=$(VENV)/stubs $(RUN) -m mypy
	$(RUN) -m codespell_lib $$(git ls-files)
	$(VENV)/bin/ament_flake8 $(SOURCES)
	$(VENV)/bin/ament_pep257 $(SOURCES)

bench: $(VENV)/.test
	for program in benchmarks/[a-z]*.py; do $(RUN) -m benchmarks.$$(basename $$program .py); done

clean:
	rm -rf $(VENV) $(JAZZY) $(GPU) build install log out *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
