# make run    a server with sample mail under ./run, to try things out
# make test   everything that has to hold before a change goes in
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
SOURCES := $(shell find stalwart twisted -type f -not -name '*.pyc' -not -name dropin.cache)
# Warnings are errors; the exceptions are other people's code, named one by one: Twisted's plugins look at all of conch,
# which imports spwd where Python has it.
WARNINGS := error,ignore:'spwd' is deprecated:DeprecationWarning
TRIAL := PYTHONPATH=$(CURDIR) PYTHONWARNINGS="$(WARNINGS)" $(BIN)/python -m twisted.trial
# Tests run in so many processes: one more than there are cores, since those with a daemon wait a lot.
JOBS := $(shell expr $$(nproc) + 1)

.PHONY: run test fuzz trial types lint layers standards torture bench bench-jmap bench-tls testssl screenshots programs clean

run: $(VENV)/installed
	@$(BIN)/python etc/demo/run.py

test: lint layers types trial

trial: $(VENV)/installed-test programs tests/live/clients/node_modules
	HYPOTHESIS_STORAGE_DIRECTORY=$(CURDIR)/.hypothesis $(TRIAL) -j$(JOBS) --temp-directory=_trial_temp tests

# With inputs that no run has seen yet; `make test` gives hypothesis the same ones each time. What fails is kept in .hypothesis.
fuzz: export STALWART_FUZZ = 1
fuzz: trial

types: $(VENV)/installed-test
	$(BIN)/mypy

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python docs/standards.py --check

# Which section of the JMAP standards is implemented where, and held by which test.
standards: $(VENV)/installed-test
	$(BIN)/python docs/standards.py

layers: $(VENV)/installed-test
	PYTHONPATH=$(CURDIR) $(BIN)/lint-imports

# kill -9 during deliveries and while the queue is worked off, twenty times: what was answered with 250 is there once and
# whole, and all that was queued arrives.
torture: $(VENV)/installed-test
	STALWART_TORTURE_KILLS=20 STALWART_TORTURE_DELIVERIES=500 STALWART_TORTURE_QUEUED=200 \
	  $(TRIAL) --temp-directory=_trial_temp_torture tests.live.test_kill tests.live.test_queue

bench: $(VENV)/installed-test
	$(BIN)/python bench/run.py

# JMAP in one process at 1,000, 20,000 and 1,000,000 messages: ten minutes, 7 GB below $TMPDIR.
bench-jmap: $(VENV)/installed-test
	$(BIN)/python bench/jmap.py

# TLS handshakes, full and resumed: two minutes.
bench-tls: $(VENV)/installed-test
	$(BIN)/python bench/tls.py

# All that testssl.sh can find out about the daemon, in three minutes; the tests do the part that takes 20 seconds.
testssl: $(VENV)/installed-test programs
	$(BIN)/python -m tests.live.testssl

# What the tests run beside the daemon, as Debian package and program; only the programs are needed, no running service.
PROGRAMS := postfix:/usr/sbin/postfix haproxy:/usr/sbin/haproxy nsd:/usr/sbin/nsd testssl.sh:/usr/bin/testssl \
  pebble:/usr/bin/pebble-challtestsrv chromium:/usr/bin/chromium chromium-driver:/usr/bin/chromedriver
programs:
	@missing=; for each in $(PROGRAMS); do test -x "$${each#*:}" || missing="$$missing $${each%%:*}"; done; \
	  [ -z "$$missing" ] || { \
	  as=; [ "$$(id -u)" = 0 ] || as=sudo; \
	  $$as apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive $$as apt-get install -y -qq --no-install-recommends $$missing; }

# The pictures of the pages in docs/images, made anew.
screenshots: $(VENV)/installed-test programs tests/live/clients/node_modules
	STALWART_SCREENSHOTS=$(CURDIR)/docs/images \
	  $(TRIAL) --temp-directory=_trial_temp_screenshots tests.live.test_pages.PagesTests.test_accessible

# The tests have JMAP clients in JavaScript walk through the daemon.
tests/live/clients/node_modules: tests/live/clients/package.json tests/live/clients/package-lock.json
	@command -v npm >/dev/null || { \
	  as=; [ "$$(id -u)" = 0 ] || as=sudo; \
	  $$as apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive $$as apt-get install -y -qq --no-install-recommends nodejs npm; }
	cd tests/live/clients && npm ci --silent
	@touch $@

$(VENV)/python:
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "make: $(PYTHON) can't make virtual environments; on Debian: apt install python3-venv" >&2; \
	  rm -rf $(VENV); exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip
	@touch $@

# What is installed is a copy, renewed when a source changes; `build` would keep modules that are gone.
$(VENV)/installed: $(VENV)/python setup.cfg pyproject.toml $(SOURCES)
	@rm -rf build
	$(BIN)/python -m pip install --quiet .
	@rm -rf build *.egg-info
	@touch $@

# Installs the server, too: one build instead of two.
$(VENV)/installed-test: $(VENV)/python setup.cfg pyproject.toml $(SOURCES)
	@rm -rf build
	$(BIN)/python -m pip install --quiet '.[test,check]'
	@rm -rf build *.egg-info
	@touch $(VENV)/installed $@

clean:
	rm -rf $(VENV) tests/live/clients/node_modules build dist *.egg-info _trial_temp* .mypy_cache .ruff_cache .hypothesis
