"""A real browser for tests: Chromium without a window, driven over WebDriver, with axe-core to look at its pages."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.expected_conditions import staleness_of
from selenium.webdriver.support.wait import WebDriverWait

AXE = Path(__file__).parent / "clients" / "node_modules" / "axe-core" / "axe.min.js"
SECONDS = 20
# A phone's.
_SIZE = (390, 720)
_ARGUMENTS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
)
_RUN_AXE = "axe.run({resultTypes: ['violations']}).then(arguments[0], error => arguments[0]({error: String(error)}))"


# The pages whose pictures are taken in dark colours, too.
_IN_DARK = ("sign-in", "consent")


class Browser:
    """One tab. `pictures` is where `look` puts screenshots, if anywhere."""

    def __init__(self, driver: Chrome, pictures: Path | None) -> None:
        self.driver = driver
        self.pictures = pictures

    def open(self, url: str) -> None:
        """Go to a page."""
        self.driver.get(url)

    @property
    def url(self) -> str:
        """Where the browser is."""
        return self.driver.current_url

    @property
    def heading(self) -> str:
        """The page's main heading."""
        return self.driver.find_element(By.TAG_NAME, "h1").text

    @property
    def text(self) -> str:
        """What is read on the page."""
        return self.driver.find_element(By.TAG_NAME, "body").text

    @property
    def focused(self) -> WebElement:
        """Where typing goes."""
        return self.driver.switch_to.active_element

    def field(self, name: str) -> WebElement:
        """An input."""
        return self.driver.find_element(By.NAME, name)

    def type(self, *keys: str) -> None:
        """Use the keyboard, wherever the focus is, one after the other."""
        for each in keys:
            self.focused.send_keys(each)

    def press(self, text: str) -> None:
        """Press the button with this text, and wait for what comes."""
        button = next(each for each in self.driver.find_elements(By.TAG_NAME, "button") if each.text == text)
        with self._next_page():
            button.click()

    def enter(self, *keys: str) -> None:
        """Type, and send the form with the Enter key, and wait for what comes."""
        self.type(*keys)
        with self._next_page():
            self.type(Keys.ENTER)

    @contextmanager
    def _next_page(self) -> Iterator[None]:
        page = self.driver.find_element(By.TAG_NAME, "html")
        yield
        WebDriverWait(self.driver, SECONDS).until(staleness_of(page))

    def runs_scripts(self) -> bool:
        """Whether pages may run scripts."""
        self.open("data:text/html,<title>off</title><script>document.title='on'</script>")
        return self.driver.title == "on"

    def look(self, name: str) -> list[str]:
        """What axe finds wrong with the page, in light and in dark colours."""
        found = []
        self.driver.execute_script(AXE.read_text())
        for scheme in ("light", "dark"):
            feature = {"name": "prefers-color-scheme", "value": scheme}
            self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
            if self.pictures is not None and (scheme == "light" or name in _IN_DARK):
                self._picture(self.pictures / f"{name}-{scheme}.png")
            result: dict[str, Any] = self.driver.execute_async_script(_RUN_AXE)
            if "error" in result:
                found.append(f"{name}, {scheme}: axe failed: {result['error']}")
            for violation in result.get("violations", ()):
                nodes = "; ".join(node["html"] for node in violation["nodes"])
                found.append(f"{name}, {scheme}: {violation['id']}: {violation['help']}: {nodes}")
        return found

    def complaints(self) -> list[str]:
        """What the browser has said on its console, such as that a policy stopped something."""
        return [entry["message"] for entry in self.driver.get_log("browser") if "favicon.ico" not in entry["message"]]

    def _picture(self, path: Path) -> None:
        height = self.driver.execute_script("return document.body.offsetHeight")
        clip = {"x": 0, "y": 0, "width": _SIZE[0], "height": height, "scale": 1}
        wanted = {"format": "png", "captureBeyondViewport": True, "clip": clip}
        path.write_bytes(base64.b64decode(self.driver.execute_cdp_cmd("Page.captureScreenshot", wanted)["data"]))


@contextmanager
def chromium(*, scripts: bool = True, language: str = "en", pictures: Path | None = None) -> Iterator[Browser]:
    """A browser of its own, which is closed afterwards."""
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in _ARGUMENTS:
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # which Chromium needs another user for
    preferences: dict[str, object] = {"intl.accept_languages": language}
    if not scripts:
        preferences["profile.managed_default_content_settings.javascript"] = 2
    options.add_experimental_option("prefs", preferences)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        driver.set_page_load_timeout(SECONDS)
        driver.set_script_timeout(SECONDS)
        # No window is as narrow as a phone.
        metrics = {"width": _SIZE[0], "height": _SIZE[1], "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        yield Browser(driver, pictures)
    finally:
        driver.quit()


__all__ = ["Browser", "Keys", "chromium"]
