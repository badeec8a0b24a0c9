# make install, make demo, make test: each installs what it needs. `make help` lists all.

PREFIX = /usr/local
# The interpreter of the installed command: /usr/bin/python3 or another that unprivileged accounts can start.
PYTHON =
VENV = .venv
DIST = dist
DEBS = postfix spamd spamc
# What builds the Debian package.
DEB_DEBS = dpkg-dev debhelper dh-python pybuild-plugin-pyproject python3-all python3-hatchling
# What only the tests need: the kinds of Postfix tables, and servers for them.
TEST_DEBS = man-db postfix-lmdb postfix-pcre postfix-sqlite postfix-pgsql postfix-ldap sqlite3 postgresql slapd ldap-utils chromium chromium-driver systemd-journal-remote strace procmail maildrop dovecot-core dovecot-sieve $(DEB_DEBS) debootstrap iproute2 lintian

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

.PHONY: install
install: ## install below PREFIX (/usr/local), in DESTDIR if given
	@PYTHON='$(PYTHON)' scripts/install.sh '$(DESTDIR)' '$(PREFIX)'

.PHONY: uninstall
uninstall: ## remove what `make install` put below PREFIX
	@if [ -z '$(DESTDIR)' ] && postconf -h mailbox_command 2>/dev/null | grep -F '$(PREFIX)/bin/pf-spamfilt'; then \
		echo 'uninstall: that is mailbox_command in main.cf: mail would bounce. First: postconf -X mailbox_command && postfix reload' >&2; \
		exit 1; \
	fi
	@if [ -z '$(DESTDIR)' ] && postconf -M 2>/dev/null | grep -F '$(PREFIX)/bin/pf-spamfilt'; then \
		echo 'uninstall: that is in master.cf, its name first: mail would wait.' >&2; \
		echo 'First: pf-spamfilt-admin setup --transport NAME --remove --apply' >&2; \
		exit 1; \
	fi
	rm -rf '$(DESTDIR)$(PREFIX)/lib/pf-spamfilt' '$(DESTDIR)$(PREFIX)/lib/pf-spamfilt.new' '$(DESTDIR)$(PREFIX)/lib/pf-spamfilt.old'
	rm -f '$(DESTDIR)$(PREFIX)/bin/pf-spamfilt' '$(DESTDIR)$(PREFIX)/bin/pf-spamfilt-admin'
	rm -f '$(DESTDIR)$(PREFIX)/share/man/man1/pf-spamfilt.1' '$(DESTDIR)$(PREFIX)/share/man/man5/pf-spamfilt.toml.5'
	rm -f '$(DESTDIR)$(PREFIX)/share/man/man8/pf-spamfilt-admin.8'

.PHONY: deb
deb: ## build a Debian package into DIST (dist)
	@lab/packages.sh $(DEB_DEBS)
	@scripts/deb.sh '$(DIST)'

.PHONY: demo
demo: packages ## send mail through a private Postfix and spamd, and show what comes out
	@python3 -m lab.demo

.PHONY: packages
packages:
	@command -v python3 >/dev/null || lab/packages.sh python3
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: Debian 12, Ubuntu 24.04 or later")'
	@lab/packages.sh $(DEBS) python3-venv

$(VENV)/done: pyproject.toml
	@lab/packages.sh python3-venv
	@echo 'making $(VENV): the tools of the tests'
	@python3 -m venv $(VENV)
	@$(VENV)/bin/pip install -q --disable-pip-version-check click coverage hatchling hypothesis jinja2 mypy pytest ruff
	@touch $@

.PHONY: lint
lint: $(VENV)/done ## ruff, mypy, mandoc
	@lab/packages.sh mandoc
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	mandoc -T lint -W warning man/*

.PHONY: test
test: packages $(VENV)/done ## all tests, and lint; as root, for the servers
	@lab/packages.sh $(TEST_DEBS)
	@$(MAKE) --no-print-directory lint
	$(VENV)/bin/coverage run -m pytest
	@$(VENV)/bin/coverage report --skip-empty

.PHONY: bench
bench: packages ## speed and memory, as ratios against the shell script
	@python3 -m bench

.PHONY: faults
faults: packages ## the table of faults, for this filter, the shell script and spamc -e
	@python3 -m lab.faults

.PHONY: clean
clean: ## remove what was built here
	rm -rf $(VENV) build dist .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
