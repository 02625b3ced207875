"""A real browser without a screen, for looking at pages."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Page:
    """What a test does with the browser."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self._errors: list[str] = []

    def open(self, file: Path, *, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.errors()
        self.requests()
        self.driver.get(file.as_uri())

    def cdp(self, command: str, **parameters: Any) -> None:
        self.driver.execute_cdp_cmd(command, parameters)

    def run(self, script: str, *args: Any) -> Any:
        return self.driver.execute_script(script, *args)

    def wait(self, condition: str, *args: Any) -> Any:
        """Until a script's expression is true."""
        return WebDriverWait(self.driver, 30, 0.05).until(lambda _: self.run(f"return {condition}", *args))

    def errors(self) -> list[str]:
        """What the console said since the last time."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """The URLs that were asked for since the last time."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def scroll_through(self) -> None:
        """See every part of the page, as lazy pictures need, until each is loaded or broken."""
        self.wait("document.readyState === 'complete'")
        for number in range(self.run("return document.querySelectorAll('article').length")):
            self.run("document.querySelectorAll('article')[arguments[0]].scrollIntoView()", number)
            self.wait(
                "[...document.querySelectorAll('article')[arguments[0]].querySelectorAll('img')]"
                ".every((image) => image.complete && image.currentSrc)",
                number,
            )


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    binary, driver_binary = shutil.which("chromium"), shutil.which("chromedriver")
    if not (binary and driver_binary):
        missing = pytest.fail if os.environ.get("CI") else pytest.skip  # .ci/run installs them
        missing("needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(driver_binary))
    try:
        yield Page(driver)
    finally:
        driver.quit()
