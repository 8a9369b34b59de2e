"""A headless Chromium driven over the WebDriver protocol with nothing but urllib, for tests of pages."""

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900"]


class Browser:
    """One window. `with Browser() as browser: browser.open(path)`; skips the test where no Chromium is installed."""

    def __enter__(self) -> "Browser":
        if not (CHROMIUM and DRIVER):
            pytest.skip("needs chromium and chromedriver on the PATH")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.root = f"http://127.0.0.1:{port}"
        self.driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._await()
        chrome = {"binary": CHROMIUM, "args": FLAGS}
        wanted = {"browserName": "chrome", "goog:chromeOptions": chrome, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = f"/session/{session['sessionId']}"
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._call("DELETE", self.session)
        finally:
            self.driver.terminate()
            self.driver.wait(20)

    def _await(self) -> None:
        for _ in range(200):
            try:
                self._call("GET", "/status")
                return
            except OSError:
                time.sleep(0.05)
        self.driver.kill()
        raise RuntimeError("chromedriver does not answer")

    def _call(self, method: str, path: str, body: dict | None = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.root + path, content, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())["value"]

    def open(self, address: str) -> None:
        """Loads a page and waits for its load event."""
        self._call("POST", f"{self.session}/url", {"url": address})

    def run(self, script: str, *arguments: object) -> Any:
        """What a function body returns in the page."""
        return self._call("POST", f"{self.session}/execute/sync", {"script": script, "args": list(arguments)})

    def until(self, condition: str) -> None:
        """Waits until a JavaScript expression holds. Raises AssertionError after 20 s."""
        for _ in range(400):
            if self.run(f"return Boolean({condition})"):
                return
            time.sleep(0.05)
        raise AssertionError(f"still not: {condition}")

    def click(self, selector: str) -> None:
        """A real click in the middle of an element, scrolled into view, once it and the pictures have come to rest.

        The driver finds the place and then clicks: a picture that arrives between the two moves the target away.
        """
        found = self._find(selector)
        self.until("[...document.images].every((one) => one.complete || one.loading === 'lazy')")
        seen = None
        while seen != (seen := self._call("GET", f"{self.session}/element/{found}/rect")):
            self.run("return document.body.offsetHeight")
        self._call("POST", f"{self.session}/element/{found}/click", {})

    def keys(self, selector: str, text: str) -> None:
        """Real key presses into an element that has the focus."""
        self._call("POST", f"{self.session}/element/{self._find(selector)}/value", {"text": text})

    def _find(self, selector: str) -> str:
        found = self._call("POST", f"{self.session}/element", {"using": "css selector", "value": selector})
        return next(iter(found.values()))

    def media(self, **features: str) -> None:
        """Emulates media features, such as prefers_color_scheme="dark"."""
        pairs = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.command("Emulation.setEmulatedMedia", {"features": pairs})

    def command(self, name: str, parameters: dict) -> None:
        """One of Chromium's own commands (DevTools protocol)."""
        self._call("POST", f"{self.session}/goog/cdp/execute", {"cmd": name, "params": parameters})

    def complaints(self) -> list[str]:
        """What the console has collected since the last call: errors, blocked requests, warnings."""
        return [entry["message"] for entry in self._call("POST", f"{self.session}/se/log", {"type": "browser"})]
