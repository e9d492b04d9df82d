# Commands for a fresh machine: `make demo`, `make test`, `make bench`. Each sets up what it needs in
# .venv, ROS 2 included; nothing outside this folder is changed. `make demo VIEW=1` shows the demo on a
# web page until Ctrl-C.

PYTHON ?= python3
SOURCE ?= street
DEMO_ARGS ?=
VIEW ?=
BENCH_ARGS ?=
SCALE ?= 1
CORES := $(shell getconf _NPROCESSORS_ONLN)
# In the order of test/conftest.py: slow files first. xdist's own begins with those of most tests.
# A worker that crashes ends the run: with another in its place, xdist waits for ever.
BY_FILE := --dist loadfile --no-loadscope-reorder --max-worker-restart 0
ROBOT_TESTS ?= $(BY_FILE) -n $(shell expr 2 '*' $(CORES))
TRAINING_TESTS ?= $(BY_FILE) -n $(CORES)
BIN := .venv/bin
# Hundreds of processes of the tests import the same modules: compile each once.
unexport PYTHONDONTWRITEBYTECODE
# Threads that wait for each other spin, and more tests than cores run at a time.
test check robot-tests training-tests: export OMP_NUM_THREADS = 1
test check robot-tests training-tests: export OPENBLAS_NUM_THREADS = 1

.PHONY: demo adapt-demo test robot-tests training-tests check bench soak lint audit format clean

demo: .venv/.demo
	$(BIN)/python -m linknet_ros demo --source '$(SOURCE)' $(if $(VIEW),--view) $(DEMO_ARGS)

# The whole road from a recording of another place to a model that knows it; nothing is downloaded.
adapt-demo: .venv/.test
	rm -rf out/adapt_demo
	$(BIN)/python -m training.adapt_demo --out out/adapt_demo $(DEMO_ARGS)

# Two runs, as in use: what runs on the robot (ROS, OpenVINO) never shares a process with PyTorch. Side by
# side, since tests over DDS mostly wait (so there are more workers than cores) and those of training
# compute; what training's say is shown when they are done. Both run, whatever the other says.
test: .venv/.test
	@$(MAKE) --no-print-directory --keep-going --jobs 2 robot-tests training-tests

robot-tests: .venv/.test
	@$(BIN)/python -m pytest $(ROBOT_TESTS) --ignore=test/training

training-tests: .venv/.test
	@mkdir -p out; $(BIN)/python -m pytest $(TRAINING_TESTS) test/training > out/training_tests.log 2>&1; \
	code=$$?; cat out/training_tests.log; exit $$code

# The node against the back end alone and against a node written the usual way.
bench: .venv/.test
	$(BIN)/python -m linknet_ros node_benchmark --against training.usual_node $(BENCH_ARGS)

# Endurance and faults, figures in out/soak/report.json; SCALE=0.1 is shorter.
soak: .venv/.test
	PYTHONPATH=test:$$PYTHONPATH $(BIN)/python -m soak --scale $(SCALE)

# What is fast enough to run while working: everything but what needs ROS, processes or minutes.
UNIT := not ros and not process and not contract and not slow

check: .venv/.test
	$(CHECKS)
	$(BIN)/python -m pytest -q $(BY_FILE) -n $(CORES) --ignore=test/training -m '$(UNIT)'
	$(BIN)/python -m pytest -q $(BY_FILE) -n $(CORES) test/training -m '$(UNIT)'

lint: .venv/.test
	$(CHECKS)
	$(BIN)/python -m pytest -q test/package/test_security.py test/package/test_dependencies.py
	$(BIN)/python -m pip --disable-pip-version-check check

define CHECKS
$(BIN)/ruff check .
$(BIN)/ruff format --check .
$(BIN)/mypy
PYTHONPATH=. $(BIN)/lint-imports
endef

# Known vulnerabilities of what is installed; asks an index, so it is no part of lint.
audit: .venv/.test
	@$(BIN)/python -m pip_audit --version >/dev/null 2>&1 || \
		{ echo 'make audit needs a network and pip-audit: $(BIN)/pip install pip-audit'; exit 1; }
	$(BIN)/python -m pip_audit --local --skip-editable

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
