# The two commands of the README are `make hello` and `make test`; each makes what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
JOBS ?= 2
RESULTS := docs/kvm-results
# The emulators under kvm_intel and kvm_amd are too slow for terminals and debuggers.
EMULATED_TESTS := 'kvm and not e2e'

.PHONY: hello test lint types docs picture bench bench-linux bench-soft bench-gdb beside-gdb differential differential-kvm-intel mutants guests package test-kvm-intel test-kvm-amd kvm-results clean

# Where /dev/kvm cannot be used, the software engine says hello, and the tests that need KVM run on the kvm_amd machine
# (see below).
hello: $(VENV)/run.stamp
	@$(BIN)/python -m tests.machines.dev_kvm 2>/dev/null || $(PIP) --editable '.[soft]'
	@$(BIN)/kvmdbg --batch --run --load 0x1000 --reg rax=2 --reg rbx=2 guests/hello16.bin

test: $(VENV)/dev.stamp
	@tests/system-packages
	$(BIN)/python -m tests.run -n $(JOBS) $(PYTEST_ARGS)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.stamp
	$(BIN)/mypy

docs: $(VENV)/dev.stamp
	$(BIN)/python -m kvmdbg.commands.reference
	$(BIN)/python -m kvmdbg.commands.coming_from
	$(BIN)/python -m gdbstub.reference docs/gdb-packets.md
	$(BIN)/python -m kvmdbg.manual
	$(BIN)/python -m tests.docs.transcripts
	$(BIN)/python -m tests.docs.picture
	$(BIN)/python -m tests.docs.moving_picture

# The moving picture of README, of a session that is typed on this machine.
picture: $(VENV)/dev.stamp
	$(BIN)/python -m tests.docs.moving_picture

# Speed beside a C loop's. BENCH_ARGS takes names of benches, and --quick: small counts, only to see that each ends.
bench: $(VENV)/dev.stamp
	@tests/system-packages
	$(BIN)/python -m tests.bench $(BENCH_ARGS)

# Linux to its first line beside QEMU's microvm, on the kvm_amd machine.
bench-linux: $(VENV)/dev.stamp
	$(BIN)/python -m tests.machines.kvm_amd -- $(BIN)/python -m tests.bench.linux

# The software engine beside KVM, where there is one.
bench-soft: $(VENV)/dev.stamp
	$(BIN)/python -m tests.bench.soft $(BENCH_ARGS)

# The gdb stub against QEMU's.
bench-gdb: $(VENV)/dev.stamp
	@tests/system-packages
	$(BIN)/python -m tests.bench.gdb $(BENCH_ARGS)

# Random programs free and under the debugger: make differential COUNT=500 SEED=1. What differs is shown, made small.
COUNT ?= 200
SEED ?= 1
differential: $(VENV)/dev.stamp
	$(BIN)/python -m tests.differential --seed $(SEED) --count $(COUNT) $(DIFFERENTIAL_ARGS)

# The same on the machine that has kvm_intel: half a minute a program, two minutes to boot.
differential-kvm-intel: COUNT = 3
differential-kvm-intel: $(VENV)/dev.stamp
	$(BIN)/python -m tests.machines.kvm_intel $(MACHINE_ARGS) -- \
	  $(BIN)/python -m tests.differential --seed $(SEED) --count $(COUNT) --progress --no-shrink $(DIFFERENTIAL_ARGS)

# Expressions as gdb and kvmdbg show them: 2,000 questions made from a seed; what differs is shown.
beside-gdb: $(VENV)/dev.stamp
	$(BIN)/python -m tests.beside_gdb --seed $(SEED)

# The wheel, made from the source distribution, and that one, in dist/.
package: $(VENV)/dev.stamp
	$(BIN)/python -m build --no-isolation

# Small mistakes put into copies of the code: make mutants PATHS=kvmdbg/x86 SAMPLE=60 SEED=1. Those that no test
# notices are shown.
PATHS ?= kvmdbg gdbstub
SAMPLE ?= 60
mutants: $(VENV)/mutants.stamp
	@tests/system-packages
	$(BIN)/python -m tests.mutants --sample $(SAMPLE) --seed $(SEED) $(PATHS)

guests:
	$(MAKE) -C guests

# The tests marked kvm on emulated machines whose /dev/kvm is the real kvm_amd (seconds to boot) or the real
# kvm_intel (minutes). MACHINE_ARGS takes options of theirs: see `.venv/bin/python -m tests.machines.kvm_intel --help`.
test-kvm-amd: $(VENV)/dev.stamp
	$(BIN)/python -m tests.machines.kvm_amd $(MACHINE_ARGS)

test-kvm-intel: $(VENV)/dev.stamp
	$(BIN)/python -m tests.machines.kvm_intel --tests $(EMULATED_TESTS) $(MACHINE_ARGS)

# Measures all flavours that there are from here, and writes the page about them.
kvm-results: $(VENV)/dev.stamp
	-$(BIN)/python -m pytest -m kvm -q --kvm-report=$(RESULTS).jsonl
	-$(BIN)/python -m tests.machines.kvm_amd -j 2 --tests $(EMULATED_TESTS) --durations --report $(RESULTS).jsonl
	-$(BIN)/python -m tests.machines.kvm_intel -j 2 --tests $(EMULATED_TESTS) --report $(RESULTS).jsonl
	$(BIN)/python -m tests.machines.results $(RESULTS).jsonl $(RESULTS).md

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# On Debian and Ubuntu the venv module of the system's Python is a package of its own.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'kvmdbg needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  package=$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; echo "installing $$package" >&2; \
	  $$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$$package" >/dev/null || \
	  { echo "this Python has no venv module: install $$package" >&2; exit 1; }; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: pyproject.toml | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/dev.stamp: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/run.stamp

$(VENV)/mutants.stamp: $(VENV)/dev.stamp
	$(PIP) --editable '.[mutants]'
	@touch $@
