"""Debian's chromium, driven over its DevTools protocol: just enough to open a page and look at it.

``python -m tests.headless_browser report.html picture.png`` saves the top of a page, as the documentation shows it.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from websocket import WebSocket, create_connection

NAMES = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 60.0
"""How long the browser may take to start, to answer and to draw, on a busy machine."""


def find_browser() -> str:
    """Path of the browser; without one the test is skipped, or fails where the environment says that there must be one."""
    for name in NAMES:
        path = shutil.which(name)
        if path is not None:
            return path
    reason = f"no browser found: {', '.join(NAMES)}"
    if os.environ.get("SB3_GRPO_REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


class Page:
    """One page of a browser.

    :param socket: connection to the page
    """

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its result; events that come meanwhile are kept."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._number:
                assert "error" not in message, f"{method}: {message.get('error')}"
                return message["result"]
            self.events.append(message)

    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression in the page; promises are awaited."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def open(self, address: str, until: str) -> None:
        """Open an address and wait until an expression becomes true."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=address)
        for _ in range(int(SECONDS / 0.1)):
            # Until the page is there, there may be nothing that the question could be about.
            if self.evaluate(f"Boolean(document.documentElement && ({until}))"):
                return
            time.sleep(0.1)
        raise AssertionError(f"{address}: {until} did not become true; {self.events}")

    def resize(self, width: int, height: int, mobile: bool = False) -> None:
        """Give the page another size, and let it draw."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        # Charts follow a moment after the page.
        self.evaluate("new Promise(done => setTimeout(done, 500))")

    def named(self, event: str) -> list[dict[str, Any]]:
        """Parameters of all events of a name so far."""
        return [message["params"] for message in self.events if message["method"] == event]


@contextmanager
def open_browser() -> Iterator[Page]:
    """A page of a fresh browser, which ends with the block."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [find_browser(), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        command += ["--no-first-run", "--disable-extensions", "--disable-background-networking", "--remote-debugging-port=0"]
        command += ["--remote-allow-origins=*", f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            socket = create_connection(_page_address(process), timeout=SECONDS)
            try:
                yield Page(socket)
            finally:
                socket.close()
        finally:
            process.terminate()
            process.wait(SECONDS)
            assert process.stderr is not None
            process.stderr.close()


def _page_address(process: "subprocess.Popen[str]") -> str:
    """Address of the connection to the browser's page: the browser says its own, the list of pages has the other."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("DevTools listening on "):
            browser = create_connection(line.split()[-1], timeout=SECONDS)
            browser.send(json.dumps({"id": 1, "method": "Target.getTargets"}))
            targets = json.loads(browser.recv())["result"]["targetInfos"]
            browser.close()
            page = next(target["targetId"] for target in targets if target["type"] == "page")
            return f"{line.split()[-1].split('/devtools/')[0]}/devtools/page/{page}"
    raise RuntimeError("the browser ended before it listened")


def save_picture(page: str, picture: str, width: int = 900, height: int = 1560) -> None:
    """Save the top of a page as PNG, in few colours."""
    with open_browser() as browser:
        browser.resize(width, height, mobile=True)  # no scroll bar
        browser.open(Path(page).resolve().as_uri(), until="document.documentElement.dataset.charts")
        content = base64.b64decode(browser.call("Page.captureScreenshot", format="png")["data"])
    Image.open(BytesIO(content)).convert("RGB").quantize(64).save(picture, optimize=True)


if __name__ == "__main__":
    save_picture(sys.argv[1], sys.argv[2])
