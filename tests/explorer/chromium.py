"""Headless Chromium, driven through a pipe by its own DevTools protocol: nothing to install beside the browser."""

import base64
import io
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.processes import started

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
_OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars", "--disable-quic"]
_OPTIONS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


@contextmanager
def open_page(profile: Path) -> Iterator["Page"]:
    """One page of a browser that ends with the block; ``profile`` is an empty folder for it."""
    (its_in, our_out), (our_in, its_out) = os.pipe(), os.pipe()
    descriptors = f'exec 3<&{its_in} 4>&{its_out}; exec "$@"'
    words = [PROGRAM, *_OPTIONS, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
    with started(["bash", "-c", descriptors, "bash", *words], pass_fds=(its_in, its_out), stderr=subprocess.DEVNULL):
        os.close(its_in), os.close(its_out)
        with os.fdopen(our_out, "wb", buffering=0) as write, os.fdopen(our_in, "rb", buffering=0) as read:
            yield Page(write, read)


class Page:
    """One page of one browser.

    Args:
        write: to the browser.
        read: from it.
        seconds: after which waiting fails.
    """

    def __init__(self, write: io.RawIOBase, read: io.RawIOBase, seconds: float = 100.0):
        self.seconds, self._numbers = seconds, itertools.count(1)
        self._write, self._read = write, read
        self._rest = b""
        self._session = None
        (target,) = (found for found in self._ask("Target.getTargets")["targetInfos"] if found["type"] == "page")
        self._session = self._ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]

    def show(self, address: str, width: int, height: int, dark: bool = False) -> None:
        """Open an address in a window of a size, in px."""
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])
        self._ask("Page.navigate", url=address)

    def run(self, script: str) -> Any:
        """The value of an expression."""
        done = self._ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until an expression is true."""
        end = time.monotonic() + self.seconds
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < end, (
                f"still not: {condition}; the page says {self.run('document.body.innerText')}"
            )
            time.sleep(0.02)

    def click(self, x: float, y: float) -> None:
        """A click of the mouse at a place of the window."""
        for kind in ("mousePressed", "mouseReleased"):
            self._ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self) -> np.ndarray:
        """What the window shows, uint8 ``(Y, X, 3)``."""
        content = self._ask("Page.captureScreenshot", format="png")["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        message |= {} if self._session is None else {"sessionId": self._session}
        self._write.write(json.dumps(message).encode() + b"\0")
        while True:  # past events
            answer = json.loads(self._message())
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def _message(self) -> bytes:
        while b"\0" not in self._rest:
            assert select.select([self._read], [], [], self.seconds)[0], "the browser says nothing"
            part = self._read.read(1 << 16)
            assert part, "the browser has ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return message
