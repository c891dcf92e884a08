# `make demo` and `make test` are all a fresh machine needs: both install what they use (scripts/).
# VENV may name another place for the virtual environment.
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint soak bench lab-install lab-up lab-down real-parts clean

demo: $(STAMP)  ## install, then make a real, hung Linux kernel dump (or the simulated machine where QEMU cannot be had)
	@PATH="$(abspath $(BIN)):$$PATH" sh scripts/demo

test: lint lab-install  ## everything CI runs, lab included; under 25 minutes
	@sh scripts/packages
	@# Most tests wait, so three at a time; the lab's real kernels need the machine. Both run, whatever the first says.
	failed=0; \
	$(BIN)/python -m pytest -m "not lab" -n 3 --dist loadfile || failed=1; \
	$(BIN)/python -m pytest -m lab || failed=1; \
	exit $$failed

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

soak: lab-install  ## the same tests with their full counts (seeded; hours)
	@sh scripts/packages
	TRIGGER_SOAK=1 $(BIN)/python -m pytest -m "not lab" tests
	TRIGGER_SOAK=1 $(BIN)/python -m pytest tests/lab/test_debian.py

bench: lab-install  ## side by side with ipmitool, sushy, xargs, makedumpfile and watching by hand, as ratios
	$(BIN)/python bench/ipmi.py
	$(BIN)/python bench/redfish_driver.py
	$(BIN)/python bench/preflight.py
	$(BIN)/python bench/inspect_terabyte.py
	$(BIN)/python bench/watching.py

lab-install: $(STAMP)
	$(BIN)/python tests/lab/lab.py install

lab-up: lab-install  ## leave a lab running and print a configuration for it
	$(BIN)/python tests/lab/lab.py up

lab-down: $(STAMP)
	$(BIN)/python tests/lab/lab.py down

$(STAMP): pyproject.toml scripts/venv
	@sh scripts/venv "$(VENV)"
	@touch $@

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
