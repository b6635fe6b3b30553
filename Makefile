# Targets explain themselves: `make help`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# The variables of `make run`, handed on to the program.
export STATE_DIR PORT UNTIL_CAUGHT_UP LOGIN CONFIRM SANDBOX_OPTIONS

.DEFAULT_GOAL := help
.PHONY: help run test e2e e2e-celery chaos lint audit bench constraints clean

help: ## Show the targets and the variables of `make run`
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1\t/' | expand -t 20
	@echo
	@echo "  Variables of make run:"
	@echo "    PORT=8080            where Airflow's UI listens, on this machine only"
	@echo "    STATE_DIR=.local     the folder for all data; each stack needs its own"
	@echo "    UNTIL_CAUGHT_UP=1    end with status 0 once every channel is caught up"
	@echo "    LOGIN=1              ask for a login; the password is printed"
	@echo "    CONFIRM=1            against a real account: confirm, that is, consume the change sets"
	@echo "    ASSET_CHANGES_...=   any setting, for this start: ASSET_CHANGES_PURGE=on deletes files"
	@echo "    SANDBOX_OPTIONS=...  flags for the sandbox, see: $(BIN)/python -m getty_sandbox --help"

run: $(VENV)/installed ## Set everything up, start it, and keep the warehouse in step until Ctrl-C
	@exec $(BIN)/python -m local_stack

test: $(VENV)/installed-dev ## Run the tests that need no running stack
	$(BIN)/python -m pytest -m "not e2e and not celery" -n 4 --dist loadfile # most of them wait for processes, not for cores

e2e: $(VENV)/installed-dev ## Run the real stack and compare the warehouse with the sandbox's truth
	$(BIN)/python -m pytest -m e2e

e2e-celery: $(VENV)/installed-dev ## Run docker-compose.yaml without Docker, lose a worker, compare (SEED=n, SHORT=1)
	SEED=$(SEED) SHORT=$(SHORT) $(BIN)/python -m pytest -m celery

chaos: $(VENV)/installed-dev ## Search for a history that breaks a promise, then kill (STACK_KILLS=8, KILLS=212, SEED=n, MINUTES=10)
	export EXAMPLES=200 UNTIL=$$(($$(date +%s) + 60 * $(or $(MINUTES),10))); \
	$(BIN)/python -m pytest tests/model $(if $(SEED),--hypothesis-seed=$(SEED)) && \
	$(BIN)/python -m tests.chaos.stack --kills $(or $(STACK_KILLS),8) $(if $(SEED),--seed $(SEED)) && \
	$(BIN)/python -m tests.chaos --kills $(or $(KILLS),212) $(if $(SEED),--seed $(SEED))

lint: $(VENV)/installed-dev ## Check style, types, spelling and the CI workflow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yaml

audit: ## Look the pinned packages up among known vulnerabilities (needs the advisory database)
	@test -x .local/audit/bin/pip-audit || { $(PYTHON) -m venv .local/audit && .local/audit/bin/pip install --quiet pip-audit; }
	.local/audit/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

bench: $(VENV)/installed-dev ## Measure against the budgets
	$(BIN)/python -m benchmarks

constraints: $(VENV)/installed-dev ## Pin everything below the requirements anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links requirements-dev.txt --output-file constraints.txt

clean: ## Delete the environment, the caches and the demo's data (.local)
	@if [ -f .local/postgres/MOVED_TO ]; then rm -rf "$$(cat .local/postgres/MOVED_TO)"; fi
	rm -rf $(VENV) .local .pytest_cache .mypy_cache .ruff_cache .hypothesis dist

# A stamp is written last: an install that was cut off is done again. What `make run` will refuse, it refuses before.
$(VENV)/installed: requirements.txt requirements-local.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(if $(filter run,$(MAKECMDGOALS)),PYTHONPATH=include $(PYTHON) -m local_stack.options)
	@echo "Installing into $(VENV), once (about a minute) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-r requirements-local.txt -c constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-r requirements-dev.txt -c constraints.txt
	@touch $@
