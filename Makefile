# The two commands of the README are `make hello` and `make test`; each makes what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
APT := $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get
JOBS ?= 2

.PHONY: hello test lint types docs bench guests test-kvm-intel test-kvm-amd system clean

$(BIN)/python:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { $(APT) update && $(APT) install -y python3-venv; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/dev.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/run.stamp

hello: $(VENV)/run.stamp
	$(BIN)/kvmdbg --batch --run --load 0x1000 --reg rax=2 --reg rbx=2 guests/hello16.bin

# What the tests need beside Python: assembler and compiler for the guests, the kernel's headers, gdb, tmux.
TOOLS := nasm gcc as ld gdb
PACKAGES := nasm gcc binutils libc6-dev linux-libc-dev gdb
system:
	@missing=; for t in $(TOOLS); do command -v $$t >/dev/null || missing="$$missing $$t"; done; \
	if [ -n "$$missing" ]; then echo "installing what is missing:$$missing"; $(APT) update && $(APT) install -y --no-install-recommends $(PACKAGES); fi

# On a machine without /dev/kvm the kvm tests go to the kvm_amd machine instead of being skipped.
test: $(VENV)/dev.stamp system
	@if [ -r /dev/kvm ] && [ -w /dev/kvm ]; then \
	  $(BIN)/python -m pytest -n $(JOBS) $(PYTEST_ARGS); \
	else \
	  $(BIN)/python -m pytest -n $(JOBS) -m 'not kvm' $(PYTEST_ARGS) && $(MAKE) test-kvm-amd; \
	fi

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.stamp
	$(BIN)/mypy

docs: $(VENV)/dev.stamp
	$(BIN)/python -m kvmdbg.commands.reference

bench: $(VENV)/dev.stamp
	$(BIN)/python -m tests.bench

guests:
	$(MAKE) -C guests

test-kvm-amd: $(VENV)/dev.stamp
	$(BIN)/python -m tests.machines.kvm_amd

test-kvm-intel: $(VENV)/dev.stamp
	$(BIN)/python -m tests.machines.kvm_intel

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
