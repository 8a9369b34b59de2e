"""The whole pipeline on the built-in scene: what `make demo` runs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trajkit import files
from trajkit.check import check, summary
from trajkit.errors import TrajkitError
from trajkit.pack import pack
from trajkit.poses import nerfstudio
from trajkit.render import RenderOptions, render
from trajkit.scene import Rejected, Scene
from trajkit.scenes import list_scenes
from trajkit.shard_plan import make_plan, survey
from trajkit.show import ShowOptions, find, show

TOY = "toy:seed=1"
STEPS = 10  # of the demo; the command has the last ones
PHOTOS = 30  # of the toy's 60 captured views: every other one
EXACT_PATHS = ("orbit", "keys:w*6,w+l*7,l*6", "spline", "revisit:spiral")
SPLAT_PATHS = ("spline",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Where the demo's results lie."""

    capture: Path
    clips: Path
    shards: Path
    page: Path


def demo(out: Path, *, seed: int = 0, say: Callable[[str], None]) -> Places:
    """Capture -> reconstruct -> render -> pack -> check -> show, in folders of `out`; a rerun keeps what is done.

    Raises TrajkitError where a step rejects anything: in the demo, each does what it should.
    """
    places = Places(capture=out / "capture", clips=out / "clips", shards=out / "shards", page=out / "page")
    toy = list_scenes([TOY])
    say(f"1/{STEPS} photographing the toy room from {PHOTOS} places, as a capture with transforms.json")
    photograph(toy[0], places.capture)
    say(f"2/{STEPS} rendering {len(EXACT_PATHS)} clips of the room itself (exact ray casting)")
    exact = RenderOptions(paths=EXACT_PATHS, count=len(EXACT_PATHS), seed=seed, depth=False)
    _all_rendered(render(toy, exact, places.clips))
    say(f"3/{STEPS} reconstructing Gaussian splats from the photos, and rendering them")
    splats = RenderOptions(paths=SPLAT_PATHS, count=len(SPLAT_PATHS), seed=seed, renderer="splats", frames=49)
    capture = list_scenes([f"dl3dv:{places.capture};licence=CC0-1.0"])
    _all_rendered(render(capture, splats, places.clips))
    say(f"4/{STEPS} packing the clips into shards, and checking every byte and frame")
    plan = make_plan(survey([places.clips])[0], seed=seed, shard_clips=3)
    for _ in pack(plan, places.shards):
        pass
    checked = summary(check([places.shards]))
    if checked.findings:
        raise TrajkitError(checked.findings[0].where, checked.findings[0].message, "report this as a defect")
    say(f"5/{STEPS} drawing the page and the contact sheet")
    show(find([places.clips]), places.page, ShowOptions())
    return places


def photograph(scene: Scene | Rejected, folder: Path) -> None:
    """Every other captured view of a toy scene as a photo, with their cameras: what a scanning app would hand over."""
    from PIL import Image

    from trajkit.renderers import toy

    if isinstance(scene, Rejected) or scene.seen is None:
        raise TrajkitError(TOY, "has no captured cameras", "use a toy scene")
    seen = scene.seen[:: len(scene.seen) // PHOTOS]
    names = tuple(f"images/frame_{number:05d}.jpg" for number in range(1, len(seen) + 1))
    seen = replace(seen, names=names, frame_index=np.arange(1, len(seen) + 1))
    if all((folder / name).exists() for name in (*names, "transforms.json")):
        return
    renderer = toy.Renderer(scene, toy.Options())
    for name, frame in zip(names, renderer.frames(seen), strict=True):
        with files.whole(folder / name) as stream:
            Image.fromarray(frame.rgb).save(stream, "JPEG", quality=95)
    nerfstudio.write(seen, folder / "transforms.json")


def _all_rendered(results: Iterator[object]) -> None:
    for result in results:
        if isinstance(result, Rejected):
            raise TrajkitError(result.key, result.reason, "report this as a defect")
