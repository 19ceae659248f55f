"""Chromium, the blog, and where pictures of it are kept."""

from __future__ import annotations

import html
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.browser.install import chromium
from tests.browser.site import Site, Terminal
from tests.djangosite.environments import programs
from tests.patience import patient
from tests.servers import NoServer, wanted

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "build" / "screenshots"
PASSWORD = "password"
DJANGOS = ("5.2", "6.1")
TERMINAL = """<style>body {{ margin: 0; background: #16191d; color: #e6e3dc; font: 14px/1.45 monospace }}
pre {{ margin: 1rem; white-space: pre-wrap; overflow-wrap: anywhere }} b {{ color: #f2b632 }}</style>
<pre><b>$ {command}</b>
{text}</pre>"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; without it tests are skipped, and where `CI` is set they fail."""
    path = chromium()
    with wanted():
        if path is None:
            raise NoServer("Chromium is not installed (apt-get install chromium)")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in DJANGOS])
def django(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def template(django: str, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The blog, with its database filled."""
    site = Site(tmp_path_factory.mktemp("blog") / "blog", programs(django) / "python")
    site.made()
    return site


@pytest.fixture
def site(template: Site, tmp_path: Path) -> Iterator[Site]:
    """A blog of the test's own; what runs in its terminals ends with the test."""
    shutil.copytree(template.folder, tmp_path / "blog", ignore=shutil.ignore_patterns("__pycache__"))
    site = Site(tmp_path / "blog", template.python)
    yield site
    for terminal in site.terminals:
        terminal.close()


@pytest.fixture
def served(site: Site) -> tuple[str, Terminal]:
    """The address of the blog, and the terminal of its web server."""
    return site.served()


@pytest.fixture
def web(served: tuple[str, Terminal]) -> Terminal:
    return served[1]


@pytest.fixture
def address(served: tuple[str, Terminal]) -> str:
    return served[0]


@pytest.fixture
def visitor(browser: Browser, address: str) -> Iterator[Callable[..., Visitor]]:
    """Makes browsers of people of their own; at the end none has complained, or asked anybody else."""
    made: list[Visitor] = []

    def visitor(name: str | None = None, **options: Any) -> Visitor:
        one = Visitor(browser.new_context(base_url=address, **options), address)
        made.append(one)
        if name is not None:
            one.log_in(name)
        return one

    yield visitor
    for one in made:
        one.context.close()
    assert [complaint for one in made for complaint in one.complaints] == []


class Visitor:
    """Somebody with a browser."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.context, self.address = context, address
        context.set_default_timeout(patient(15) * 1000)
        self.page: Page = context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self.said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda asked: self.asked(asked.url))

    def said(self, message: ConsoleMessage) -> None:
        # The admin has no icon of its own.
        if message.type == "error" and not message.location["url"].endswith("/favicon.ico"):
            self.complaints.append(message.text)

    def asked(self, url: str) -> None:
        if not url.startswith((self.address, "data:")):
            self.complaints.append(f"asked for {url}")

    def log_in(self, name: str) -> None:
        self.page.goto("/login/")
        self.page.get_by_label("Email").fill(f"{name}@example.org")
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("main").get_by_role("button", name="Log in").click()
        self.page.get_by_text("Successfully logged in.").wait_for()

    def sign_up(self, email: str) -> None:
        self.page.goto("/signup/")
        self.page.get_by_label("Email").fill(email)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("main").get_by_role("button", name="Sign up").click()
        self.page.get_by_text("Successfully signed up.").wait_for()

    def open(self, post: int) -> Star:
        self.page.goto(f"/posts/{post}/")
        return Star(self.page)


class Star:
    """The star of the post that is open."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.button = page.get_by_role("button", name="Favorite this post")

    @property
    def shown(self) -> tuple[bool, int]:
        """Whether it is lit, and the number beside it."""
        count = self.page.locator("form.star output").inner_text()
        return self.button.get_attribute("aria-pressed") == "true", int(count)

    def click(self) -> None:
        self.button.click()

    def reloaded(self) -> tuple[bool, int]:
        self.page.reload()
        return self.shown

    def told(self, times: int = 1) -> None:
        """Click so often, and wait until the server has answered."""
        with self.page.expect_response(lambda answer: "/favorites/" in answer.url and answer.status == 204):
            for _ in range(times):
                self.click()


@pytest.fixture
def picture(django: str, browser: Browser) -> Callable[..., None]:
    """Keeps pictures of pages and of terminals, to be looked at."""
    place = PICTURES / f"django-{django}"
    place.mkdir(parents=True, exist_ok=True)

    def picture(name: str, of: Page | Terminal) -> None:
        if isinstance(of, Page):
            of.screenshot(path=place / f"{name}.png", full_page=True)
            return
        page = browser.new_page(viewport={"width": 1000, "height": 300})
        page.set_content(TERMINAL.format(command=html.escape(of.command), text=html.escape(of.text)))
        page.screenshot(path=place / f"{name}.png", full_page=True)
        page.close()

    return picture
