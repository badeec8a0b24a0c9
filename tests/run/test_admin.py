"""pf-spamfilt-admin, installed: help, statuses and colour of all commands; and what `compile` does."""

import os
import resource
import shutil
import subprocess

import click
import pytest
from terminal import at_terminal

from pf_spamfilt import cli
from pf_spamfilt.admin.main import commands

NOBODY = 65534
ESCAPE = "\x1b["
WRONG = """
[spamc]
timout = 3
max_size = "big"
[[recipients]]
match = ["*@b.example"]
kill_level = "much"
"""
CHANGE = """
import marshal, sys
with open(sys.argv[1], "rb+") as file:
    stamp, values = marshal.loads(file.read())
    values["spamc"]["command"] = ["/compiled/spamc"]
    file.seek(0)
    file.write(marshal.dumps((stamp, values)))
"""


def paths(command=commands, words=()):
    """Yield the words that name each command of the group, and of groups in it; first none, for the group itself."""
    yield words
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from paths(each, (*words, name))


every_command = pytest.mark.parametrize("words", list(paths()), ids=lambda words: " ".join(words) or "the group")


@pytest.fixture
def admin(prefix):
    return prefix / "bin/pf-spamfilt-admin"


@pytest.fixture
def site(make_site):
    """A configuration directory that every account can enter, with settings."""
    folder = make_site("cat", "cat")
    for parent in (folder, folder.parent, folder.parent.parent):
        parent.chmod(0o755)
    return folder


@pytest.fixture
def run(admin, site):
    """Run the command for the configuration directory; return status, standard output and standard error."""

    def run(*arguments, **options):
        done = subprocess.run(
            [admin, *arguments],
            env={"PATH": "/usr/bin:/bin", "MAIL_CONFIG": str(site)} | options.pop("env", {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            **options,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@every_command
def test_help_has_an_example_and_needs_no_postfix(run, words):
    status, said, errors = run("-c", "/no/such/folder", *words, "--help")
    assert (status, errors) == (0, "")
    assert "Example" in said
    assert " ".join(["pf-spamfilt-admin", *words]) in said.partition("Example")[2]


@every_command
def test_help_is_no_wider_than_a_terminal(admin, run, words):
    lines = run(*words, "--help")[1].replace(str(admin.parent), "/usr/local/bin").splitlines()
    assert [line for line in lines if len(line) > 100] == []


def test_help_names_the_commands_as_they_are_installed(command, admin, run):
    """What is copied from it into main.cf or a crontab must be there: otherwise mail bounces."""
    said = subprocess.run([command, "--help"], env={}, capture_output=True, text=True).stdout
    assert f"  | {command} --stdout\n" in said
    assert f"  mailbox_command = {command} --pipe-to /usr/bin/procmail " in said
    assert f"  root  {admin} quarantine expire --days 30\n" in run("quarantine", "expire", "--help")[1]


@pytest.mark.parametrize(
    "package",
    ["lib/python3.11/site-packages", "lib/python3/dist-packages", "lib/pf-spamfilt/lib/python3.11/site-packages"],
)
def test_a_command_is_in_bin_of_the_prefix_that_has_the_package(tmp_path, monkeypatch, package):
    """Of a virtual environment, of the distribution, of make install."""
    monkeypatch.setattr(cli, "__file__", f"{tmp_path}/{package}/pf_spamfilt/cli.py")
    for folder in (tmp_path, tmp_path / "lib/pf-spamfilt"):
        (folder / "bin").mkdir(parents=True)
        (folder / "bin/pf-spamfilt").touch()
    assert cli.installed("pf-spamfilt") == f"{tmp_path}/bin/pf-spamfilt"


def test_the_summary_has_a_line_for_every_command(run):
    """One that click need not cut."""
    lines = [
        line.split(maxsplit=1) for line in run("--help")[1].partition("Commands:\n")[2].split("\n\n")[0].splitlines()
    ]
    assert {name for name, _ in lines} == set(commands.commands)
    assert [text for _, text in lines if text.endswith(("...", "written."))] == []


@pytest.mark.parametrize(
    "words",
    [["--wrong"], ["wrong"], ["policy", "--wrong"], ["policy", "a@b.example"], ["policy", "a@b.example", ""], []],
)
def test_wrong_usage_is_64_and_said_on_standard_error(run, words):
    status, said, errors = run(*words)
    assert (status, said) == (64, "")
    assert "Usage: pf-spamfilt-admin" in errors


@pytest.mark.parametrize("words", [["compile"], ["policy", "a@b.example", "c@d.example"]])
def test_without_the_configuration_directory_it_is_1(run, words):
    status, said, errors = run("-c", "/no/such/folder", *words)
    assert (status, said) == (1, "")
    assert errors == (
        "Error: /no/such/folder: there is no such directory: install Postfix,"
        " or name its configuration directory with -c\n"
    )


def test_a_reader_that_is_gone_is_no_traceback(admin, site):
    script = f"'{admin}' -c '{site}' policy --all a@b.example c@d.example | :"
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True).stderr
    assert [line for line in said.splitlines() if not line.startswith("Note: ")] == []


def test_output_to_a_full_disk_is_an_error_and_no_traceback(admin, site):
    for words in (
        ["--help"],
        ["policy", "a@b.example", "c@d.example"],
        ["policy", "--json", "a@b.example", "c@d.example"],
    ):
        with open("/dev/full", "w") as full:
            done = subprocess.run([admin, "-c", site, *words], stdout=full, stderr=subprocess.PIPE, text=True)
        said = [line for line in done.stderr.splitlines() if not line.startswith("Note: ")]
        assert (done.returncode, said) == (1, ["Error: output: No space left on device"])


def test_nothing_needs_to_be_open(admin, site):
    """As where a daemon starts it: no standard input, output and error."""
    for words in ("report -", "policy a@b.example c@d.example", "--help"):
        assert subprocess.run(["sh", "-c", f"'{admin}' -c '{site}' {words} <&- >&- 2>&-"]).returncode == 0


def test_a_terminal_is_coloured_and_neither_a_pipe_nor_one_with_no_color(admin, run, site):
    words = ["-c", str(site), "policy", "a@b.example", "c@d.example"]
    assert ESCAPE in at_terminal(admin, *words, TERM="xterm", NO_COLOR="")[1]
    plain = at_terminal(admin, *words, TERM="xterm", NO_COLOR="1")[1]
    assert "Recipient c@d.example" in plain
    assert ESCAPE not in plain
    assert ESCAPE not in run(*words)[1]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("pol", {"policy"}),
        ("policy --a", {"--all"}),
        ("", {"compile", "policy"}),
    ],
)
def test_bash_completes_commands_and_options(admin, words, found):
    """As bash does after a TAB: it calls the function that the script names."""
    script = f"""
        source <(_PF_SPAMFILT_ADMIN_COMPLETE=bash_source pf-spamfilt-admin)
        COMP_WORDS=(pf-spamfilt-admin {words or "''"}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        function=$(complete -p pf-spamfilt-admin | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        $function pf-spamfilt-admin
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    environment = {"PATH": f"{admin.parent}:/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True)
    assert done.stderr == ""
    assert found <= set(done.stdout.split())
    assert words.split()[-1:] == [] or all(word.startswith(words.split()[-1]) for word in done.stdout.split())


def explained(command, site):
    """Return what --explain says of the settings."""
    environment = {"PATH": "/usr/bin:/bin", "MAIL_CONFIG": str(site)}
    done = subprocess.run([command, "--explain"], input=b"Subject: x\n\ny\n", env=environment, capture_output=True)
    return done.stdout.decode().partition("Envelope")[0]


def test_the_filter_uses_what_was_compiled(command, prefix, run, site):
    """The compiled file is made to say otherwise than its source, to see which is read."""
    target = site / "pf-spamfilt.toml.compiled"
    assert run("compile") == (0, f"compiled: {target}\n", "")
    subprocess.run([prefix / "lib/pf-spamfilt/bin/python3", "-I", "-c", CHANGE, target], check=True)
    said = explained(command, site)
    assert "/compiled/spamc" in said
    assert "stale" not in said


def test_after_a_change_the_compiled_file_is_stale_until_it_is_compiled_anew(command, run, site):
    run("compile")
    with open(site / "pf-spamfilt.toml", "a") as file:
        file.write("\n[policy]\nkill_level = 5\n")
    assert "stale" in explained(command, site)
    assert run("compile")[0] == 0
    assert "stale" not in explained(command, site)


def test_all_errors_of_the_settings_are_shown_one_a_line_and_nothing_is_compiled(run, site):
    source = site / "pf-spamfilt.toml"
    source.write_text(WRONG)
    status, said, errors = run("compile")
    assert (status, said) == (1, "")
    first, *others = errors.splitlines()
    assert first == "Error: not compiled: 4 problems"
    assert [line.removeprefix(f"{source}: ").partition(":")[0] for line in others] == [
        "[spamc] timout",
        "[spamc] max_size",
        "[[recipients]] 1 match",
        "[[recipients]] 1 kill_level",
    ]
    assert not (site / "pf-spamfilt.toml.compiled").exists()


def test_wrong_settings_leave_what_was_compiled_before(run, site):
    run("compile")
    before = (site / "pf-spamfilt.toml.compiled").read_bytes()
    (site / "pf-spamfilt.toml").write_text("[spamc")
    status, _, errors = run("compile")
    assert status == 1
    assert "not compiled: 1 problem\n" in errors
    assert (site / "pf-spamfilt.toml.compiled").read_bytes() == before


def test_without_settings_there_is_nothing_to_compile(run, site):
    (site / "pf-spamfilt.toml").unlink()
    status, said, errors = run("compile")
    assert (status, said) == (1, "")
    assert "there is no such file: the defaults hold, and nothing needs to be compiled" in errors


def test_who_owns_the_settings_owns_what_root_compiles(run, site):
    shutil.chown(site / "pf-spamfilt.toml", NOBODY, NOBODY)
    (site / "pf-spamfilt.toml").chmod(0o640)
    assert run("compile")[0] == 0
    made = (site / "pf-spamfilt.toml.compiled").stat()
    assert (made.st_uid, made.st_gid, made.st_mode & 0o777) == (NOBODY, NOBODY, 0o640)


def test_nobody_else_can_compile_what_the_filter_would_not_trust(run, site):
    site.chmod(0o777)
    status, _, errors = run("compile", user=NOBODY, group=NOBODY, extra_groups=[])
    assert status == 1
    assert "only root and its owner can compile it" in errors
    assert not (site / "pf-spamfilt.toml.compiled").exists()


def test_a_file_system_that_is_full_leaves_no_part_of_a_file(run, site):
    """The limit for files stands in for it: that a file cannot grow is told in the same way."""
    before = sorted(os.listdir(site))
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))}
    status, _, errors = run("compile", **limit)
    assert status == 1
    assert "File too large" in errors
    assert sorted(os.listdir(site)) == before
