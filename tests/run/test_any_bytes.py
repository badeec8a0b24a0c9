"""For any message and any answer of spamc: what is queued holds the original's body, or nothing is queued."""

import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pf_spamfilt import headers

SPAMC = 'cat >/dev/null\ncat "$MAIL_CONFIG/answer"\nexit "$(cat "$MAIL_CONFIG/status")"\n'
SENDMAIL = 'cat > "$MAIL_CONFIG/queued"'
MARK = b"X-Spam-Status: No, score=0.1 required=5.0 tests=none\n"
LINES = st.sampled_from(
    [b"Subject: x\n", b"X-Spam-Flag: YES\n", b" folded\n", b"\n", b"body\n", b"\r\n", b".\n", b"\0"]
)
MESSAGES = st.one_of(st.binary(min_size=1), st.lists(LINES, min_size=1).map(b"".join))


@pytest.fixture
def site(make_site):
    return make_site(SPAMC, SENDMAIL)


@st.composite
def answers(draw, message):
    """An answer: right, or the message cut, grown, or changed, or something else."""
    kind = draw(st.sampled_from(["right", "cut", "grown", "other", "bare"]))
    if kind == "right":
        return MARK + message
    if kind == "cut":
        return MARK + message[: draw(st.integers(0, len(message) - 1))]
    if kind == "grown":
        return MARK + message + draw(st.binary(min_size=1))
    return message if kind == "bare" else draw(MESSAGES)


@given(data=st.data(), message=MESSAGES, status=st.sampled_from([0, 0, 0, 1, 69]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_queued_holds_the_original_body_or_nothing_is_queued(command, site, data, message, status):
    answer = data.draw(answers(message))
    (site / "answer").write_bytes(answer)
    (site / "status").write_text(str(status))
    (site / "queued").unlink(missing_ok=True)
    done = subprocess.run(
        [command, "jane@example.com", "joe@example.net"],
        input=message,
        capture_output=True,
        timeout=30,
        env={"MAIL_CONFIG": str(site), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode in (0, 75)
    if done.returncode == 75:
        assert not (site / "queued").exists()
        assert done.stdout.startswith(b"4.")
        return
    queued = (site / "queued").read_bytes()
    assert queued == answer
    assert queued.endswith(headers.split(message)[1].removeprefix(b"\r\n").removeprefix(b"\n"))


@given(data=st.data(), message=MESSAGES, status=st.sampled_from([0, 0, 0, 1, 69]))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("form", [("--stdout",), ("--pipe-to", "/bin/sh", "-c", 'cat >"$MAIL_CONFIG/taken"')])
def test_local_delivery_gets_what_spamassassin_returned_or_nothing(command, site, form, data, message, status):
    answer = data.draw(answers(message))
    (site / "answer").write_bytes(answer)
    (site / "status").write_text(str(status))
    taken = site / "taken"
    taken.unlink(missing_ok=True)
    environment = {"MAIL_CONFIG": str(site), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([command, *form], input=message, capture_output=True, timeout=30, env=environment)
    if form[0] == "--stdout" and done.stdout:
        taken.write_bytes(done.stdout)
    assert done.returncode in (0, 75)
    assert taken.exists() == (done.returncode == 0)
    if taken.exists():
        assert taken.read_bytes() == answer
        assert answer.endswith(headers.split(message)[1].removeprefix(b"\r\n").removeprefix(b"\n"))
