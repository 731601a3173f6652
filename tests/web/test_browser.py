"""The page in a real Chromium, against a real daemon, sandbox and database."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from passbell.devkit.demo.members import DEMO_PROGRAMS
from support.processes import Sandbox
from support.scene import Scene
from support.wait import wait_until
from support.web import KEY, Web

playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
if CHROMIUM is None:
    pytest.skip("there is no chromium (apt-get install chromium)", allow_module_level=True)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from playwright.sync_api import Browser, ConsoleMessage, Page, Route

    from support.databases import Databases
    from support.processes import Daemon

pytestmark = pytest.mark.slow

PICTURES = Path(__file__).parents[2] / "docs" / "screenshots"
ILLUSTRATED = bool(os.environ.get("PASSBELL_TEST_SCREENSHOTS"))
# Enough that a number has to be typed, and that a campaign takes a quarter of a minute unless it is hastened; the
# pictures show more.
PASSES, RATE = (6_000, 120) if ILLUSTRATED else (1_750, 90)
PROGRAMS = DEMO_PROGRAMS if ILLUSTRATED else (replace(DEMO_PROGRAMS[0], share=36), *DEMO_PROGRAMS[1:])
CLUB = "Aurora Coffee Club"
PAGES = (
    "/",
    "/history",
    "/automations",
    "/automations/new",
    "/birthdays",
    "/programs",
    "/imports",
    "/status",
)


CUT = """() => {
    const cut = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const parent = node.parentElement;
        const hidden = !parent.checkVisibility() || parent.closest(".unseen, .skip, select, datalist, textarea");
        if (hidden || !node.data.trim()) continue;
        const range = document.createRange();
        range.selectNodeContents(node);
        const right = Math.max(...[...range.getClientRects()].map((line) => line.right));
        let limit = document.documentElement.clientWidth;
        for (let box = parent; box; box = box.parentElement) {
            const style = getComputedStyle(box);
            if (style.textOverflow === "ellipsis") limit = Infinity;
            else if (style.overflowX !== "visible") limit = Math.min(limit, box.getBoundingClientRect().right);
        }
        if (right > limit + 1) cut.push(node.data.trim().slice(0, 40));
    }
    return cut;
}"""
"""The texts of a page that are cut: by the edge of the window, or by a box that hides what is too wide for it."""


class Stage:
    """A populated host, a PassKit, a daemon, the web server, and a browser that is signed in."""

    def __init__(self, scene: Scene, daemon: Daemon, web: Web, browser: Browser) -> None:
        self.scene = scene
        self.daemon = daemon
        self.web = web
        self.browser = browser
        self.program: UUID = scene.programs[CLUB]
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{web.url}/login")
        page.fill("#key", KEY)
        page.click("button.primary")
        page.wait_for_selector("#message")
        self.state = context.storage_state()
        self._shared: Page | None = None
        context.close()

    @contextmanager
    def page(self, path: str = "/", *, expect: str = "-", **options: Any) -> Iterator[Page]:
        """A page in which nothing may go wrong unnoticed: the one of all tests, or with options one of its own."""
        page = self._new_page(**options) if options else self._shared_page()
        trouble: list[str] = []

        def stumbled(error: Exception) -> None:
            trouble.append(str(error))

        def said(line: ConsoleMessage) -> None:
            if line.type == "error" and expect not in line.text:
                trouble.append(line.text)

        page.on("pageerror", stumbled)
        page.on("console", said)
        try:
            page.goto(self.web.url + path)
            yield page
        finally:
            page.remove_listener("pageerror", stumbled)
            page.remove_listener("console", said)
            if options:
                page.context.close()
        assert not trouble

    def _new_page(self, **options: Any) -> Page:
        """A page in a context of its own."""
        context = self.browser.new_context(
            **{
                "viewport": {"width": 1200, "height": 900},
                "storage_state": self.state,
                "reduced_motion": "reduce",  # a bar that glides is painted sixty times a second, on a processor
                **options,
            }
        )
        context.set_default_timeout(20_000)
        return context.new_page()

    def _shared_page(self) -> Page:
        """The page of all tests that need no other: a context costs two processes of the browser."""
        if self._shared is None:
            self._shared = self._new_page()
        page = self._shared
        page.unroute_all()
        if page.url.startswith(self.web.url):
            page.evaluate("sessionStorage.clear()")  # what the test before had written
        page.set_viewport_size({"width": 1200, "height": 900})
        page.emulate_media(color_scheme="light", reduced_motion="reduce")
        return page

    def hasten(self, campaign: str) -> None:
        """What was to be seen of a campaign under way has been seen: the rest is sent at the account's rate."""
        if not ILLUSTRATED:
            self.scene.conn.execute(
                "update push_campaigns set rate_per_second = null where id = %s", [campaign]
            )

    def choose(self, page: Page, message: str) -> None:
        """Choose the program and write a message."""
        page.select_option("#program", str(self.program))
        page.fill("#message", message)


@pytest.fixture(scope="module")
def stage(databases: Databases) -> Iterator[Stage]:
    url = databases.create("2")
    with Sandbox() as sandbox:
        scene = Scene(url, "2", sandbox)
        scene.populate(PASSES, PROGRAMS)
        scene.conn.execute(f"alter table push_campaigns alter rate_per_second set default {RATE}")
        with (
            scene.daemon(RATE_PER_SECOND=500, CHUNK_SIZE=40, DAILY_CAP=0) as daemon,
            Web(url) as web,
            playwright_api.sync_playwright() as playwright,
        ):
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--renderer-process-limit=1"]
            )
            yield Stage(scene, daemon, web, browser)
            browser.close()
        scene.close()


def picture(page: Page, name: str, *, full: bool = True) -> None:
    """Keep a screenshot for the documentation, when asked to."""
    if ILLUSTRATED:
        PICTURES.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=PICTURES / f"{name}.png", full_page=full)


def number(text: str) -> int:
    found = re.search(r"[\d,]+", text)
    assert found, text
    return int(found[0].replace(",", ""))


def progress(page: Page, where: str = "") -> float:
    """How far the bar is. The page's policy forbids the strings that playwright's own waiting would evaluate."""
    value: float = page.locator(f"{where}progress").evaluate("bar => bar.value")
    return value


def schemes(page: Page) -> Iterator[Literal["light", "dark"]]:
    """The page in one colour scheme after the other."""
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
        assert dark == (scheme == "dark")
        yield scheme


def campaign_of(page: Page) -> str:
    page.wait_for_url("**/campaigns/*")
    return page.url.rpartition("/")[2]


def send(page: Page) -> int:
    """Press the button, type the number if it is asked for, confirm; the number of phones."""
    page.click("#send")
    page.wait_for_selector("#yes")
    phones = number(page.inner_text("#confirm-title"))
    if page.locator("#typed").count():
        assert page.locator("#yes").is_disabled()
        page.fill("#typed", str(phones))
    page.click("#yes")
    return phones


def test_compose_preview_confirm_progress_done(stage: Stage) -> None:
    """An admin writes, sees a member's lock screen, confirms the number, and watches it arrive."""
    with stage.page() as page:
        stage.choose(page, "Hi ")
        page.click("text=First name")
        assert page.input_value("#message") == "Hi {first_name|there}"
        page.type("#message", ", double points today! You have {points} points.")
        page.wait_for_selector("#rendered:has-text('double points today')")
        assert "{" not in page.inner_text("#rendered")
        assert page.inner_text("#count") == str(len(page.input_value("#message")))
        page.fill("#name", "Double points Saturday")
        picture(page, "compose")
        page.click("#send")
        page.wait_for_selector("#typed")
        title = page.inner_text("#confirm-title")
        assert re.fullmatch(r"This will buzz [\d,]+ phones\. Are you sure\?", title)
        picture(page, "confirm", full=False)
        phones = number(title)
        page.fill("#typed", "1")
        assert page.locator("#yes").is_disabled()
        page.fill("#typed", f"{phones:,}")
        page.click("#yes")
        campaign = campaign_of(page)
        wait_until(lambda: progress(page) > 0, "the bar moves")
        assert page.locator(".badge.processing").count() == 1
        seen = progress(page)
        wait_until(lambda: progress(page) > seen, "the bar moves on, without a reload")
        page.wait_for_selector(".chart rect")
        stage.hasten(campaign)
        page.wait_for_selector(".badge.completed", timeout=60_000)
        page.wait_for_selector("#ledger tbody tr")
        done = stage.scene.until(campaign)  # type: ignore[arg-type]
        assert done["sent_count"] == done["recipient_count"] == phones


def test_d3_a_notice_stays_and_back_keeps_the_text(stage: Stage) -> None:
    """A refusal stays while the message is mended, until it is dismissed; Back keeps the text."""
    with stage.page(expect="400") as page:
        stage.choose(page, "Hi {nobody}")
        page.click("#send")
        page.wait_for_selector("#notice .notice")
        page.fill("#message", "Hi {first_name}, tea is ready")
        page.wait_for_selector("#rendered:has-text('tea is ready')")
        assert "Unknown placeholder {nobody}" in page.inner_text("#notice")
        page.click("#notice [data-dismiss]")
        assert page.locator("#notice .notice").count() == 0
        page.click("#send")
        page.wait_for_selector("#confirm[open]")
        page.click("#confirm >> text=Back")
        assert page.input_value("#message") == "Hi {first_name}, tea is ready"
        page.goto(f"{stage.web.url}/status")
        page.go_back()
        assert page.input_value("#message") == "Hi {first_name}, tea is ready"


def unbroken(route: Route) -> None:
    """The style without its rule for long words: the defect as it was."""
    answer = route.fetch()
    style = answer.text()
    assert "overflow-wrap: anywhere" in style
    route.fulfill(response=answer, body=style.replace("overflow-wrap: anywhere", ""))


def test_d3_a_long_program_name_fits_a_phone(stage: Stage) -> None:
    """With a program name of 200 letters no page scrolls sideways on a phone, and the menu can be seen."""
    program = stage.scene.program("Aurora" * 33)
    stage.scene.campaign(program, "Hello", name="Campaign" * 24, status="DRAFT")
    try:
        with stage.page("/status") as page:
            page.set_viewport_size({"width": 390, "height": 844})
            for path in (
                "/",
                "/history",
                f"/birthdays?program={program}",
                f"/programs/{program}",
                "/automations",
            ):
                page.goto(stage.web.url + path)
                page.wait_for_load_state("networkidle")
                assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
                assert page.evaluate(CUT) == [], path
                last = page.locator("nav a", has_text="Status").bounding_box()
                assert last
                assert last["x"] + last["width"] <= 390, path
            stage.scene.member(program, user={"first_name": "Ada" * 30}, external_id="7" * 60)
            page.goto(f"{stage.web.url}/")
            page.select_option("#program", str(program))
            page.fill("#message", "Hi {first_name}, " + "very " * 40)
            page.wait_for_selector("#rendered:has-text('AdaAdaAda')")
            glass, text = (page.locator(place).bounding_box() for place in (".glass", "#rendered"))
            assert glass
            assert text
            assert text["x"] + text["width"] <= glass["x"] + glass["width"] <= 390
            # Without the rule that breaks long words the same look finds the name cut, on each page that shows it.
            page.route("**/style*.css*", unbroken)
            for path in ("/history", f"/birthdays?program={program}", f"/programs/{program}"):
                page.goto(stage.web.url + path)
                page.wait_for_load_state("networkidle")
                assert page.evaluate(CUT), path
            zone = page.evaluate("Intl.DateTimeFormat().resolvedOptions().timeZone")
            assert f"Times are in {zone}" in page.inner_text("footer")
    finally:
        stage.scene.conn.execute("delete from passes_master where program_id = %s", [program])
        stage.scene.conn.execute("delete from push_campaigns where program_id = %s", [program])
        stage.scene.conn.execute("delete from programs where id = %s", [program])


def test_csv_upload(stage: Stage) -> None:
    """An uploaded list says how many it reaches before anything is sent, and buzzes exactly those."""
    rows = stage.scene.rows(
        "select external_id from passes_master where program_id = %s order by external_id limit 150",
        [stage.program],
    )
    content = "\n".join(["member_id", *(row["external_id"] for row in rows), "nobody"])
    with stage.page() as page:
        stage.choose(page, "Only for our guests tonight")
        page.check("input[name=audience][value=csv]")
        page.set_input_files(
            "#csvFile", {"name": "guests.csv", "mimeType": "text/csv", "buffer": content.encode()}
        )
        assert "guests.csv" in page.inner_text("#file-name")
        page.click("#send")
        page.wait_for_selector("#confirm-title")
        assert "1 row of the list matches no member" in page.inner_text("#confirm-form")
        phones = number(page.inner_text("#confirm-title"))
        page.click("#yes")
        campaign = campaign_of(page)
        page.wait_for_selector(".badge.completed", timeout=60_000)
        assert stage.scene.until(campaign)["sent_count"] == phones  # type: ignore[arg-type]


def test_a_list_that_is_not_confirmed_leaves_nothing(stage: Stage) -> None:
    """Escape or "Back" discards the draft of an uploaded list."""
    before = stage.scene.value("select count(*) from push_campaigns")
    member = stage.scene.value(
        "select external_id from passes_master where program_id = %s and status = 'INSTALLED' limit 1",
        [stage.program],
    )
    file = {"name": "one.csv", "mimeType": "text/csv", "buffer": f"member_id\n{member}".encode()}
    with stage.page() as page:
        # A slow phone: htmx wires the buttons long after their text is there.
        page.evaluate("htmx.config.defaultSettleDelay = 400")
        for leave in ("escape", "button"):
            stage.choose(page, "Never mind")
            page.check("input[name=audience][value=csv]")
            page.set_input_files("#csvFile", file)
            page.click("#send")
            page.wait_for_selector("#confirm[open]")
            if leave == "escape":
                page.keyboard.press("Escape")
            else:
                page.click("#confirm >> text=Back")
            page.wait_for_selector("#confirm:not([open])", state="attached")
            wait_until(
                lambda: stage.scene.value("select count(*) from push_campaigns") == before, "no draft is left"
            )


def test_pause_and_resume(stage: Stage) -> None:
    """Pause stops within a moment and resume goes on with the rest, without a reload."""
    with stage.page() as page:
        stage.choose(page, "A message that is paused on its way")
        phones = send(page)
        campaign = campaign_of(page)
        page.goto(f"{stage.web.url}/history")
        row = page.locator("tr", has=page.locator(f"#state-{campaign}"))
        wait_until(lambda: progress(page, f"#meter-{campaign} ") > 0, "the bar moves")
        picture(page, "history")
        row.get_by_role("button", name="Pause").click()
        row.locator(".badge.paused").wait_for()
        assert "Paused by marketing" in row.inner_text()
        stage.scene.until_quiet()
        assert stage.scene.order(campaign)["sent_count"] < phones  # type: ignore[arg-type]
        row.get_by_role("button", name="Resume").click()
        row.locator(".badge.processing").wait_for()
        stage.hasten(campaign)
        row.locator(".badge.completed").wait_for(timeout=60_000)
        assert stage.scene.until(campaign)["sent_count"] == phones  # type: ignore[arg-type]


def test_wrong_key(stage: Stage) -> None:
    """A wrong key is told in a sentence that screen readers announce."""
    with stage.page("/login", expect="status of 401", storage_state=None) as page:
        page.fill("#key", "not-a-key")
        with page.expect_response("**/login") as answer:
            page.click("button.primary")
        assert answer.value.status == 401
        page.wait_for_selector("#key-error[role=alert]")
        assert page.get_attribute("#key", "aria-describedby") == "key-error"


def test_audience_moved(stage: Stage) -> None:
    """If the audience changed meanwhile, nothing is sent and the new number is shown."""
    with stage.page() as page:
        stage.choose(page, "An audience that moves")
        page.check("input[name=audience][value=segment]")
        page.select_option("#segment", "WHALE")
        page.click("#send")
        page.wait_for_selector("#confirm-title")
        before = number(page.inner_text("#confirm-title"))
        stage.scene.conn.execute(
            "update users set marketing_opt_in = false where id in (select p.user_id from passes_master p"
            " join users u on u.id = p.user_id where p.program_id = %s and p.points_balance > 500"
            " and p.status = 'INSTALLED' and p.is_active and u.marketing_opt_in is not false limit 3)",
            [stage.program],
        )
        if page.locator("#typed").count():
            page.fill("#typed", str(before))
        page.click("#yes")
        page.wait_for_selector("#confirm-problem")
        after = number(page.inner_text("#confirm-title"))
        assert after < before
        assert f"{after:,} phones now" in page.inner_text("#confirm-problem")
        page.click("#confirm >> text=Back")
        assert not stage.scene.rows(
            "select 1 from push_campaigns where message_text = 'An audience that moves'"
        )


def test_a_hostile_name(stage: Stage) -> None:
    """A member who is called like a script is shown, not run."""
    evil = "<img src=x onerror=document.title='owned'>"
    program = stage.scene.program("<b>Bold</b> Club")
    stage.scene.member(program, user={"first_name": evil})
    with stage.page() as page:
        page.select_option("#program", str(program))
        page.fill("#message", "Hi {first_name}")
        page.wait_for_selector("#rendered")
        assert page.inner_text("#rendered") == f"Hi {evil}"
        assert page.locator("#screen img").count() == 0
        assert "owned" not in page.title()


def test_mobile_width(stage: Stage) -> None:
    """On a phone nothing is wider than the screen, and the dialog fits, in the light and in the dark."""
    with stage.page("/docs", viewport={"width": 390, "height": 844}, has_touch=True) as page:
        for path in ("/docs", *reversed(PAGES)):
            if path != "/docs":
                page.goto(stage.web.url + path)
            for scheme in schemes(page):
                width = page.evaluate("document.documentElement.scrollWidth")
                assert width <= 390, (path, scheme)
        stage.choose(page, "On the go")
        page.wait_for_selector("#rendered")
        page.click("#send")
        page.wait_for_selector("#confirm-title")
        for scheme in schemes(page):
            box = page.locator("#confirm").bounding_box()
            assert box
            assert box["x"] >= 0, scheme
            assert box["x"] + box["width"] <= 390, scheme


def test_by_keyboard_alone(stage: Stage) -> None:
    """A push can be written and sent by keyboard alone; the dialog keeps the focus and gives it back."""
    with stage.page() as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to content"
        page.keyboard.press("Enter")
        page.focus("#message")
        page.keyboard.type("By keyboard")
        page.focus("#send")
        page.keyboard.press("Enter")
        page.wait_for_selector("#confirm[open]")
        # Never on the page behind it. (The browser's own bar counts as the body.)
        behind = "document.querySelector('#compose').contains(document.activeElement)"
        for _ in range(3):
            assert not page.evaluate(behind)
            page.keyboard.press("Shift+Tab")
        page.keyboard.press("Escape")
        page.wait_for_selector("#confirm:not([open])", state="attached")
        assert page.evaluate("document.activeElement.id") == "send"


def test_test_send(stage: Stage) -> None:
    """A test goes to one pass, and the page says where to follow it."""
    member = stage.scene.value(
        "select p.external_id from passes_master p left join users u on u.id = p.user_id where p.program_id = %s"
        " and p.status = 'INSTALLED' and p.is_active and u.marketing_opt_in is not false limit 1",
        [stage.program],
    )
    with stage.page() as page:
        stage.choose(page, "Just a test")
        page.fill("#external_id", member)
        page.click("text=Send test")
        page.click("#tested a")
        campaign = campaign_of(page)
        page.wait_for_selector(".badge.completed")
        assert stage.scene.order(campaign)["recipient_count"] == 1  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, fetched from npm."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm to fetch axe-core with")
    folder = tmp_path_factory.mktemp("axe")
    fetched = subprocess.run(
        [npm, "pack", "axe-core@4", "--silent"], cwd=folder, check=False, capture_output=True, timeout=100
    )
    archives = list(folder.glob("*.tgz"))
    if fetched.returncode or not archives:
        pytest.skip("axe-core cannot be fetched from npm")
    with tarfile.open(archives[0]) as archive:
        source = archive.extractfile("package/axe.min.js")
        assert source
        return source.read().decode()


def test_no_serious_violation(stage: Stage, axe: str) -> None:
    """axe-core finds nothing serious on any page, nor in the dialog, in the light and in the dark."""
    campaign = stage.scene.value("select (select id from push_campaigns order by created_at desc limit 1)")
    paths = [*PAGES, f"/programs/{stage.program}", "/docs", "/login"]
    paths += [f"/campaigns/{campaign}"] if campaign else []
    with stage.page("/login") as page:
        for path in reversed(paths):
            page.goto(stage.web.url + path)
            page.wait_for_load_state("networkidle")
            assert not serious(page, axe), path
        stage.choose(page, "For everybody")
        page.check("input[name=audience][value=segment]")
        page.wait_for_selector("#rendered")
        assert not serious(page, axe), "compose"
        page.check("input[name=audience][value=all]")
        page.click("#send")
        page.wait_for_selector("#confirm[open]")
        assert not serious(page, axe), "dialog"


def serious(page: Page, axe: str) -> list[str]:
    """What axe-core finds in either scheme."""
    page.evaluate(axe)
    found = []
    for scheme in schemes(page):
        # The schemes differ in colours alone, so the other rules are judged once.
        rules = {"dark": {"runOnly": ["color-contrast", "link-in-text-block"]}}.get(scheme, {})
        options = {"resultTypes": ["violations"], **rules}
        found += page.evaluate("async (options) => (await axe.run(document, options)).violations", options)
    return [
        f"{one['id']}: {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
        for one in found
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"][:3]
    ]
