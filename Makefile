# What one does in a checkout. Each target sets up what it needs; `make` alone tells what there is.

VENV = .venv
PYTHON = python3 python3.14 python3.13 python3.12 python3.11 python3.10  # the first that is new enough is taken
# What Debian must have for the tests.
TEST_PACKAGES = acl age attr cron fish git man-db mariadb-server openssh-client openssh-server openssl postgresql rsync sqlite3 \
	strace systemd vsftpd zsh zstd
OTHER_PYTHON_TESTS = $(addprefix tests/,end_to_end/test_main_line.py $(addprefix test_,$(addsuffix .py, archive artefact \
	child config detours entries find generator_command generator_folder generator_mysql generator_postgres \
	generator_sqlite manifest members merge process restore siblings spool streams tame \
	target_folder)))
PYTEST_ARGS =

run = $(VENV)/bin/python -m

.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test test-dist test-long test-packages test-pythons mutants lint docs dist bench clean

help:  ## say what there is
	@sed -n 's/^\([a-z-]*\):.*  ## /\1:\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

demo: $(VENV)/.installed  ## back up, list, verify and restore something real, with nothing configured
	@PATH="$(abspath $(VENV))/bin:$$PATH" bash docs/demo/demo.sh

test: $(VENV)/.installed-test test-packages  ## run the tests; PYTEST_ARGS="-k name" chooses some
	$(run) pytest -n auto -m "not slow and not dist" $(PYTEST_ARGS)

test-long: $(VENV)/.installed-test test-packages  ## run the tests that take minutes: 100,000 files, 2 GB, killed at every step
	$(run) pytest -n auto -m slow --timeout=1200 $(PYTEST_ARGS)

test-pythons: $(VENV)/bin/python  ## run the tests that meet the library and the system on the oldest other Python that is here; test-dist tries them all
	@set -e; others=$$(for python in $(PYTHON) $(wildcard $(HOME)/.pyenv/versions/3.1?.*/bin/python); do \
		if $(is_new_enough); then echo "$$("$$python" $(minor)) $$python"; fi; \
	done | sort -V -u -k 1,1 | sed "/^$$($(VENV)/bin/python $(minor)) /d" | sed -n 1p); \
	echo "$$others" | while read -r version python; do \
		[ "$$version" ] || continue; \
		echo "Python $$version:"; \
		$(MAKE) --no-print-directory test VENV=.venv-$$version PYTHON="$$python" \
			PYTEST_ARGS='$(OTHER_PYTHON_TESTS) $(PYTEST_ARGS)' < /dev/null; \
	done

test-dist: $(VENV)/.installed-test dist  ## install the packages that make dist makes on every Python that is here, with pip and pipx, and use them
	$(run) pytest -n auto -m dist --timeout=600 $(PYTEST_ARGS)

mutants: $(VENV)/.installed-test test-packages  ## break each rule of the code once, and see the test that notices; MUTANTS="name ..." chooses some
	$(run) tests.faults.mutants $(MUTANTS)

lint: $(VENV)/.installed-test  ## check style and types
	$(run) ruff check
	$(run) ruff format --check
	$(run) mypy

docs: $(VENV)/.installed-docs  ## build the documentation into docs/_build/html, and the man pages into docs/_build/man
	$(run) sphinx -W --keep-going -q -b html docs docs/_build/html
	$(run) sphinx -W --keep-going -q -b man docs docs/_build/man

dist: docs $(VENV)/.installed-dist  ## make packages to be installed in dist, with man pages and examples: the source, and a wheel of it
	@rm -rf dist pickup.egg-info/SOURCES.txt  # the latter would add what an earlier MANIFEST.in named
	@output=$$($(run) build --outdir dist . 2>&1) || { echo "$$output" >&2; exit 1; }
	@echo "In dist:" $$(ls dist)

bench: $(VENV)/.installed-test test-packages  ## measure Pickup beside its peers, as ratios; BENCH_ARGS="files --scale 0.1" makes it short
	$(run) benchmarks $(BENCH_ARGS)

clean:  ## remove what these targets made, but for the backups of the demo
	rm -rf .venv .venv-* build dist docs/_build *.egg-info .coverage* .hypothesis .*_cache
	find . -name __pycache__ -prune -exec rm -rf {} +


# The environment. A stamp in it says which requirements of setup.py it has.

$(VENV)/.installed: extras =
$(VENV)/.installed-test: extras = [test]
$(VENV)/.installed-docs: extras = [docs]
$(VENV)/.installed-dist: extras = [dist]

$(VENV)/.installed $(VENV)/.installed-test $(VENV)/.installed-docs $(VENV)/.installed-dist: setup.py $(VENV)/bin/python
	@echo "Installing what Pickup needs into $(VENV)"
	@$(run) pip install -qq --disable-pip-version-check --editable '.$(extras)'
	@touch $@

$(VENV)/bin/python:
	@for python in $(PYTHON) ''; do $(is_new_enough) && break; done; \
	if [ -z "$$python" ]; then echo 'Pickup needs Python 3.10 or newer.' >&2; exit 1; fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2> /dev/null; then \
		packages="$$(basename "$$python")-venv"; $(install_packages) || exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv --clear $(VENV)

is_new_enough = "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2> /dev/null
minor = -c 'import sys; print("%d.%d" % sys.version_info[:2])'


# Debian's packages

test-packages:
	@packages=; \
	for package in $(TEST_PACKAGES); do \
		dpkg-query --show --showformat='$${Status}' $$package 2> /dev/null | grep -q ' installed$$' \
			|| packages="$$packages $$package"; \
	done; \
	if [ -n "$$packages" ]; then $(install_packages) || echo 'The tests that need them cannot pass.' >&2; fi

# Installs the Debian packages $packages, or tells who can.
define install_packages
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "Installing Debian packages:" $$packages; \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get update -qq && apt-get install -qq --yes --no-install-recommends $$packages > /dev/null; \
	else \
		echo "Missing Debian packages:" $$packages. "Hint: as root, apt-get install" $$packages >&2; \
		false; \
	fi
endef
