# Two commands on a fresh machine: `make demo` and `make test`. Each sets up what it needs in
# .venv, ROS 2 included; nothing outside this folder is changed.

PYTHON ?= python3
SOURCE ?= street
DEMO_ARGS ?=
SCALE ?= 1
BIN := .venv/bin

.PHONY: demo test soak lint format clean

demo: .venv/.demo
	$(BIN)/python -m linknet_ros.demo --source '$(SOURCE)' $(DEMO_ARGS)

# Two processes, as in use: what runs on the robot (ROS, OpenVINO) never shares one with PyTorch.
test: .venv/.test
	$(BIN)/python -m pytest --ignore-glob='*/test_training_*'
	$(BIN)/python -m pytest test/test_training_*.py

# Endurance and faults, figures in out/soak/report.json; SCALE=0.1 takes a tenth of the time.
soak: .venv/.test
	PYTHONPATH=test:$$PYTHONPATH $(BIN)/python -m soak --scale $(SCALE)

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q test/test_house.py

format: .venv/.test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv out build install log

.venv/bin/pip:
	$(PYTHON) -m venv .venv

# What the robot needs; no torch.
.venv/.demo: setup.py | .venv/bin/pip
	@echo 'Setting up .venv: ROS 2 and the inference runtimes (a minute, once)'
	$(BIN)/pip install -q --disable-pip-version-check -e '.[ros,cpu,demo]'
	@touch $@

# Training, tests and checks as well; torch is 5 GB.
.venv/.test: setup.py | .venv/bin/pip
	@echo 'Setting up .venv: everything, with PyTorch (some minutes, once)'
	$(BIN)/pip install -q --disable-pip-version-check -e '.[ros,cpu,demo,train,test,dev]'
	@touch $@
