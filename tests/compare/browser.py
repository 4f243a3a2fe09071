"""A real browser without a window, driven over its debugging protocol."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from websockets.sync.client import connect

if TYPE_CHECKING:
    from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SETPRIV = shutil.which("setpriv")
WITH_US = [SETPRIV, "--pdeathsig", "KILL"] if SETPRIV else []
"""Ends the browser with the process that started it, so that a killed worker leaves none behind."""
_START_S = 60.0


class Browser:
    """One tab of a browser.

    Args:
        profile: An empty folder for the browser's own files.
    """

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        self._numbers = itertools.count(1)
        self._stack = ExitStack()
        process = subprocess.Popen(
            [*WITH_US, CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
             f"--user-data-dir={profile}", "about:blank"], stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._stack.callback(_end, process)
        with self._stack.pop_all() as stack:
            port, path = self._address(profile / "DevToolsActivePort")
            url = f"ws://127.0.0.1:{port}{path}"
            self._socket = stack.enter_context(connect(url, max_size=None, proxy=None))
            self._stack = stack.pop_all()
        self._session = ""
        targets = self("Target.getTargets")["targetInfos"]
        tab = next(one["targetId"] for one in targets if one["type"] == "page")
        self._session = self("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        self("Page.enable")

    def _address(self, file: Path) -> tuple[str, str]:
        until = time.monotonic() + _START_S
        while time.monotonic() < until:
            if file.exists() and len(lines := file.read_text().splitlines()) == 2:
                return lines[0], lines[1]
            time.sleep(0.05)
        raise TimeoutError("the browser does not start")

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        number = next(self._numbers)
        session = {"sessionId": self._session} if self._session else {}
        self._socket.send(json.dumps({"id": number, "method": method, "params": params, **session}))
        while True:
            answer = json.loads(self._socket.recv(timeout=_START_S))
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                found: dict[str, Any] = answer["result"]
                return found

    def js(self, code: str) -> Any:
        """Return the value of an expression on the page."""
        found = self("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def open(self, page: Path, width: int, height: int = 900, *, dark: bool = False, medium: str = "") -> None:
        """Show a page whose charts are drawn, at a width in CSS pixels."""
        phone = width < 600
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", media=medium, features=[scheme])
        self("Page.navigate", url=page.as_uri())
        until = time.monotonic() + _START_S
        ready = f"location.href === {json.dumps(page.as_uri())} && document.body?.dataset.drawn"
        while not self.js(ready):
            assert time.monotonic() < until, "the charts are not drawn"
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """Press and release a key."""
        code = {"Tab": 9, "Enter": 13, " ": 32}[key]
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for kind in ("keyDown", "keyUp"):
            self("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code,
                 **({"text": text} if text and kind == "keyDown" else {}))  # fmt: skip

    def picture(self, width: int, height: int, scale: float = 1.0) -> bytes:
        """Return the upper left part of the page as a PNG file."""
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": scale}
        found = self("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(found["data"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(timeout=_START_S)
