"""What an export refuses, in one line and before it writes; and clips that it leaves out by name while others go on."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import exported as good
import killing
import numpy as np
import pytest
import tinyclips

from trajkit import files
from trajkit.camera import Camera
from trajkit.clip import Clip, read_clip, write_clip
from trajkit.curation.exporting import export, make_plan
from trajkit.errors import TrajkitError
from trajkit.pack import pack
from trajkit.shard_plan import make_plan as plan_shards
from trajkit.shard_plan import survey
from trajkit.trajectory import Trajectory

NARROW = Camera.from_fov(32, 24, 60)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    tinyclips.real(tmp_path / "clips", 2)
    return tmp_path / "clips"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("cameractl", "did you mean 'cameractrl'"),
        ("_layout", "no such plugin"),
        ("cameractrl:every_nth=2", "unknown option 'every_nth'"),
        ("colmap:every_nth=0", "out of range"),
        ("colmap:form=json", "use one of binary, text"),
        ("minwm:frames=78", "the video VAE takes 4n+1 frames"),
        ("minwm:lmdb=maybe", "not true or false"),
        ("nerfstudio:pictures", "not of the form key=value"),
    ],
)
def test_wrong_layouts_and_options_write_nothing(clips: Path, spec: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(TrajkitError) as caught:
        export(make_plan([clips], spec), tmp_path / "out")
    assert said in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("places", "only", "said"),
    [
        (["nowhere"], None, "no such"),
        (["empty"], None, "no finished clips"),
        (["clips", "clips"], None, "also in"),
        (["clips/clip-0000.mp4"], None, "neither a clip folder nor a shard"),
        (["clips"], ["clip-0000", "gone", "lost"], "no finished clip gone, nor 1 other listed ones"),
        (["clips"], [], "lists no clip"),
    ],
)
def test_wrong_places_and_keys(
    clips: Path, places: list[str], only: list[str] | None, said: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrajkitError, match=said):
        make_plan([tmp_path / place for place in places], "vipe", only)


def occupied_by_another_layout(clips: Path, out: Path) -> None:
    export(make_plan([clips], "vipe"), out)


def occupied_by_other_clips(clips: Path, out: Path) -> None:
    export(make_plan([clips], "cameractrl", ["clip-0000"]), out)


def occupied_by_a_remade_clip(clips: Path, out: Path) -> None:
    export(make_plan([clips], "cameractrl"), out)
    good.film(clips, "clip-0000", tinyclips.trajectory("another"))


def occupied_by_a_file(clips: Path, out: Path) -> None:
    out.mkdir()
    (out / "thesis.tex").write_text("")


def occupied_by_a_damaged_plan(clips: Path, out: Path) -> None:
    out.mkdir()
    (out / "export.json").write_text("{")


@pytest.mark.parametrize(
    ("occupy", "said"),
    [
        (occupied_by_another_layout, "another export (of another layout, options)"),
        (occupied_by_other_clips, "another export (of another clips, content)"),
        (occupied_by_a_remade_clip, "another export (of another content)"),
        (occupied_by_a_file, "holds thesis.tex but no export.json"),
        (occupied_by_a_damaged_plan, "not valid JSON"),
    ],
)
def test_a_folder_with_something_else_is_left_alone(
    clips: Path, occupy: Callable[[Path, Path], None], said: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    occupy(clips, out)
    before = killing.tree(out)
    with pytest.raises(TrajkitError) as caught:
        export(make_plan([clips], "cameractrl"), out)
    assert said in str(caught.value)
    assert killing.tree(out) == before


def test_the_clips_own_folder_and_a_busy_one_are_refused(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(TrajkitError, match=r"holds clip-0000\.camera"):
        export(make_plan([clips], "cameractrl"), clips)
    with files.locked(tmp_path / "out"), pytest.raises(TrajkitError, match="another trajkit"):
        export(make_plan([clips], "cameractrl"), tmp_path / "out")


def truncated(clips: Path) -> None:
    path = clips / "bad.mp4"
    path.write_bytes(path.read_bytes()[:-600])


def without_caption(clips: Path) -> None:
    (clips / "bad.txt").unlink()


def with_another_video(clips: Path) -> None:
    shutil.copy(clips / "clip-0000.mp4", clips / "bad.mp4")


def with_a_broken_json(clips: Path) -> None:
    (clips / "bad.json").write_text("[]")


def with_broken_cameras(clips: Path) -> None:
    (clips / "bad.camera.npz").write_bytes(b"PK\x03\x04" + bytes(60))


def with_broken_depth(clips: Path) -> None:
    good.film(clips, "bad", good.walk(good.OFF), depth=True)
    (clips / "bad.depth.npz").write_bytes(b"nothing")


def with_a_gap(clips: Path) -> None:
    sparse = good.walk(NARROW, 49)[np.array([0, 4, 40, 48])]
    good.film(clips, "bad", sparse, frames=49)


def with_a_lens_off_the_middle(clips: Path) -> None:
    good.film(clips, "bad", good.walk(good.OFF))


def of_14_frames(clips: Path) -> None:
    good.film(clips, "bad", good.walk(NARROW, 14))


def with_scrambled_pixels(clips: Path) -> None:
    good.film(clips, "bad", good.walk(NARROW, 65))
    path = clips / "bad.mp4"
    content = bytearray(path.read_bytes())
    start = len(content) * 9 // 10  # when this comes up, pictures have been written
    content[start:] = b"\xff" * (len(content) - start)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "spec", "said"),
    [
        (truncated, "cameractrl", "bad"),
        (without_caption, "worldplay", "bad.txt: no such file"),
        (with_another_video, "cameractrl", "its video has 5 frames of 32x24, its json and cameras say 13 of 64x48"),
        (with_a_broken_json, "lingbot", "bad.json"),
        (with_broken_cameras, "vipe", "bad.camera.npz: damaged"),
        (with_broken_depth, "vipe", "bad.depth.npz: damaged"),
        (with_a_gap, "cameractrl", "no pose within 0.5 s of frame 22"),
        (with_a_gap, "lingbot", "cut the clip where its poses end"),
        (with_a_lens_off_the_middle, "worldplay", "the principal point is 1.5 pixels off the middle"),
        (
            with_a_lens_off_the_middle,
            "minwm:frames=5",
            "13 frames, not 5; make clips of 5 frames, or give minwm:frames=13",
        ),
        (of_14_frames, "worldplay", "the video VAE takes 4n+1 frames"),
        (with_scrambled_pixels, "nerfstudio", "damaged"),
        (with_scrambled_pixels, "colmap", "damaged"),
    ],
)
def test_a_clip_that_cannot_be_exported_costs_itself_alone(
    clips: Path, damage: Callable[[Path], None], spec: str, said: str, tmp_path: Path
) -> None:
    good.film(clips, "bad", good.walk(good.OFF))
    damage(clips)
    out = tmp_path / "out"
    exported, rejected = export(make_plan([clips], spec), out)
    assert [one.key for one in rejected] == ["bad"]
    assert said in rejected[0].reason
    assert "\n" not in rejected[0].reason
    assert exported.clips == 2
    assert "bad" not in "".join(path.read_text() for path in out.glob("*.js*") if path.name != "export.json")
    assert not [path for path in out.rglob("*") if path.stem.startswith("bad")]
    assert len(list(out.glob("*.jsonl"))) == 1


def test_a_lossy_export_says_how_far_the_principal_point_moved(clips: Path, tmp_path: Path) -> None:
    good.film(clips, "bad", good.walk(good.OFF))
    exported, rejected = export(make_plan([clips], "worldplay:lossy=true"), tmp_path / "out")
    assert not rejected
    assert "the principal point (moved by 1.5 px)" in exported.lost["bad"]


def test_a_zoom_is_told_where_one_lens_must_do(clips: Path, tmp_path: Path) -> None:
    track = good.walk(NARROW, 5)
    lenses = track.intrinsics * np.linspace(1, 1.5, 5)[:, None] ** [1, 1, 0, 0]
    good.film(clips, "zoom", replace(track, intrinsics=lenses))
    exported, _ = export(make_plan([clips], "minwm:frames=5"), tmp_path / "out")
    assert "changes of the lens" in exported.lost["zoom"]
    assert "changes of the lens" not in exported.lost["clip-0000"]


FIT = good.safetensors(good.latents(2))
NO_HEADER = (1 << 60).to_bytes(8, "little") + b"{}"
TWO = json.dumps({name: {"dtype": "F16", "shape": [2, 1, 1, 1], "data_offsets": [0, 4]} for name in "ab"}).encode()
INF = np.full((2, 16, 6, 8), 1e9, np.float32)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "has no latents; encode them first, or leave out lmdb=true"),
        (b"", "called latents"),
        (NO_HEADER, "called latents"),
        (len(TWO).to_bytes(8, "little") + TWO + bytes(4), "called latents"),
        (FIT[:-2], "called latents"),
        (FIT.replace(b'"F16"', b'"BF1"'), "called latents"),
        (b"\x02" + bytes(7) + b"[]", "called latents"),
        (good.safetensors(good.latents(3)), "for 5 frames; give (2, channels, height, width)"),
        (good.safetensors(good.latents(2)[:, :4]), "of clips before (2, 16, 6, 8)"),
        (good.safetensors(INF, "F32"), "not finite in float16"),
    ],
)
def test_latents_that_do_not_fit(clips: Path, content: bytes | None, said: str, tmp_path: Path) -> None:
    for key in ("clip-0000", "clip-0001"):
        (clips / f"{key}.latent.safetensors").write_bytes(FIT)
    path = clips / "clip-0001.latent.safetensors"
    path.unlink() if content is None else path.write_bytes(content)
    good.film(clips, "next", tinyclips.trajectory("next"))
    (clips / "next.latent.safetensors").write_bytes(FIT)
    exported, rejected = export(make_plan([clips], "minwm:frames=5,lmdb=true"), tmp_path / "out")
    assert [one.key for one in rejected] == ["clip-0001"]
    assert said in rejected[0].reason
    assert exported.clips == 2
    assert sorted(path.name for path in (tmp_path / "out/videos").iterdir()) == ["000000_", "000001_"]
    assert (tmp_path / "out/videos/000001_/gen.mp4").read_bytes() == (clips / "next.mp4").read_bytes()
    good.read_minwm_lmdb(tmp_path / "out", 1)


def test_a_set_of_bad_clips_alone_gives_an_empty_index(clips: Path, tmp_path: Path) -> None:
    exported, rejected = export(make_plan([clips], "minwm"), tmp_path / "out")
    assert (exported.clips, len(rejected)) == (0, 2)
    assert json.loads((tmp_path / "out/preencode_input.json").read_text()) == []


def test_a_damaged_shard_is_named(clips: Path, tmp_path: Path) -> None:
    list(pack(plan_shards(survey([clips])[0]), tmp_path / "shards"))
    path = tmp_path / "shards/shard-000000.tar"
    path.write_bytes(path.read_bytes()[:-512])
    with pytest.raises(TrajkitError, match=r"shard-000000\.tar"):
        make_plan([tmp_path / "shards"], "vipe")


def test_hostile_captions_and_sources_stay_text(clips: Path, tmp_path: Path) -> None:
    clip = read_clip(clips, "clip-0000")
    source = "../../etc\n1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19"
    frames = tinyclips.pictures("clip-0000")
    hostile: Clip = replace(
        clip, caption="</script>\n]}\x00'; DROP TABLE", video=None, provenance=replace(clip.provenance, source=source)
    )
    write_clip(clips, hostile, frames)
    export(make_plan([clips], "cameractrl"), tmp_path / "out")
    assert json.loads((tmp_path / "out/dataset.json").read_text())[0]["caption"] == hostile.caption
    assert len((tmp_path / "out/pose_files/clip-0000.txt").read_text().splitlines()) == 6


def test_a_single_pose_stands_for_a_short_clip(clips: Path, tmp_path: Path) -> None:
    one = Trajectory.from_camera(np.eye(4)[None], NARROW, fps=good.FPS)
    good.film(clips, "still", one, frames=5)
    exported, rejected = export(make_plan([clips], "cameractrl"), tmp_path / "out")
    assert not rejected
    assert "(1 of 5 frames" in exported.lost["still"]
