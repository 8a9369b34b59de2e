"""The report in a real browser: filters and counts, opening and closing clips by mouse and by keyboard alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser
from scoredclips import EVIL, FRAMES, ledger_of, scored

from trajkit.curation.report import ReportOptions, gather, write

TAB, ENTER, ESCAPE, DOWN, RIGHT = "\ue004", "\ue007", "\ue00c", "\ue015", "\ue014"


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("scored")
    scored(folder)
    page, _ = write(gather([folder], ReportOptions(title=EVIL)), folder.parent / "report.html")
    return page.as_uri()


@pytest.fixture
def browser(window: Browser, address: str) -> Iterator[Browser]:
    """The page, freshly opened; afterwards the console must be empty."""
    window.open("about:blank")
    window.complaints()
    load(window, address)
    yield window
    assert window.complaints() == []
    assert window.run("return document.documentElement.dataset.error || ''") == ""


def load(browser: Browser, address: str) -> None:
    browser.open(address)
    browser.until("document.documentElement.dataset.ready === 'true'")


def text(browser: Browser, selector: str) -> str:
    return browser.run("return document.querySelector(arguments[0]).textContent", selector)


def cards(browser: Browser) -> list[str]:
    return browser.run("return [...document.querySelectorAll('#cards b')].map((b) => b.textContent)")


def choose(browser: Browser, selector: str, value: str) -> None:
    browser.run(
        "const s = document.querySelector(arguments[0]); s.value = arguments[1]; s.dispatchEvent(new Event('change'))",
        selector,
        value,
    )


def press(browser: Browser, key: str) -> None:
    """A key for whatever has the focus, as a person at the keyboard."""
    down = {"type": "key", "actions": [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}], "id": "k"}
    browser._call("POST", f"{browser.session}/actions", {"actions": [down]})


def test_all_clips_are_listed_worst_first(browser: Browser) -> None:
    assert text(browser, "#count") == "8 clips shown of 8"
    assert cards(browser) == ["d-jump", "f-drift", "c-turn", "b-copy", "a-clean", "e-still", "g-unscored", "h-broken"]
    choose(browser, "#order", "best")
    assert cards(browser)[:2] == ["a-clean", "b-copy"]
    choose(browser, "#order", "key")
    assert cards(browser) == sorted(cards(browser))


@pytest.mark.parametrize(
    ("selector", "value", "wanted"),
    [
        ("#by-state", "rejected", ["d-jump", "f-drift", "h-broken"]),
        ("#by-state", "unjudged", ["g-unscored"]),
        ("#by-kind", "estimated", ["d-jump", "c-turn", "e-still"]),
        ("#by-motion", "rotation", ["c-turn"]),
        ("#by-source", EVIL, ["d-jump", "f-drift", "c-turn", "b-copy", "a-clean", "e-still"]),
    ],
)
def test_filters(browser: Browser, selector: str, value: str, wanted: list[str]) -> None:
    choose(browser, selector, value)
    assert cards(browser) == wanted
    assert text(browser, "#count") == f"{len(wanted)} clip{'s' * (len(wanted) != 1)} shown of 8"
    browser.click("#filters [type=reset]")
    browser.until("document.querySelectorAll('#cards li').length === 8")


def test_filters_add_up_and_keys_are_searched(browser: Browser) -> None:
    choose(browser, "#by-state", "rejected")
    browser.click("#by-key")
    browser.keys("#by-key", "DRIFT")
    assert cards(browser) == ["f-drift"]
    browser.keys("#by-key", "x")
    assert text(browser, "#count") == "0 clips shown of 8"


def test_a_reason_leads_to_its_clips(browser: Browser) -> None:
    browser.click("[data-reason='score: induced']")
    browser.until("document.querySelectorAll('#cards li').length === 2")
    assert cards(browser) == ["d-jump", "f-drift"]
    assert browser.run("return document.activeElement.id") == "by-code"
    assert not browser.run("return document.querySelector(\"[data-reason='render: clearance']\")")


def test_a_clip_opens_and_escape_closes_it(browser: Browser) -> None:
    browser.click("#cards li:nth-child(1) button")
    assert browser.run("return document.querySelector('#clip').open")
    assert text(browser, "#clip-key") == "d-jump"
    assert text(browser, "#clip-state") == "\u2715 rejected"
    assert "6.2 px, threshold 1.5 px" in text(browser, "#clip-reasons")
    assert "Frames to blame: 3 to 4" in text(browser, "#clip-reasons")
    assert text(browser, "#clip-now") == "frame 3, 0.19 s, to blame; picture of frame 3"
    assert browser.run("return document.querySelectorAll('#clip-courses svg').length") == 1
    assert browser.run("return document.querySelectorAll('#clip-courses .blamed').length") == 1
    assert browser.run("return location.hash") == "#clip=d-jump"
    press(browser, ESCAPE)
    assert not browser.run("return document.querySelector('#clip').open")
    assert browser.run("return document.activeElement === document.querySelector('#cards li:nth-child(1) button')")


def test_the_path_is_drawn_and_turns(browser: Browser) -> None:
    browser.click("#cards li:nth-child(1) button")
    picture = "view.paint(); return view.canvas.toDataURL()"
    seen = [browser.run(picture)]
    browser.run("view.canvas.focus()")
    browser.keys("#clip-view", RIGHT)
    seen.append(browser.run(picture))
    browser.keys("#clip-view", "0")
    seen.append(browser.run(picture))
    browser.click("[data-mode=top]")
    seen.append(browser.run(picture))
    assert len(set(seen)) == 3
    assert seen[0] == seen[2]
    assert browser.run("return document.querySelector('[data-mode=top]').getAttribute('aria-pressed')") == "true"


def test_the_slider_moves_pictures_cursor_and_camera(browser: Browser) -> None:
    browser.click("#cards li:nth-child(1) button")
    browser.run("seek(0); scrub.focus()")
    browser.keys("#clip-scrub", RIGHT * 2)
    assert browser.run("return [pose, view.frame, scrub.getAttribute('aria-valuetext')]") == [2, 2, "frame 2, 0.13 s"]
    at = browser.run(
        "const c = document.querySelector('.cursor'); return (c.getAttribute('x1') - 7) / (c.dataset.width - 14)"
    )
    assert at == pytest.approx(2 / (FRAMES - 1))
    browser.click("#clip-strip button:last-child")
    assert browser.run("return pose") == FRAMES - 1
    assert browser.run("return document.querySelector('#clip-picture').alt") == f"Frame {FRAMES - 1} of d-jump"


def test_evidence_is_a_table_too(browser: Browser) -> None:
    browser.click("#cards li:nth-child(1) button")
    browser.click("#clip-table summary")
    browser.until("document.querySelectorAll('#clip-table tbody tr').length > 0")
    rows = browser.run("return [...document.querySelectorAll('#clip-table tbody tr')].map((r) => r.innerText)")
    assert rows[3] == "3\t6.2"
    assert len(rows) == FRAMES
    label = "return document.querySelector('#clip-courses svg').getAttribute('aria-label')"
    assert browser.run(label) == "induced over time: worst 6.2 px at frame 3"
    assert "nothing to follow" in text(browser, "#clip-metrics")


def test_next_and_previous_keep_the_filter(browser: Browser) -> None:
    choose(browser, "#by-state", "undetermined")
    browser.click("#cards li:nth-child(1) button")
    browser.click("#clip-next")
    assert text(browser, "#clip-key") == "e-still"
    browser.click("#clip-next")
    assert text(browser, "#clip-key") == "e-still"
    browser.click("#clip-previous")
    assert text(browser, "#clip-key") == "c-turn"
    browser.click("#clip-close")
    assert browser.run("return document.activeElement === document.querySelector('#cards button')")


def test_keyboard_alone(browser: Browser) -> None:
    """Tab from the top: the skip link, then the filters, a card; Enter opens, Tab stays inside, Escape comes back."""
    press(browser, TAB)
    assert browser.run("return document.activeElement.className") == "skip"
    press(browser, ENTER)
    press(browser, TAB)
    assert browser.run("return document.activeElement.id") == "by-key"
    for _ in range(8):
        press(browser, TAB)
    assert browser.run("return document.activeElement.closest('#cards li') !== null")
    press(browser, ENTER)
    assert browser.run("return document.activeElement.id") == "clip-close"
    inside = []
    for _ in range(24):
        press(browser, TAB)
        inside.append(
            browser.run("return document.activeElement === document.body || $('clip').contains(document.activeElement)")
        )
    assert all(inside), "the dialog keeps the focus"
    press(browser, ESCAPE)
    assert browser.run("return document.activeElement.closest('#cards li') !== null")
    press(browser, "\ue008")


def test_clips_without_files_or_scores_open(browser: Browser) -> None:
    for key, words in (("h-broken", "no decoder"), ("g-unscored", ""), ("e-still", "nothing to follow")):
        browser.run("open(byKey.get(arguments[0]), [])", key)
        assert text(browser, "#clip-key") == key
        assert words in text(browser, "#clip-reasons")
    browser.run("open(byKey.get('h-broken'), [])")
    assert browser.run("return $('clip-view-figure').hidden && document.querySelector('dialog .picture').hidden")


def test_contact_sheets_open_clips(browser: Browser) -> None:
    assert browser.run("return document.querySelectorAll('#worst li').length") == 5
    assert browser.run("return document.querySelectorAll('#worst li:first-child img').length") == FRAMES
    assert browser.run("return document.querySelectorAll('#worst .plan line').length") == 5 * (FRAMES - 1)
    browser.click("#worst li:nth-child(2) button")
    assert text(browser, "#clip-key") == "f-drift"
    press(browser, ESCAPE)
    browser.click("#quality [data-open=d-jump]")
    assert text(browser, "#clip-key") == "d-jump"


def test_a_link_opens_a_clip(browser: Browser, address: str) -> None:
    browser.open("about:blank")
    load(browser, f"{address}#clip=c-turn")
    assert text(browser, "#clip-key") == "c-turn"


def test_strings_do_not_run(browser: Browser) -> None:
    for key in ("d-jump", "f-drift"):
        browser.run("open(byKey.get(arguments[0]), [])", key)
    assert text(browser, "h1") == EVIL
    assert browser.run("return document.title") == EVIL
    assert browser.run("return window.ran === undefined")
    assert browser.run("return document.querySelectorAll('script').length") == 2
    assert EVIL in text(browser, "#clip-facts")
    assert browser.run(
        "return [...document.images].every((image) => /^(data:|$)/.test(image.getAttribute('src') ?? ''))"
    )


def test_nothing_leaves_the_page(browser: Browser) -> None:
    asked = "return performance.getEntriesByType('resource').map((entry) => entry.name.slice(0, 5))"
    assert set(browser.run(asked)) <= {"data:"}
    browser.run("const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)")
    assert browser.run("return window.ran === undefined")
    assert any("Content Security Policy" in line for line in browser.complaints())


def test_everything_has_a_name(browser: Browser) -> None:
    browser.run("open(items[0], items)")
    nameless = """
        const named = (e) => e.textContent.trim() || e.getAttribute("aria-label") || e.getAttribute("aria-labelledby")
          || e.labels?.[0]?.textContent.trim();
        const tags = "button, input, select, canvas, svg[role], nav, dialog, [role=group], table";
        return [...document.querySelectorAll(tags)].filter((e) => !named(e)).map((e) => e.outerHTML)"""
    assert browser.run(nameless) == []
    assert browser.run("return [...document.images].every((image) => image.hasAttribute('alt'))")
    assert browser.run("return [...document.querySelectorAll('table')].every((t) => t.caption?.textContent.trim())")


CONTRAST = """
    const light = (rgb) => rgb.map((x) => x / 255).map((x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4))
      .reduce((sum, x, k) => sum + x * [0.2126, 0.7152, 0.0722][k], 0);
    const parse = (text) => text.match(/[\\d.]+/g).map(Number);
    const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c; } return parse(getComputedStyle(document.body).backgroundColor); };
    const over = (c, under) => (c.length < 4 ? c : c.slice(0, 3).map((x, k) => x * c[3] + under[k] * (1 - c[3])));
    const surface = parse(getComputedStyle(document.querySelector(".spread")).backgroundColor);
    const bad = [];
    const tags = "p, span, td, th, b, small, button, a, li, dt, dd, h1, h2, h3, summary, figcaption";
    for (const e of document.querySelectorAll(tags)) {
      const told = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
      if (!told || !e.getClientRects().length) continue;
      const pair = [over(parse(getComputedStyle(e).color), surface), over(ground(e), surface)].map(light);
      const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
      if (ratio < 4.5) bad.push([e.outerHTML.slice(0, 80), ratio]);
    }
    return bad"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_contrast(browser: Browser, theme: str) -> None:
    browser.media(prefers_color_scheme=theme)
    browser.until(f"matchMedia('(prefers-color-scheme: {theme})').matches")
    assert browser.run(CONTRAST) == []
    browser.media(prefers_color_scheme="light")


def test_a_narrow_window_does_not_scroll_sideways(browser: Browser) -> None:
    narrow = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.command("Emulation.setDeviceMetricsOverride", narrow)
    browser.until("innerWidth === 400")
    assert browser.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    browser.run("open(items[0], items)")
    assert browser.run("return $('clip').scrollWidth <= $('clip').clientWidth")
    browser.command("Emulation.clearDeviceMetricsOverride", {})


def test_print_leaves_out_what_needs_a_screen(browser: Browser) -> None:
    browser.command("Emulation.setEmulatedMedia", {"media": "print"})
    shown = "return arguments[0].map((s) => document.querySelector(s).getClientRects().length > 0)"
    assert browser.run(shown, [".toc", "#explore", "#sheets", "#numbers"]) == [False, False, True, True]
    browser.command("Emulation.setEmulatedMedia", {"media": ""})


def test_a_large_set_counts_all_and_shows_some(window: Browser, tmp_path: Path) -> None:
    ledger_of(tmp_path, 2000, metrics=2)
    report = gather([tmp_path], ReportOptions(limit=150))
    page, _ = write(report, tmp_path / "report.html")
    window.open("about:blank")
    window.complaints()
    load(window, page.as_uri())
    assert text(window, "#count") == "150 clips shown; 2\u202f000 of all 2\u202f000 match"
    choose(window, "#by-state", "rejected")
    rejected = report.value("rejected")
    assert text(window, "#count").endswith(f"; {rejected} of all 2\u202f000 match")
    choose(window, "#by-state", "")
    assert len(cards(window)) == 60
    window.click("#more")
    assert len(cards(window)) == 120
    assert window.run("return document.activeElement.closest('li') === $('cards').children[60]")
    choose(window, "#by-source", "other")
    others = report.tables.clips.filter(~report.tables.clips["source"].is_in(sorted(set(known(report))))).height
    assert text(window, "#count").endswith(f"; {others} of all 2\u202f000 match")
    window.keys("#by-key", "clip-0001")
    assert "keys are searched among the 150 in detail" in text(window, "#count")
    assert window.complaints() == []


def known(report: object) -> list[str]:
    from trajkit.curation.report.items import content

    return content(report)["names"]["source"]  # type: ignore[arg-type]
