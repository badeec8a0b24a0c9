"""The page of `pf-spamfilt-admin report --html`, as the installed command writes it, in a real browser."""

import subprocess
from pathlib import Path

import pytest

from lab.browser import Browser

# Tags that the next ">" of the page would end.
HOSTILE_SENDER = "<img src=http://192.0.2.1/x onerror='document.title=1' x=\"&amp;\"@example.com"
HOSTILE_RECIPIENT = "<script src=http://192.0.2.1/x.js y=@example.com"
SHOWN = """
const shown = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
    const node = walker.currentNode, box = document.createRange();
    box.selectNodeContents(node);
    const {width, height} = box.getBoundingClientRect();
    if (width && height && node.data.trim()) shown.push(node.data.trim().replace(/\\s+/g, " "));
}
return shown;
"""
# Of each shape of a chart: what it shows, how large it is, and its colour.
SHAPES = """
return [...document.querySelectorAll(arguments[0])].map(each => {
    const {width, height} = each.getBoundingClientRect();
    return [each.getAttribute("class"), width, height, getComputedStyle(each).fill];
});
"""


def log_line(number, day, verdict, score, sender, recipient="jane@example.com"):
    tail = f"action=reinjected, scan=0.{10 + number % 80}, total=0.99, tests=T_{verdict},BOTH"
    if verdict == "unscanned":
        tail = "action=deferred, scan=3.00, total=3.02, reason=4.4.1 spamc cannot connect to spamd"
    return (
        f"2026-11-{day}T03:49:12+00:00 mx1 pf-spamfilt[{number}]: 4cDR{number}: from=<{sender}>,"
        f" to=<{recipient}>, size=1234, user=, score={score}, required=5.0, verdict={verdict}, {tail}\n"
    )


@pytest.fixture(scope="module")
def page(prefix, tmp_path_factory) -> Path:
    """The page of 30 ham and 20 spam on two days, and 3 deferrals."""
    folder = tmp_path_factory.mktemp("report")
    lines = [log_line(number, 21 + number % 2, "ham", f"{number % 4}.5", "anna@client.example") for number in range(30)]
    lines += [log_line(100 + number, 22, "spam", f"{8 + number % 9}.0", "news@shop.example") for number in range(19)]
    lines += [log_line(200 + number, 22, "unscanned", "", "anna@client.example") for number in range(3)]
    lines.append(log_line(300, 22, "spam", "7.0", HOSTILE_SENDER, HOSTILE_RECIPIENT))
    (folder / "mail.log").write_text("".join(lines))
    command = [prefix / "bin" / "pf-spamfilt-admin", "report", "--html", folder / "page.html", folder / "mail.log"]
    environment = {"PATH": "/usr/bin:/bin", "TZ": "UTC", "MAIL_CONFIG": str(folder)}
    done = subprocess.run(command, capture_output=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    return folder / "page.html"


@pytest.fixture(scope="module")
def running():
    with Browser() as browser:
        yield browser


@pytest.fixture
def browser(running, page):
    """A browser that shows the page."""
    running.open(page)
    return running


def test_figures_are_on_the_page(browser):
    shown = browser.evaluate(SHOWN)
    for text in ("Spam filter report", "2026-11-21 03:49 to 2026-11-22 03:49", "50", "40.0 %", "20 messages", "T_spam"):
        assert text in shown
    row = shown.index("spamc cannot connect to spamd")
    assert shown[row : row + 4] == ["spamc cannot connect to spamd", "4.4.1", "deferred", "3"]


def test_charts_have_columns_of_the_right_height(browser):
    """15 ham on one day, 15 ham and 20 spam on the other: as pixels, to scale."""
    days = "section:first-of-type .column rect:not(.hover)"
    shapes = browser.evaluate(SHAPES, days)
    heights = [(kind, round(height / shapes[0][2] * 15)) for kind, _, height, _ in shapes]
    assert heights == [("ham", 15), ("ham", 15), ("spam", 20)]
    assert all(width > 50 for _, width, _, _ in shapes)


def test_every_chart_and_bar_can_be_seen(browser):
    shapes = browser.evaluate(SHAPES, "svg rect:not(.hover)")
    assert len(shapes) > 30
    assert all(width > 0 and height > 0 for _, width, height, _ in shapes)
    assert {kind for kind, *_ in shapes} >= {"ham", "spam", "other"}


@pytest.mark.parametrize("dark", [False, True])
def test_ham_and_spam_differ_from_each_other_and_the_page(running, page, dark):
    running.open(page, dark=dark)
    colours = {kind: fill for kind, _, _, fill in running.evaluate(SHAPES, "rect.ham, rect.spam")}
    card = running.evaluate("return getComputedStyle(document.querySelector('section')).backgroundColor")
    assert len({*colours.values(), card}) == 3


def test_dark_is_dark_and_light_is_light(running, page):
    found = []
    for dark in (True, False):
        running.open(page, dark=dark)
        style = running.evaluate("const it = getComputedStyle(document.body); return [it.backgroundColor, it.color]")
        back, ink = (sum(map(int, colour.strip("rgb()").split(","))) for colour in style)
        found.append(back < ink)
    assert found == [True, False]


@pytest.mark.parametrize("width", [360, 768, 1200])
def test_the_page_is_not_wider_than_the_screen(running, page, width):
    running.open(page, width=width)
    assert running.evaluate("return document.documentElement.scrollWidth") <= width


def test_a_hostile_address_is_text(browser):
    assert {HOSTILE_SENDER, HOSTILE_RECIPIENT} <= set(browser.evaluate(SHOWN))
    assert browser.evaluate("return document.querySelectorAll('script, img, iframe, object, link').length") == 0
    assert browser.evaluate("return document.title").startswith("Spam filter report")


def test_nothing_but_the_page_is_asked_for(browser, page):
    assert browser.requests() == [page.as_uri()]


def test_nothing_is_in_the_console(browser):
    assert browser.complaints() == []


def test_the_page_forbids_itself_to_load_anything(browser):
    """Even what would get into it."""
    loaded = browser.evaluate("""
        const image = document.createElement("img"), script = document.createElement("script");
        image.src = "http://127.0.0.1:9/x.png";
        script.textContent = "window.taken = true";
        document.body.append(image, script);
        return new Promise(done => image.onerror = () => done(window.taken === true));
    """)
    assert loaded is False
    assert sum("Content Security Policy" in each for each in browser.complaints()) == 2


def test_the_page_can_be_printed(browser, tmp_path):
    browser.printed(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF-")


def test_a_report_of_nothing_is_a_page(running, prefix, tmp_path):
    (tmp_path / "log").touch()
    command = [prefix / "bin" / "pf-spamfilt-admin", "-c", tmp_path, "report", "--html", tmp_path / "page.html"]
    subprocess.run([*command, tmp_path / "log"], check=True, capture_output=True)
    running.open(tmp_path / "page.html")
    assert "No messages in this time." in running.evaluate(SHOWN)
    assert running.complaints() == []
