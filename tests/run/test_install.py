"""make install, make uninstall, pip install: what lands where, and that it was tried before it is called done."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lab.tools import PROJECT

NOBODY = 65534
PAGES = {
    "pf-spamfilt": "share/man/man1/pf-spamfilt.1",
    "pf-spamfilt.toml": "share/man/man5/pf-spamfilt.toml.5",
    "pf-spamfilt-admin": "share/man/man8/pf-spamfilt-admin.8",
}
ADMIN = "pf-spamfilt-admin"
# What an installation is made of beside the package.
NOT_SOURCE = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "__pycache__")


def make(*arguments, check=True, source=PROJECT, **environment):
    done = subprocess.run(
        ["make", "-C", source, *arguments],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert not check or done.returncode == 0, done.stdout
    return done


def unprivileged(*command):
    """Run a command as an account that owns nothing."""
    drop = {"user": NOBODY, "group": NOBODY, "extra_groups": [], "cwd": "/", "env": {}, "capture_output": True}
    return subprocess.run(command, stdin=subprocess.DEVNULL, **drop)


def works(command):
    """Tell whether an unprivileged account gets an answer, and a deferral for an empty command line."""
    version, empty = unprivileged(command, "--version"), unprivileged(command)
    return version.returncode == 0 and empty.returncode == 75 and empty.stdout.startswith(b"4.3.5 ")


def admin_works(command):
    """Tell whether an unprivileged account is told version and help, which need no Postfix."""
    version, described = unprivileged(command, "--version"), unprivileged(command, "policy", "--help")
    return version.stdout.startswith(b"pf-spamfilt-admin ") and described.stdout.startswith(b"Usage: ")


@pytest.fixture
def folder():
    """An empty folder that every account can enter: another pytest closes those above tmp_path."""
    with TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, PROJECT], check=True)
    return next(folder.glob("*.whl"))


def test_the_installed_command_works_as_an_unprivileged_account(command):
    assert works(command)


def test_the_installed_admin_command_works_as_an_unprivileged_account(prefix):
    assert admin_works(prefix / "bin" / ADMIN)


@pytest.mark.parametrize("linked", [False, True])
def test_the_admin_command_finds_the_filter_beside_itself(prefix, folder, linked):
    called = prefix / "bin" / ADMIN
    if linked:
        (folder / ADMIN).symlink_to(called)
        called = folder / ADMIN
    code = "import sys; del sys.argv[0]; from pf_spamfilt.admin.site import Site; print(Site('/').command)"
    done = subprocess.run(
        [prefix / "lib/pf-spamfilt/bin/python3", "-I", "-c", code, called], capture_output=True, text=True
    )
    assert done.stdout == f"{prefix}/bin/pf-spamfilt\n"


def test_a_symbolic_link_to_the_admin_command_works(prefix, folder):
    (folder / ADMIN).symlink_to(prefix / "bin" / ADMIN)
    assert admin_works(folder / ADMIN)


def test_modules_in_the_working_directory_are_not_imported(prefix, folder):
    (folder / "click.py").write_text("raise SystemExit('imported')")
    done = subprocess.run([prefix / "bin" / ADMIN, "--version"], cwd=folder, capture_output=True, text=True)
    assert done.stdout.startswith("pf-spamfilt-admin ")


def test_a_symbolic_link_to_the_command_works(command, folder):
    (folder / "link").symlink_to(command)
    (folder / "again").symlink_to("link")
    assert works(folder / "again")


@pytest.mark.parametrize("package", ["pf_spamfilt", "pf_spamfilt/admin", "click", "jinja2"])
def test_all_bytecode_is_compiled_as_the_account_cannot_write_it(prefix, package):
    folder = next((prefix / "lib/pf-spamfilt/lib").glob("python3*/site-packages")) / package
    sources = {path.stem for path in folder.glob("*.py")}
    assert {path.name.split(".")[0] for path in (folder / "__pycache__").iterdir()} == sources


@pytest.mark.parametrize("name", PAGES)
def test_man_finds_the_page(prefix, name):
    done = subprocess.run(["man", "-w", name], env={"PATH": f"{prefix}/bin:/usr/bin:/bin"}, capture_output=True)
    assert done.stdout.decode().strip() == f"{prefix}/{PAGES[name]}"


def test_destdir_is_honoured_and_named_nowhere(folder):
    make("install", f"DESTDIR={folder}", "PREFIX=/opt/filter")
    assert works(folder / "opt/filter/bin/pf-spamfilt")
    assert admin_works(folder / "opt/filter/bin" / ADMIN)
    named = subprocess.run(["grep", "-rlF", str(folder), folder / "opt"], capture_output=True, text=True).stdout
    assert [Path(name).name for name in named.split()] in ([], ["pyvenv.cfg"])


def test_installing_again_replaces_and_uninstalling_leaves_no_file(folder):
    make("install", f"PREFIX={folder}")
    (folder / "lib/pf-spamfilt/leftover").touch()
    make("install", f"PREFIX={folder}")
    assert not (folder / "lib/pf-spamfilt/leftover").exists()
    make("uninstall", f"PREFIX={folder}")
    assert [path for path in folder.rglob("*") if not path.is_dir()] == []


def test_uninstalling_is_refused_while_local_mail_would_bounce(folder, tmp_path):
    command = folder / "bin/pf-spamfilt"
    command.parent.mkdir()
    command.touch()
    (tmp_path / "main.cf").write_text(f'mailbox_command = {command} --pipe-to procmail -a "$EXTENSION"\n')
    refused = make("uninstall", f"PREFIX={folder}", check=False, MAIL_CONFIG=str(tmp_path))
    assert "that is mailbox_command in main.cf: mail would bounce" in refused.stdout
    assert command.exists()
    (tmp_path / "main.cf").write_text("mailbox_command = procmail\n")
    make("uninstall", f"PREFIX={folder}", MAIL_CONFIG=str(tmp_path))
    assert not command.exists()


def test_uninstalling_is_refused_while_master_cf_names_it(folder, tmp_path):
    """Mail would wait, and what undoes that would be gone."""
    command = folder / "bin/pf-spamfilt"
    command.parent.mkdir()
    command.touch()
    (tmp_path / "main.cf").touch()
    entry = f"spamcheck unix - n n - 10 pipe\n  user=nobody argv={command} -- ${{recipient}}\n"
    (tmp_path / "master.cf").write_text(entry)
    refused = make("uninstall", f"PREFIX={folder}", check=False, MAIL_CONFIG=str(tmp_path))
    assert "that is in master.cf, its name first: mail would wait" in refused.stdout
    assert "pf-spamfilt-admin setup --transport NAME --remove --apply" in refused.stdout
    assert command.exists()


def test_a_path_with_blanks_and_longer_than_a_first_line_can_be_installed_to(folder):
    prefix = folder / "with a blank" / ("x" * 200)
    make("install", f"PREFIX={prefix}")
    assert works(prefix / "bin/pf-spamfilt")
    assert admin_works(prefix / "bin" / ADMIN)


@pytest.mark.parametrize("module", ["settings.py", "admin/main.py"])
def test_a_version_that_does_not_work_replaces_none_that_does(folder, tmp_path, module):
    broken = tmp_path / "source"
    shutil.copytree(PROJECT, broken, ignore=NOT_SOURCE)
    make("install", f"PREFIX={folder}")
    (broken / "pf_spamfilt" / module).write_text("import nonsense\n")
    done = make("install", f"PREFIX={folder}", check=False, source=broken)
    assert done.returncode != 0
    assert "an unprivileged account cannot run" in done.stdout
    assert works(folder / "bin/pf-spamfilt")
    assert admin_works(folder / "bin" / ADMIN)


def test_a_host_without_a_way_out_installs_from_a_folder(folder, prefix):
    """As README.md says, with the interpreter that it will be installed for."""
    interpreter = (prefix / "lib/pf-spamfilt/bin/python3").resolve()
    subprocess.run([interpreter, "-m", "venv", folder / "venv"], check=True)
    download = ["download", "-q", "-d", folder / "packages", "click", "jinja2", "hatchling"]
    subprocess.run([folder / "venv/bin/pip", *download], check=True)
    nowhere = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder / "packages"), "PIP_CONFIG_FILE": os.devnull}
    make("install", f"PREFIX={folder}", f"PYTHON={interpreter}", **nowhere)
    assert admin_works(folder / "bin" / ADMIN)


def test_an_installation_that_an_unprivileged_account_cannot_reach_is_refused(folder):
    folder.chmod(0o700)
    done = make("install", f"PREFIX={folder}/closed", check=False)
    assert done.returncode != 0
    assert "an unprivileged account cannot run" in done.stdout


def test_an_interpreter_that_an_unprivileged_account_cannot_start_is_refused(folder):
    closed = folder / "closed"
    closed.mkdir(0o700)
    (closed / "python3").symlink_to("/usr/bin/python3")
    done = make("install", f"PREFIX={folder}", f"PYTHON={closed}/python3", check=False)
    assert done.returncode != 0
    assert "no Python 3.11 or later that an unprivileged account can start" in done.stdout
    assert "make install PYTHON=" in done.stdout


def test_pip_installs_a_working_command_into_a_virtual_environment(folder, wheel):
    venv.create(folder / "venv", with_pip=True)
    subprocess.run([folder / "venv/bin/pip", "install", "-q", wheel], check=True)
    done = subprocess.run([folder / "venv/bin/pf-spamfilt", "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("pf-spamfilt ")
    assert all((folder / "venv" / page).exists() for page in PAGES.values())
    done = subprocess.run([folder / "venv/bin" / ADMIN, "policy", "--help"], capture_output=True, text=True)
    assert done.stdout.startswith("Usage: ")


def test_a_virtual_environment_without_its_interpreter_defers(folder, wheel):
    venv.create(folder / "venv", with_pip=True)
    subprocess.run([folder / "venv/bin/pip", "install", "-q", wheel], check=True)
    (folder / "venv/bin/python3").unlink()
    done = subprocess.run([folder / "venv/bin/pf-spamfilt", "a@b", "c@d"], input=b"x", capture_output=True)
    assert (done.returncode, done.stderr[:6]) == (75, b"4.3.0 ")


def test_the_wheel_holds_the_launcher_as_a_program_and_the_man_pages(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {info.filename.partition(".data/data/")[2]: info for info in archive.infolist()}
        launcher = names["bin/pf-spamfilt"]
        assert launcher.external_attr >> 16 & 0o777 == 0o755
        assert archive.read(launcher) == (PROJECT / "bin/pf-spamfilt").read_bytes()
        assert set(PAGES.values()) <= set(names)


@pytest.mark.parametrize(
    "layout", ["lib/python3/dist-packages", "lib/python3.{}/dist-packages", "lib/python3.{}/site-packages"]
)
def test_the_launcher_finds_a_package_installed_for_the_system_python(folder, prefix, layout):
    """Debian's package, pip as root on Debian, and a Python of one's own: the interpreter is that of the folder."""
    home = prefix / "lib/pf-spamfilt"
    installed = next((home / "lib").glob("python3*/site-packages"))
    minor = installed.parent.name.partition(".")[2]
    packages = folder / layout.format(minor)
    packages.parent.mkdir(parents=True)
    packages.symlink_to(installed)
    (folder / "bin").mkdir()
    (folder / "bin/pf-spamfilt").write_bytes((prefix / "bin/pf-spamfilt").read_bytes())
    (folder / "bin/pf-spamfilt").chmod(0o755)
    done = subprocess.run([folder / "bin/pf-spamfilt"], stdin=subprocess.DEVNULL, capture_output=True, cwd="/")
    assert (done.returncode, done.stdout[:6]) == (75, b"4.3.5 ")


def test_a_launcher_without_its_package_defers(folder):
    (folder / "pf-spamfilt").write_bytes((PROJECT / "bin/pf-spamfilt").read_bytes())
    (folder / "pf-spamfilt").chmod(0o755)
    done = subprocess.run([folder / "pf-spamfilt", "a@b", "c@d"], input=b"x", capture_output=True)
    assert (done.returncode, done.stderr[:6]) == (75, b"4.3.0 ")
    assert os.listdir(folder) == ["pf-spamfilt"]
