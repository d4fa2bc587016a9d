# `make run` and `make test` need Python 3.11 or later and make, nothing else.
# Another Python: `make test PYTHON=python3.12`; it gets a virtual environment of its own.

new_enough := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c '$(new_enough)' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv$(if $(filter-out file,$(origin PYTHON)),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
# Types are checked with Django's settings loaded, and these want a key.
CHECKED := SECRET_KEY=only-for-the-type-checker

# Where an image forbids it, each of the many processes that tests start compiles all of us anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test lint types arch check again setup lock help chaos autobahn bench bench-stream bench-events equality rehearsal matrix generated clients page bench-page screenshots
help:  ## what there is (this list)
	@sed -n 's/^\([a-z-]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | expand -t 16

run: $(VENV)/run.stamp  ## start everything on PORT (8000); Ctrl-C stops it
	@$(BIN)/python manage.py up

test: check  ## lint, types, import contracts and the whole test suite

setup: $(VENV)/dev.stamp  ## the virtual environment with everything for development

lint: $(VENV)/dev.stamp  ## ruff: faults and form
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.stamp  ## mypy, strict
	$(CHECKED) $(BIN)/mypy lokifi prices streaming tests bench clients/python/src manage.py

arch: $(VENV)/dev.stamp  ## which package may import which
	$(BIN)/lint-imports

# Three on two processors: much of what they do is waiting.
check: lint types arch
	$(BIN)/python -m pytest -n 3 --dist loadgroup || $(MAKE) --no-print-directory again

# Real processes on a machine that others use too are late at times. A fault fails here as well;
# more than five of them are no such moment.
again: $(VENV)/dev.stamp  ## what failed in the last test run, once more and alone
	@echo "Some tests failed (named above). They run once more, alone; what fails again is a fault."
	$(BIN)/python -m pytest -n 1 --dist load --maxfail 5 --last-failed --last-failed-no-failures none

chaos: $(VENV)/dev.stamp  ## faults under real processes; ONLY=T2 SERVER=uvicorn CHAOS_SCALE=full
	$(BIN)/python -m tests.chaos --only "$(ONLY)" --server "$(SERVER)" --scale "$(CHAOS_SCALE)"

autobahn: $(VENV)/dev.stamp  ## Autobahn's fuzzing client against both servers; SERVER=daphne
	$(BIN)/python -m tests.chaos.autobahn --server "$(SERVER)"

generated: $(VENV)/dev.stamp  ## 2,000 made-up requests held against the OpenAPI document; CASES=2000 SEED=6
	$(BIN)/python -m tests.generated --cases "$(or $(CASES),2000)" --seed "$(or $(SEED),6)"

page: $(VENV)/dev.stamp  ## the page in a browser, its server killed for 20 s
	PAGE_DOWN_S=20 $(BIN)/python -m pytest -n 0 tests/lokifi/test_page.py

bench-page: $(VENV)/dev.stamp  ## bytes, requests, first paint and contrast of each view; writes docs/performance-page.md
	$(BIN)/python -m bench.dashboard figures --rounds "$(or $(ROUNDS),5)"

screenshots: $(VENV)/dev.stamp  ## docs/screenshots/ anew, from a product of its own
	$(BIN)/python -m bench.dashboard screenshots

bench: $(VENV)/dev.stamp  ## REST figures beside peers; needs wrk; ROWS=known,gzip ROUNDS=3 NO_PAGE=1
	$(BIN)/python -m bench.http --rows "$(ROWS)" --rounds "$(ROUNDS)" $(if $(NO_PAGE),--no-page)

equality: $(VENV)/dev.stamp  ## what leaves ahead of Django against Django's own answers; QUESTIONS=5000 SEED=1
	QUESTIONS="$${QUESTIONS:-5000}" $(BIN)/python -m pytest -n 0 --timeout 900 tests/lokifi -k every_answer_is_the_one

rehearsal: $(VENV)/dev.stamp  ## what clients see while sources fail, in a quarter of an hour; writes docs/rehearsal.md
	$(BIN)/python -m bench.rehearsal --seconds 30 --write docs/rehearsal.md

matrix: $(VENV)/dev.stamp  ## every period by every resolution of three coins without a key, five minutes; COINS=BTC
	$(BIN)/python -m bench.matrix $(if $(COINS),--coins "$(COINS)")

bench-stream: $(VENV)/dev.stamp  ## the stream's figures beside peers; ROWS=crowd ROUNDS=3 PART=0.1
	$(BIN)/python -m bench --rows "$(ROWS)" --rounds "$(ROUNDS)" --part "$(PART)"

bench-events: $(VENV)/dev.stamp  ## CPU of a follower of server-sent events beside a WebSocket's; CLIENTS=1000 ROUNDS=3
	$(BIN)/python -m bench.events --clients "$(or $(CLIENTS),1000)" --rounds "$(or $(ROUNDS),3)"

clients:  ## compile the TypeScript client anew and compare (needs Node 20 and npm)
	cd clients/typescript && npm ci --no-audit --no-fund && npm run build
	git diff --exit-code --stat clients/typescript lokifi/dashboard/static/dashboard/client

lock:  ## requirements*.txt anew from requirements*.in (needs uv)
	sh docker/lock

$(VENV)/run.stamp $(VENV)/dev.stamp: $(VENV)/%.stamp: requirements.txt requirements-dev.txt
	@[ -w . ] || { echo "This folder cannot be written to, so no virtual environment can be made in it."; exit 2; }
	@command -v "$(PYTHON)" >/dev/null || { echo "Python 3.11 or later was not found; name yours: make PYTHON=/path/to/python3.12"; exit 2; }
	@$(PYTHON) -c '$(new_enough)' 2>/dev/null || { echo "$(PYTHON) cannot be run here or is too old: Python 3.11 or later is needed."; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) has no venv module; on Debian and Ubuntu: apt install python3-venv"; exit 2; }
	@$(BIN)/python -c 'import pip' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing what is pinned into $(VENV); the first time takes a minute."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r requirements$(if $(filter dev,$*),-dev).txt
	@touch $@
