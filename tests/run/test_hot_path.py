"""What the per-message forms import: this is where their speed comes from."""

import subprocess
from typing import NamedTuple

import pytest

# Beside the interpreter's own at its start, with -I -S.
ALLOWED = {"posix", "sys", "time", "marshal", "select", "syslog", "errno", "stat", "_stat"}
# Modules of ours that only a rarer path imports.
RARE = {
    f"pf_spamfilt.{name}"
    for name in (
        "cli",
        "describe",
        "explain",
        "notices",
        "notify",
        "policy_keys",
        "quarantine",
        "schema",
        "stores",
        "tables",
    )
}
PROBE = "import sys; print(*sys.modules)"

HAM = "echo X-Spam-Level:; cat"
SPAM = "echo X-Spam-Flag: YES; echo X-Spam-Status: Yes, score=9.0 required=5.0 tests=A; cat; exit 1"
POLICIES = """
[policy]
tag_level = 2
tag2_level = 5
kill_level = 12.5
subject_tag = "[SPAM _SCORE_]"
destiny = "discard"
welcome_senders = ["!bad@example.org", ".example.org"]
block_senders = ["offers@example.edu", "example.info"]

[[recipients]]
match = ["strict@example.net"]
kill_level = 6

[[recipients]]
match = ["!joe@example.net", "patient@example.net"]
tag2_level = 20

[[recipients]]
match = [".example.net"]
block_senders = ["spammer@example.com"]

[[senders]]
match = ["example.com"]
quarantine = ""
"""
RECIPIENTS = ("joe@example.net", "strict@example.net", "patient@example.net")
TABLE = r"""
[tables]
command = ["/bin/sh", "-c", "cat >/dev/null; printf 'joe@example.net\\tkill_level=12\\n'", "postmap"]
recipients = ["hash:/no/such/file"]
"""
REGEX = '[policy]\nwelcome_senders = ["/^news@/"]\n'


class Run(NamedTuple):
    """What a run told Postfix, and the modules that it imported beside the interpreter's own."""

    summary: str
    modules: set[str]


@pytest.fixture
def python(prefix, tmp_path):
    """Run code in the installed package's interpreter as the launcher does; return the lines that it printed."""

    def python(code, *arguments):
        command = [prefix / "lib/pf-spamfilt/bin/python3", "-I", "-S", "-X", "utf8", "-c", code, *arguments]
        environment = {"MAIL_CONFIG": str(tmp_path)}
        done = subprocess.run(command, input="Subject: x\n\ny\n", env=environment, text=True, capture_output=True)
        return done.stdout.splitlines()

    return python


@pytest.fixture
def imported(prefix, make_site, python):
    """Run the installed package's per-message form; return what it told, and which modules it added."""
    main = next((prefix / "lib/pf-spamfilt/lib").glob("python3*/site-packages/pf_spamfilt/__main__.py"))

    def imported(*form, compiled=True, spamc=HAM, settings="", recipients=("joe@example.net",)):
        site = make_site(spamc, "cat >/dev/null", settings)
        if compiled:
            begin = f"import sys; sys.path.insert(0, {str(main.parent.parent)!r}); from pf_spamfilt import schema; "
            python(begin + f"schema.compile_file({str(site / 'pf-spamfilt.toml')!r})")
        start = python(PROBE)[0].split()
        code = f"""
import posix, sys
posix._exit = lambda status: (print("status", status), print(*sys.modules), sys.stdout.flush())
exec(compile(open({str(main)!r}).read(), {str(main)!r}, "exec"), {{"__file__": {str(main)!r}, "__name__": "__main__"}})
"""
        lines = python(code, *(form or ("jane@example.com", *recipients)))
        assert "status 0" in lines, lines
        return Run(lines[0], set(lines[-1].split()) - set(start))

    return imported


def test_the_per_message_form_imports_only_what_the_rule_allows(imported):
    run = imported()
    assert {name for name in run.modules if not name.startswith("pf_spamfilt")} <= ALLOWED
    assert not RARE & run.modules
    assert "pf_spamfilt.filter" in run.modules


@pytest.mark.parametrize(
    "form", [("--stdout",), ("--stdout", "jane@example.com", "joe@example.net"), ("--pipe-to", "/bin/cat")]
)
def test_the_forms_for_local_delivery_import_one_module_more(imported, form):
    settings = POLICIES.replace('"discard"', '"pass"')
    assert imported(*form, settings=settings, spamc=SPAM).modules - imported().modules == {"pf_spamfilt.hooks"}


def test_policies_with_different_results_import_no_more(imported):
    run = imported(settings=POLICIES, spamc=SPAM, recipients=RECIPIENTS)
    assert run.summary == "spam 9.0/5.0, tagged for 1; 2 reinjected, 1 discarded"
    assert run.modules == imported().modules


def test_a_regular_expression_costs_the_import_of_re(imported, python):
    bare, with_re = (set(python(code)[0].split()) for code in (PROBE, f"import re; {PROBE}"))
    assert imported(settings=REGEX).modules - imported().modules <= with_re - bare


def test_a_table_costs_two_modules_of_ours(imported):
    run = imported(settings=TABLE)
    assert run.modules - imported().modules == {"pf_spamfilt.tables", "pf_spamfilt.policy_keys"}


def test_a_store_costs_the_import_of_two_modules_of_ours_and_of_its_locks(imported, tmp_path):
    keeping = f'[policy]\nkill_level = 6\nquarantine = "mbox:{tmp_path}/spam"\n'
    run = imported(settings=keeping, spamc=SPAM)
    assert run.modules - imported().modules - ALLOWED == {"pf_spamfilt.quarantine", "pf_spamfilt.stores", "fcntl"}


def test_settings_that_are_not_compiled_cost_an_import(imported):
    assert {"tomllib", "pf_spamfilt.schema"} <= imported(compiled=False).modules
