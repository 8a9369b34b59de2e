"""The nerfstudio engine against two stand-in programs that check what they are given and export in a normalised frame.

The real ns-train needs a GPU. The stand-ins are Python scripts that this file writes; they know nothing of the engine.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from splatting import relief, splat_scene, walk

from trajkit import options, seeding
from trajkit.engines import Task
from trajkit.engines.nerfstudio import Options, fit, points_ply, training, write_capture
from trajkit.errors import TrajkitError
from trajkit.fit import View
from trajkit.gaussians import Gaussians, write_ply
from trajkit.poses import nerfstudio as poses
from trajkit.rasterize import activate, rasterize
from trajkit.reconstruct import engine_of

# What nerfstudio does, in short: normalised = scale * (R x + t), splats and their harmonics with it.
TRAIN = """
import json, os, sys
from pathlib import Path
words = sys.argv[1:]
assert words[0] == "splatfacto" and words.count("nerfstudio-data") == 1, words
split = words.index("nerfstudio-data")
top = dict(zip(words[1:split:2], words[2:split:2]))
parser = dict(zip(words[split + 1 :: 2], words[split + 2 :: 2]))
assert top["--vis"] == "tensorboard" and top["--max-num-iterations"] == "700", top
assert top["--pipeline.model.sh-degree"] == "2", top
assert parser["--downscale-factor"] == "1" and parser["--load-3D-points"] == "True", parser
capture = Path(parser["--data"])
table = json.loads((capture / "transforms.json").read_text())
names = [frame["file_path"] for frame in table["frames"]]
assert all((capture / name).is_file() for name in names)
assert sorted(table["train_filenames"] + table["val_filenames"]) == sorted(names)
assert table["test_filenames"] == table["val_filenames"] == ["images/val_00000.png"]
assert (capture / table["ply_file_path"]).read_bytes().startswith(b"ply")
run = Path(top["--output-dir"]) / top["--experiment-name"] / "splatfacto" / top["--timestamp"]
run.mkdir(parents=True)
(run / "config.yml").write_text("!!python/object/apply:os.abort []")
turn = [[0.0, -0.6, 0.8], [1.0, 0.0, 0.0], [0.0, 0.8, 0.6]]
transform = [row + [shift] for row, shift in zip(turn, (0.5, -2.0, 1.25))]
(run / "dataparser_transforms.json").write_text(json.dumps({"transform": transform, "scale": 0.4}))
print("PYTHONPATH", os.environ.get("PYTHONPATH"), os.environ["PATH"].split(os.pathsep)[0])
"""
EXPORT = """
import json, sys
from pathlib import Path
import numpy as np
from trajkit.gaussians import read_ply, write_ply
from trajkit.se3 import Similarity
words = sys.argv[1:]
assert words[0] == "gaussian-splat", words
flags = dict(zip(words[1::2], words[2::2]))
run = Path(flags["--load-config"]).parent
if not (run / "config.yml").is_file():
    sys.exit("no config.yml")
table = json.loads((run / "dataparser_transforms.json").read_text())
matrix, scale = np.array(table["transform"]), table["scale"]
normalised = read_ply(Path(sys.argv[0]).parent / "truth.ply").moved(
    Similarity(scale, matrix[:, :3], scale * matrix[:, 3])
)
write_ply(normalised, Path(flags["--output-dir"]) / "splat.ply")
print("exported")
"""


def truth() -> Gaussians:
    """A wavy wall whose colours depend on the direction."""
    wall = relief(800)
    sh = np.random.default_rng(5).normal(0, 0.3, (len(wall), 9, 3)).astype(np.float32)
    sh[:, :1] = wall.sh
    return replace(wall, sh=sh)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with the two stand-ins and what they are to export."""
    folder = tmp_path / "env/bin"
    folder.mkdir(parents=True)
    write_ply(truth(), folder / "truth.ply")
    put(folder / "ns-train", TRAIN)
    put(folder / "ns-export", EXPORT)
    return folder


def put(path: Path, program: str) -> None:
    path.write_text(f"#!{sys.executable}\n{program}")
    path.chmod(0o755)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """Four fitted views and a held-out one, whose lens is another."""
    scene, cameras = splat_scene(truth(), tmp_path), walk(5, 64, 48)
    photos = [np.full((48, 64, 3), 40 * index, np.uint8) for index in range(5)]
    views = [View(photos[i], cameras.camera(i), cameras.world_to_camera[i]) for i in range(5)]
    views[0] = views[0]._replace(camera=replace(views[0].camera, fx=70.0))
    return Task(
        scene=scene,
        fitted=views[1:],
        held=views[:1],
        points=np.array([[0.0, 1.0, 2.0], [-0.5, 0.25, 4.0]]),
        colours=np.array([[1, 2, 3], [254, 255, 0]], np.uint8),
        near=0.01,
        rng=seeding.generator(0, "nerfstudio"),
        log=tmp_path / "out/wall.log",
    )


def chosen(programs: Path, text: str = "") -> Options:
    return options.parse(Options, f"programs={programs},iterations=700,sh_degree=2,{text}", where="nerfstudio")


def test_the_normalisation_is_undone(programs: Path, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(programs))  # of trajkit's own environment: not for theirs
    shown = []
    watch = lambda items, total, unit: shown.append((total, unit)) or items  # noqa: E731
    found, wanted = fit(task, chosen(programs), watch), truth()
    np.testing.assert_allclose(found.means, wanted.means, atol=2e-6)
    np.testing.assert_allclose(found.log_scales, wanted.log_scales, atol=2e-6)
    np.testing.assert_allclose(found.logit_opacities, wanted.logit_opacities)
    np.testing.assert_allclose(found.sh, wanted.sh, atol=3e-6)
    mine, theirs = (
        rasterize(activate(one), task.held[0].camera, task.held[0].world_to_camera, near=0.01).rgb
        for one in (found, wanted)
    )
    assert theirs.std() > 0.1
    np.testing.assert_allclose(mine, theirs, atol=2e-3)
    assert shown == [(2, "program")]
    assert task.log.read_text().split() == ["PYTHONPATH", "None", str(programs), "exported"]


def test_the_capture_reads_back(task: Task, tmp_path: Path) -> None:
    """By trajkit's own reader, which knows nothing of the engine: same cameras, OpenGL axes undone."""
    write_capture(task, tmp_path / "capture")
    views = [*task.fitted, *task.held]
    seen = poses.read(tmp_path / "capture")
    order = [int(np.flatnonzero(seen.intrinsics[:, 0] == 70.0)[0])]
    np.testing.assert_allclose(seen.world_to_camera[order[0]], task.held[0].world_to_camera, atol=1e-12)
    assert seen.names[order[0]] == "images/val_00000.png"
    rest = [index for index in range(5) if index not in order]
    for index, view in zip(rest, views, strict=False):
        np.testing.assert_allclose(seen.world_to_camera[index], view.world_to_camera, atol=1e-12)
        assert seen.camera(index) == view.camera
    assert "applied_transform" not in json.loads((tmp_path / "capture/transforms.json").read_text())


def test_points_keep_their_places_and_colours(task: Task) -> None:
    content = points_ply(task.points, task.colours)
    header, _, body = content.partition(b"end_header\n")
    assert header.decode().splitlines()[2] == "element vertex 2"
    rows = np.frombuffer(body, np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)]))
    np.testing.assert_array_equal(rows["xyz"], task.points)
    np.testing.assert_array_equal(rows["rgb"], task.colours)


def test_only_the_most_opaque_are_kept(programs: Path, task: Task) -> None:
    wall = truth()
    opacities = np.arange(len(wall), dtype=np.float32) / 100
    write_ply(replace(wall, logit_opacities=opacities), programs / "truth.ply")
    found = fit(task, chosen(programs, "gaussians=300"))
    np.testing.assert_array_equal(found.logit_opacities, opacities[-300:])
    np.testing.assert_allclose(found.means, wall.means[-300:], atol=2e-6)


@pytest.mark.parametrize(
    ("name", "program", "says"),
    [
        (
            "ns-train",
            "import sys; print('CUDA out of memory'); sys.exit(3)",
            r"ns-train failed \(exit code 3\): CUDA out",
        ),
        ("ns-train", "import os; os.abort()", r"ns-train failed \(signal 6\): it printed nothing"),
        ("ns-train", "", r"ns-export failed \(exit code 1\): .*config.yml"),
        ("ns-export", "import sys; sys.exit(1)", r"ns-export failed \(exit code 1\)"),
        ("ns-export", "", r"left no export that can be read \(splat.ply: no such file\)"),
        (
            "ns-export",
            "import sys; open(sys.argv[sys.argv.index('--output-dir') + 1] + '/splat.ply', 'w').write('ply')",
            r"left no export that can be read \(splat.ply: not a PLY file\)",
        ),
    ],
)
def test_each_failure_is_one_line_that_names_the_log(
    name: str, program: str, says: str, programs: Path, task: Task
) -> None:
    put(programs / name, program)
    with pytest.raises(TrajkitError, match=says) as caught:
        fit(task, chosen(programs))
    assert str(task.log) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_transform_that_is_none(programs: Path, task: Task) -> None:
    put(programs / "ns-train", TRAIN.replace('"scale": 0.4', '"scale": 0'))
    put(programs / "ns-export", EXPORT.replace('table["scale"]', "1.0"))
    with pytest.raises(TrajkitError, match=r"dataparser_transforms.json: scale is 0\)"):
        fit(task, chosen(programs))


def test_programs_that_are_not_there(programs: Path, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.defpath)
    with pytest.raises(
        TrajkitError, match="--engine nerfstudio: needs the program ns-train, which is not on PATH; make nerf"
    ):
        fit(task, Options())
    with pytest.raises(TrajkitError, match="needs the program ns-train"):
        engine_of("nerfstudio")
    assert engine_of(f"nerfstudio:programs={programs}")[2].programs == str(programs)
    (programs / "ns-export").unlink()
    with pytest.raises(TrajkitError, match=f"needs the program ns-export, which is not in {programs}"):
        fit(task, chosen(programs))
    (programs / "ns-export").write_text("#!/nowhere/python\n")
    (programs / "ns-export").chmod(0o755)
    with pytest.raises(TrajkitError, match=r"ns-export does not start \(No such file"):
        fit(task, chosen(programs))
    put(programs / "ns-export", EXPORT)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.defpath}")
    assert len(fit(task, replace(chosen(programs), programs="path"))) == 800


def test_stages_of_growth_fit_into_fewer_steps(tmp_path: Path) -> None:
    words = training(Options(iterations=3000), 7, tmp_path)
    flags = dict(zip(words[1::2], words[2::2], strict=False))
    assert flags["--pipeline.model.stop-split-at"] == "1500"
    assert flags["--pipeline.model.resolution-schedule"] == "300"
    assert flags["--machine.seed"] == "7"
    full = training(Options(), 7, tmp_path)
    assert full[full.index("--pipeline.model.stop-split-at") + 1] == "15000"
