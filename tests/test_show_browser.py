"""The page of `trajkit show` in a real browser: it runs, it answers to mouse and keys, it lets nothing in or out."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from showclips import EVIL, FRAMES, LENS, walk, write_clips, write_refused

from trajkit import se3
from trajkit.show import ShowOptions, find, show
from trajkit.show.exhibit import exhibit
from trajkit.show.gather import Gathered
from trajkit.show.page import page
from trajkit.show.place import Place, View, cloud_of_views
from trajkit.trajectory import Trajectory

LEFT, RIGHT = "\ue012", "\ue014"  # WebDriver's arrow keys


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_clips(folder)
    return folder


@pytest.fixture(scope="module")
def address(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page")
    show(find([clips]), out, ShowOptions())
    return (out / "index.html").as_uri()


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


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


def picture(browser: Browser) -> str:
    """The canvas, painted now, as a data URI."""
    return browser.run("view.paint(); return view.canvas.toDataURL()")


@pytest.fixture
def refused(window: Browser, tmp_path: Path) -> Iterator[Browser]:
    """The page of the same clips and three refused paths; afterwards the console must be empty."""
    write_clips(tmp_path / "clips")
    write_refused(tmp_path / "clips")
    show(find([tmp_path / "clips"]), tmp_path / "page", ShowOptions())
    window.open("about:blank")
    window.complaints()
    load(window, (tmp_path / "page/index.html").as_uri())
    yield window
    assert window.complaints() == []


def test_it_lists_and_selects(browser: Browser) -> None:
    assert text(browser, "#summary") == "4 clips; 1 scene; 46 frames"
    assert browser.run("return [...document.querySelectorAll('#clips b')].map((b) => b.textContent)") == [
        "hall-a",
        "hall-b",
        "street",
        "the-one",
    ]
    assert text(browser, "#key") == "hall-a"
    before = picture(browser)
    browser.click("#clips li:nth-child(3) button")
    assert text(browser, "#key") == "street"
    assert browser.run("return location.hash") == "#clip=street"
    assert text(browser, "#caption") == "caption of street, größer & <b>bold</b>"
    assert browser.run("return document.querySelectorAll('[aria-current=true] b')[0].textContent") == "street"
    assert picture(browser) != before


def test_a_link_selects_clip_view_and_frame(browser: Browser, address: str) -> None:
    browser.open("about:blank")
    load(browser, f"{address}#clip=hall-b&view=lens&frame=7")
    assert text(browser, "#key") == "hall-b"
    assert browser.run("return [view.mode, view.frame]") == ["lens", 7]
    browser.run("location.hash = '#clip=the-one'")
    browser.until("document.querySelector('#key').textContent === 'the-one'")


def test_captions_do_not_run(browser: Browser) -> None:
    assert text(browser, "#caption") == EVIL
    assert browser.run("return document.querySelectorAll('script').length") == 2
    assert browser.run("return [...document.images].every((image) => /^(data:|$)/.test(image.src))")
    browser.click("#clips li:nth-child(4) button")
    assert text(browser, "#path") == EVIL


def test_nothing_leaves_the_page(browser: Browser) -> None:
    asked = "return performance.getEntriesByType('resource').map((entry) => entry.name.slice(0, 5))"
    assert set(browser.run(asked)) <= {"blob:", "data:"}
    browser.run("const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)")
    assert browser.run("return window.ran === undefined"), "the policy lets foreign scripts run"
    assert any("Content Security Policy" in line for line in browser.complaints())


def test_keys_and_buttons_move_the_view(browser: Browser) -> None:
    seen = [picture(browser)]
    browser.run("view.canvas.focus()")
    for press in (LEFT, "+", "0"):
        browser.keys("#view", press)
        seen.append(picture(browser))
    assert len(set(seen)) == 3
    assert seen[0] == seen[3], "0 goes back to the fitted view"
    for mode in ("top", "lens"):
        browser.click(f"[data-mode={mode}]")
        seen.append(picture(browser))
    assert len(set(seen)) == 5
    assert browser.run("return document.querySelector('[data-mode=lens]').getAttribute('aria-pressed')") == "true"


def test_time_line(browser: Browser) -> None:
    browser.keys("#scrub", RIGHT * 3)
    assert browser.run("return [frame, view.frame, scrub.getAttribute('aria-valuetext')]") == [
        3,
        3,
        "frame 3, 0.30 s",
    ]
    assert "1 u/s" in text(browser, "#now")
    browser.click("#strip button:last-child")
    assert browser.run("return frame") == FRAMES - 1
    line = "return Number(document.querySelector('#plots .now').getAttribute('x1'))"
    assert browser.run(line) == pytest.approx(browser.run("return document.querySelector('#plots').clientWidth") - 7)
    browser.click("#play")
    browser.until(f"frame === {FRAMES - 1} && !playing")
    assert browser.run("return film.currentTime") > 1


def test_the_film_shows_the_frame_of_the_scrubber(browser: Browser) -> None:
    browser.run("seek(9)")
    browser.until("film.readyState >= 2 && !film.seeking")
    colour = """
        const c = document.createElement("canvas").getContext("2d"); c.drawImage(film, 0, 0);
        return [...c.getImageData(30, 20, 1, 1).data].slice(0, 3)"""
    assert browser.run(colour) == pytest.approx([155, 120, 95], abs=14)


def test_table_sorts(browser: Browser) -> None:
    column = "return [...table.tBodies[0].rows].map((row) => row.cells[0].textContent)"
    browser.run("[...table.tHead.rows[0].cells].find((c) => c.textContent === 'Length').firstChild.click()")
    assert browser.run(column)[0] == "the-one"
    browser.run("[...table.tHead.rows[0].cells].find((c) => c.textContent === 'Length').firstChild.click()")
    assert browser.run(column)[0] == "street"
    browser.click("#table tbody tr:nth-child(2) button")
    assert text(browser, "#key") in ("hall-a", "hall-b")


def test_everything_has_a_name(browser: Browser) -> None:
    nameless = """
        const named = (e) => e.textContent.trim() || e.getAttribute("aria-label") || e.getAttribute("aria-labelledby")
          || e.labels?.[0]?.textContent.trim();
        const all = document.querySelectorAll("button, input, canvas, svg[role], nav, [role=region]");
        return [...all].filter((e) => !named(e)).map((e) => e.outerHTML)"""
    assert browser.run(nameless) == []
    assert browser.run("return [...document.querySelectorAll('img')].every((image) => image.hasAttribute('alt'))")


def test_a_single_pose_is_shown(browser: Browser) -> None:
    browser.click("#clips li:nth-child(4) button")
    assert browser.run("return document.querySelectorAll('#plots polyline').length") == 0
    browser.click("#play")
    browser.until("!playing")
    picture(browser)


def test_lens_puts_points_on_their_pixels(browser: Browser) -> None:
    trajectory = Trajectory.from_camera(walk(), LENS, fps=10.0)
    points = np.array([[0.1, 0.2, 4.0], [-0.5, 0.1, 5.0], [0.7, -0.6, 6.0]])
    for index in (0, 6, 14):
        wanted = LENS.project(se3.transform(trajectory.world_to_camera[index], points))
        script = f"""
            view.frame = {index};
            const eye = view.eyeOfLens({2 * LENS.width}, {2 * LENS.height});
            return arguments[0].map((p) => view.project(eye, p).slice(0, 2).map((x) => x / 2))"""
        assert np.array(browser.run(script, points.tolist())) == pytest.approx(wanted, abs=1e-3)


def test_frusta_end_in_the_pictures_corners(browser: Browser) -> None:
    script = f"""
        view.frame = 5;
        const eye = view.eyeOfLens({LENS.width}, {LENS.height}), clip = view.clip;
        const points = view.corners(clip.poses, 5, clip.intrinsics(5), clip.width, clip.height, 0.7);
        return points.slice(1).map((p) => view.project(eye, p))"""
    w, h = LENS.width, LENS.height
    wanted = [[0, 0, 0.7], [w, 0, 0.7], [w, h, 0.7], [0, h, 0.7]]
    assert np.array(browser.run(script)) == pytest.approx(np.array(wanted), abs=1e-3)


def test_cloud_through_the_lens_is_the_picture(window: Browser, clips: Path, tmp_path: Path) -> None:
    """Points of a picture with depth, drawn through the camera that saw it, give the picture again."""
    one = exhibit(find([clips]).clips[0].read(), "hall-a")
    columns = np.arange(LENS.width) // 8 % 2
    rgb = np.where(columns[None, :, None], np.uint8([250, 30, 30]), np.uint8([30, 30, 250]))
    rgb = np.broadcast_to(rgb, (LENS.height, LENS.width, 3))
    depth = np.full((LENS.height, LENS.width), 3.0, np.float32)
    cloud = cloud_of_views([View(rgb, depth, LENS, walk()[0])], 10_000, np.random.default_rng(0))
    places = {"hall": Place(id="hall", up=np.array([0.0, -1.0, 0.0]), cloud=cloud)}
    (tmp_path / "index.html").write_bytes(page(Gathered(exhibits=[one], places=places, total=1)))
    load(window, (tmp_path / "index.html").as_uri() + "#view=lens")
    script = """
        view.clip.n = 1; view.paint();  // no path ahead of the camera
        const [left, top, w, h] = view.eyeOfLens(view.canvas.clientWidth, view.canvas.clientHeight).window;
        const s = view.canvas.width / view.canvas.clientWidth, y = Math.round((top + h / 2) * s);
        return [12, 20, 28, 36, 44, 52].map((u) => {
          const x = Math.round((left + (u / arguments[0]) * w) * s);
          return [...view.context.getImageData(x, y, 1, 1).data].slice(0, 3);
        });"""
    drawn = window.run(script, LENS.width)
    for rgb_drawn, wanted in zip(drawn, [(250, 30, 30), (30, 30, 250)] * 3, strict=True):
        assert rgb_drawn == pytest.approx(wanted, abs=6)
    painted = """
        const { east, north } = view.basis, towards = [0, 0, arguments[0]];
        view.setMode("orbit");
        const yaw = Math.atan2(dot(towards, north), dot(towards, east));
        view.orbit = { yaw, pitch: 0, distance: 6, target: [0, 0, 3] };
        view.paint();
        return view.pixels.filter(Boolean).length"""
    assert window.run(painted, -1) > 1000
    assert window.run(painted, 1) == 0, "a wall is not drawn from behind"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_themes(browser: Browser, theme: str) -> None:
    browser.media(prefers_color_scheme=theme)
    browser.until(f"matchMedia('(prefers-color-scheme: {theme})').matches")
    browser.until("view.theme.sky === getComputedStyle(document.documentElement).getPropertyValue('--sky').trim()")
    corner = browser.run("view.paint(); return [...view.context.getImageData(2, 2, 1, 1).data]")
    assert (sum(corner[:3]) > 3 * 200) == (theme == "light")
    browser.media(prefers_color_scheme="light")


# ---- refused paths ----------------------------------------------------------------------------------------------


def test_checkboxes_hide_the_other_paths(refused: Browser) -> None:
    assert text(refused, "#legend-refused").strip() == "refused (3)"
    assert text(refused, "#legend-clip").strip() == "other clips (1)"
    everything = picture(refused)
    refused.click("#show-refused")
    without = picture(refused)
    refused.keys("#show-clip", " ")
    bare = picture(refused)
    assert len({everything, without, bare}) == 3
    refused.keys("#show-clip", " ")
    refused.click("#show-refused")
    assert picture(refused) == everything
    refused.click("#clips li:nth-child(3) button")
    assert refused.run("return document.querySelector('#legend-refused').hidden"), "another scene has none"


def red(browser: Browser) -> int:
    """Pixels of the canvas, painted now, in the colour of what is wrong."""
    return browser.run("""
        view.paint();
        const wanted = view.theme.bad.match(/\\w\\w/g).map((x) => parseInt(x, 16));
        const { width, height } = view.canvas;
        const copy = Object.assign(document.createElement("canvas"), { width, height });
        const context = copy.getContext("2d", { willReadFrequently: true });
        context.drawImage(view.canvas, 0, 0);
        const { data } = context.getImageData(0, 0, copy.width, copy.height);
        const off = (i) => wanted.reduce((sum, x, k) => sum + Math.abs(data[i + k] - x), 0);
        let count = 0;
        for (let i = 0; i < data.length; i += 4) count += off(i) < 12;
        return count""")


def test_choosing_a_refused_path_shows_the_frame_to_blame(refused: Browser) -> None:
    refused.click("#show-refused")
    assert red(refused) == 0
    refused.click("#refused-table tbody tr:nth-child(2) button")
    assert text(refused, "#key") == "hall-refused-1"
    assert refused.run("return [frame, view.frame, chosen.kind]") == [6, 6, "refused"]
    assert "refused: clearance" in text(refused, "#now")
    assert red(refused) > 50, "its cameras to blame are marked though the others are hidden"
    assert refused.run("return document.querySelectorAll('#plots .blamed').length") == 4, "two frames, two plots"
    assert text(refused, "#caption") == "clearance 0.031 is below 0.15 at frame 6"
    assert "0.4 against 0.9 at frame 11" in text(refused, "#facts")
    assert text(refused, "#place").endswith("3 of 5 paths refused: clearance 3, unseen 1")
    assert refused.run("return document.querySelector('.screen').hidden"), "there is no picture"
    assert refused.run("return location.hash") == "#clip=hall-refused-1"
    assert "refused path of hall-refused-1" in refused.run("return view.canvas.getAttribute('aria-label')")
    refused.run("seek(2)")
    assert "refused" not in text(refused, "#now")
    refused.click("#play")
    refused.until(f"frame === {FRAMES - 1} && !playing")


def test_crosses_lie_on_the_frame_to_blame(refused: Browser) -> None:
    found = refused.run("""
        const path = items.find((item) => item.id === "hall-refused-2"), seen = [];
        const eye = view.eyeOfOrbit(view.canvas.clientWidth, view.canvas.clientHeight);
        const line = view.line;
        view.line = (ends) => seen.push(ends);
        paintCross(view, eye, path, [...blamed(path).keys()][0], 4);
        view.line = line;
        const [x, y] = view.project(eye, centreOf(path.poses, 6)), points = seen.flat();
        const off = (k, at) => points.reduce((sum, p) => sum + p[k] - at, 0);
        return [seen.length, off(0, x), off(1, y)];""")
    assert found == [4, pytest.approx(0, abs=1e-6), pytest.approx(0, abs=1e-6)]


def test_refused_paths_are_dashed(refused: Browser) -> None:
    script = """
        const eye = view.eyeOfOrbit(view.canvas.clientWidth, view.canvas.clientHeight), seen = [];
        const line = view.line;
        view.line = () => seen.push([view.context.getLineDash().length, view.context.lineDashOffset]);
        const path = view.others.find((item) => item.kind === "refused");
        paintLine(view, eye, path, { colourOf: () => "red", thickness: 1, dashed: true });
        view.line = line;
        const dashed = seen.every(([dashes]) => dashes === 2);
        const going = seen.every(([, at], k) => !k || at > seen[k - 1][1]);
        return [dashed, going, view.context.getLineDash().length]"""
    assert refused.run(script) == [True, True, 0]


def test_text_of_refused_paths_does_not_run(refused: Browser) -> None:
    refused.click("#refused li:nth-child(1) button")
    assert text(refused, "#caption") == EVIL
    assert text(refused, "#path") == EVIL
    assert EVIL in text(refused, "#refused-table tbody tr:nth-child(1)")
    assert refused.run("return document.querySelectorAll('script').length") == 2


def test_refused_table_sorts_by_number(refused: Browser) -> None:
    head = "[...document.querySelectorAll('#refused-table th')].find((c) => c.textContent === 'Measure').firstChild"
    cells = refused.run("return document.querySelector('#refused-table tbody tr:nth-child(2)').innerText").split("\t")
    assert cells[4:] == ["clearance\nunseen", "0.031\n0.4", "0.15\n0.9", "6\n11", "8"]
    refused.run(f"{head}.click(); {head}.click()")
    assert refused.run(f"return {head}.parentNode.getAttribute('aria-sort')") == "descending"
    assert text(refused, "#refused-note") == "3 of 7 paths refused: clearance 3, unseen 1"


def test_a_narrow_window_does_not_scroll_sideways(refused: Browser) -> None:
    narrow = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    refused.command("Emulation.setDeviceMetricsOverride", narrow)
    refused.click("#refused li:nth-child(2) button")
    refused.until("innerWidth === 400")
    assert refused.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    refused.command("Emulation.clearDeviceMetricsOverride", {})


def test_cameras_of_a_scene(window: Browser, tmp_path: Path) -> None:
    show(find(["toy:"]), tmp_path, ShowOptions())
    window.open("about:blank")
    window.complaints()
    load(window, (tmp_path / "index.html").as_uri())
    assert text(window, "#key") == "toy-0"
    window.keys("#scrub", RIGHT * 3)
    assert text(window, "#now") == "camera 3"
    assert text(window, "#picture-note") == "Camera 3 of 60. The nearest of 8 stills, that of 0."
    assert window.run("return document.querySelector('#table').closest('.tabled').hidden")
    assert window.run("return document.querySelectorAll('#plots svg').length") == 0
    window.click("[data-mode=lens]")
    picture(window)
    assert window.complaints() == []
