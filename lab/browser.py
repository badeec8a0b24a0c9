"""A Chromium without a window, to look at a page with: chromedriver, which speaks WebDriver (W3C) over HTTP.

Needs chromium and chromium-driver. Everything it writes is in a directory of its own, removed at the end; whatever
fails is a LabError.
"""

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from lab.tools import Entered, LabError, free_port, wait_until

OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip
_PATIENCE = 60


class Browser(Entered):
    """A browser; entering starts it, leaving ends it."""

    def __init__(self) -> None:
        super().__init__()
        self._session = ""

    def open(self, file: Path, *, width: int = 1200, dark: bool = False) -> None:
        """Show a file as a page so many pixels wide; its log begins anew."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self._devtools("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._devtools("Emulation.setEmulatedMedia", {"features": [scheme]})
        self._logs("browser"), self._logs("performance")
        self._ask("url", {"url": file.as_uri()})

    def evaluate(self, script: str, *arguments: object) -> Any:
        """Run the body of a function in the page and return what it returns."""
        return self._ask("execute/sync", {"script": script, "args": arguments})

    def complaints(self) -> list[str]:
        """Return what is in the page's console since it was opened."""
        return [entry["message"] for entry in self._logs("browser")]

    def requests(self) -> list[str]:
        """Return the addresses that were asked for since the page was opened."""
        events = [json.loads(entry["message"])["message"] for entry in self._logs("performance")]
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [each["request"]["url"] for each in sent]

    def screenshot(self, file: Path) -> None:
        """Write what the whole page looks like, as PNG."""
        shot = self._devtools("Page.captureScreenshot", {"captureBeyondViewport": True})
        file.write_bytes(base64.b64decode(shot["data"]))

    def printed(self, file: Path) -> None:
        """Write the page as it is printed, as PDF."""
        shot = self._devtools("Page.printToPDF", {"printBackground": False})
        file.write_bytes(base64.b64decode(shot["data"]))

    def _devtools(self, command: str, parameters: dict[str, Any]) -> Any:
        return self._ask("goog/cdp/execute", {"cmd": command, "params": parameters})

    def _logs(self, kind: str) -> Any:
        return self._ask("se/log", {"type": kind})

    def _begin(self) -> None:
        program = shutil.which("chromedriver")
        if not program:
            raise LabError("chromedriver is not here: install chromium-driver")
        home = tempfile.mkdtemp(prefix="pf-spamfilt-browser-", dir="/var/tmp")
        self._clean_up.callback(shutil.rmtree, home, ignore_errors=True)
        self._address = f"http://127.0.0.1:{(port := free_port())}"
        driver = subprocess.Popen(
            [program, f"--port={port}"], cwd=home, env=os.environ | {"HOME": home, "TMPDIR": home},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self._clean_up.callback(_end, driver)
        if not wait_until(self._is_ready, _PATIENCE):
            raise LabError(f"chromedriver does not answer after {_PATIENCE} s")
        options = {"args": [*OPTIONS, f"--user-data-dir={home}/profile"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        self._session = self._send("/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        self._clean_up.callback(self._send, f"/session/{self._session}", None, "DELETE")

    def _is_ready(self) -> bool:
        try:
            return bool(self._send("/status", None, "GET")["ready"])
        except OSError:
            return False

    def _ask(self, what: str, body: dict[str, Any]) -> Any:
        return self._send(f"/session/{self._session}/{what}", body)

    def _send(self, path: str, body: dict[str, Any] | None, method: str = "POST") -> Any:
        data = None if body is None else json.dumps(body).encode()
        kind = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._address + path, data, kind, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_PATIENCE) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise LabError(f"{path}: {json.load(error)['value']['message']}") from None


def _end(driver: "subprocess.Popen[bytes]") -> None:
    """End chromedriver, and the browser if it is still there: both are in a session of their own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
