"""examples/pf-spamfilt.toml and the manual: they name every key with its true default, and their examples load.

In the example a line that begins with `#` and no blank is a setting, taken back; one with `# ` is text.
"""

import re
import tomllib

import pytest

from lab.tools import PROJECT
from pf_spamfilt import patterns, policy_keys, schema, settings

EXAMPLE = PROJECT / "examples/pf-spamfilt.toml"
PAGE = PROJECT / "man/pf-spamfilt.toml.5"
PAGES = (PROJECT / "man/pf-spamfilt.1", PAGE)
KEYS = {(section, key): default for section, keys in settings.DEFAULTS.items() for key, default in keys.items()}
BLOCK_KEYS = {(section, key) for section, keys in schema.BLOCK_CHECKS.items() for key in keys}


def uncommented():
    return re.sub(r"^#(?=\S)", "", EXAMPLE.read_text(), flags=re.MULTILINE)


@pytest.fixture
def load(tmp_path):
    """Read a text as the settings file."""

    def read(text):
        (tmp_path / "pf-spamfilt.toml").write_text(text)
        return schema.read(str(tmp_path / "pf-spamfilt.toml"))

    return read


def everything(chosen):
    return {section: vars(part) if hasattr(part, "__dict__") else part for section, part in vars(chosen).items()}


def test_the_example_as_it_stands_changes_nothing():
    assert everything(settings.Settings(schema.read(str(EXAMPLE)))) == everything(settings.Settings({}))


def test_the_example_has_every_key_with_its_default():
    values = tomllib.loads(uncommented())
    shown = {(section, key): value for section in settings.DEFAULTS for key, value in values.get(section, {}).items()}
    shown |= {("", key): value for key, value in values.items() if key not in (*settings.DEFAULTS, *settings.BLOCKS)}
    assert shown == KEYS


def test_the_example_shows_blocks_of_each_kind_and_they_load(load):
    values = load(uncommented())
    assert all(values[section] for section in settings.BLOCKS)


def test_the_example_is_text_or_settings_and_nothing_between():
    wrong = [line for line in EXAMPLE.read_text().splitlines() if not re.match(r"$|\[|# |#$|#[\w\[]", line)]
    assert wrong == []


def plain(mdoc):
    """Return a piece of mdoc(7) as text."""
    return mdoc.replace(r"\(dq", '"').replace(r"\-", "-").replace(r"\&", "").replace(r"\e", "\\")


def setting_lines():
    """Yield the lines of the page's SETTINGS, each with the section that it is about."""
    section = ""
    text = PAGE.read_text().partition(".Sh SETTINGS\n")[2].partition("\n.Sh ")[0]
    for line in text.splitlines():
        if line.startswith(".Ss "):
            section = line.removeprefix(".Ss ").strip("[]") if "[" in line else ""
        yield section, line


def documented():
    """Yield section, key and shown default (None if none is) of each item in SETTINGS."""
    for section, line in setting_lines():
        if found := re.match(r"\.It Cm (\w+) No = Li (.+)", line):
            yield section, found[1], tomllib.loads(f"value = {plain(found[2])}")["value"]
        elif found := re.match(r"\.It Cm (\w+(?: , \w+)*)$", line):
            yield from ((section, key, None) for key in found[1].split(" , "))


def one_liners():
    """Yield the section and the example lines of SETTINGS' items."""
    for section, line in setting_lines():
        if found := re.match(r"\.Dl (\w+ = .*)", line):
            yield section, plain(found[1])


def test_the_page_has_every_key_with_its_default():
    found = {(section, key): default for section, key, default in documented() if section not in settings.BLOCKS}
    assert found == KEYS


def test_the_page_has_every_key_of_the_blocks():
    """All keys of [policy] may stand in [[recipients]], which says so instead of repeating them."""
    found = {(section, key) for section, key, _ in documented() if section in settings.BLOCKS}
    assert found == BLOCK_KEYS - {("recipients", key) for key in settings.DEFAULTS["policy"]}


def test_no_key_is_in_the_page_twice():
    found = [(section, key) for section, key, _ in documented()]
    assert len(found) == len(set(found))


def displays(page, beginning=r"\[+\w+\]+\n|\w+ = \["):
    """Yield the page's displays that have this beginning: that of settings is a section, or a list."""
    for block in re.findall(r"^\.Bd -literal.*\n((?:.*\n)*?)\.Ed", page.read_text(), re.MULTILINE):
        if re.match(beginning, block):
            yield plain(block)


@pytest.mark.parametrize("block", [block for page in PAGES for block in displays(page)])
def test_the_examples_in_the_pages_load(load, block):
    load(block if block.startswith("[") else f"[[recipients]]\n{block}")


@pytest.mark.parametrize(("section", "line"), [*one_liners()])
def test_the_example_of_each_key_loads(load, section, line):
    load(f"[{section}]\n{line}\n")


def test_the_example_of_a_table_is_understood():
    (block,) = displays(PAGE, "# /etc/postfix/spam,")
    results = [line.split(maxsplit=1)[1] for line in block.splitlines()[1:]]
    read = [{key: policy_keys.from_text(key, word) for key, word in policy_keys.assignments(each)} for each in results]
    assert read[:2] == [{"tag2_level": 4.5, "kill_level": 12}, {"spam_lover": True, "subject_tag": "[SPAM _SCORE_]"}]
    assert read[2] == {"welcome_senders": patterns.compiled([".example.net", "news@example.org"])}
    assert read[3] == {"kill_level": 15, "quarantine": "spam@example.com"}


def test_the_pages_have_the_examples_that_these_tests_look_for():
    assert len([*displays(PAGE)]) >= 7
    assert len([*displays(PAGES[0])]) >= 2
    assert len([*one_liners()]) >= 10


def test_every_section_that_settings_know_is_a_heading_of_the_page():
    headings = set(re.findall(r"^\.Ss \[+(\w+)\]+$", PAGE.read_text(), re.MULTILINE))
    assert headings == {*filter(None, settings.DEFAULTS), *settings.BLOCKS}
