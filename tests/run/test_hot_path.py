"""What the per-message form imports: this is where its speed comes from."""

import subprocess

import pytest

# Beside the interpreter's own at its start, with -I -S.
ALLOWED = {"posix", "sys", "time", "marshal", "select", "syslog", "errno", "stat", "_stat"}
PROBE = "import sys; print(*sys.modules)"


@pytest.fixture
def imported(prefix, make_site, tmp_path):
    """Run the installed package's per-message form; return the names of modules that it added."""
    python = prefix / "lib/pf-spamfilt/bin/python3"
    main = next((prefix / "lib/pf-spamfilt/lib").glob("python3*/site-packages/pf_spamfilt/__main__.py"))
    make_site("echo X-Spam-Level:; cat", "cat >/dev/null")

    def modules(*options, code):
        environment = {"MAIL_CONFIG": str(tmp_path)}
        command = [python, "-I", "-S", "-X", "utf8", *options, "-c", code, "jane@example.com", "joe@example.net"]
        return subprocess.run(command, input="Subject: x\n\ny\n", env=environment, text=True, capture_output=True)

    def compile_settings():
        code = f"import sys; sys.path.insert(0, {str(main.parent.parent)!r}); from pf_spamfilt import schema; "
        modules(code=code + f"schema.compile_file({str(tmp_path / 'pf-spamfilt.toml')!r})")

    def run(compiled):
        if compiled:
            compile_settings()
        start = modules(code=PROBE).stdout.split()
        code = f"""
import posix, sys
posix._exit = lambda status: (print("status", status), print(*sys.modules), sys.stdout.flush())
exec(compile(open({str(main)!r}).read(), {str(main)!r}, "exec"), {{"__file__": {str(main)!r}, "__name__": "__main__"}})
"""
        lines = modules(code=code).stdout.splitlines()
        assert "status 0" in lines, lines
        return set(lines[-1].split()) - set(start)

    return run


def test_the_per_message_form_imports_only_what_the_rule_allows(imported):
    added = imported(compiled=True)
    assert {name for name in added if not name.startswith("pf_spamfilt")} <= ALLOWED
    assert not {f"pf_spamfilt.{name}" for name in ("cli", "explain", "schema")} & added
    assert "pf_spamfilt.filter" in added


def test_settings_that_are_not_compiled_cost_an_import(imported):
    added = imported(compiled=False)
    assert {"tomllib", "pf_spamfilt.schema"} <= added
