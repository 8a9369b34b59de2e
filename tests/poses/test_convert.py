"""trajkit convert: formats named or guessed, options, what is said, what is refused."""

import json

import numpy as np
import pytest

from trajkit import cli
from trajkit.poses import colmap, kitti, lingbot, minwm, nerfstudio, re10k, spatialvid, tum, vipe, worldplay
from trajkit.poses._arrays import npy_bytes

TUM = "".join(f"{time} {time} 0 0 0 0 0 1\n" for time in range(5))


@pytest.fixture
def convert(capsys):
    """Runs `trajkit convert` and returns (exit code, stdout, stderr)."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["convert", *map(str, arguments)])
        captured = capsys.readouterr()
        return stopped.value.code, captured.out, captured.err

    return run


@pytest.fixture
def poses(tmp_path):
    path = tmp_path / "poses.txt"
    path.write_text(TUM)
    return path


def test_tum_to_kitti_needs_no_lens(convert, poses, tmp_path):
    code, out, err = convert(poses, tmp_path / "kitti.txt", "--to", "kitti")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"5 poses from tum to kitti: {tmp_path / 'kitti.txt'}",
        "path length 4, scale unknown, 4 s",
        "kitti cannot hold: times",
    ]
    np.testing.assert_allclose(kitti.read(tmp_path / "kitti.txt").centres[:, 0], range(5))


def test_json_output(convert, poses, tmp_path):
    code, out, _ = convert(poses, tmp_path / "k.txt", "--from", "tum:scale=metric", "--to", "kitti", "--json")
    assert code == 0
    assert json.loads(out) == {
        "from": "tum",
        "to": "kitti",
        "out": str(tmp_path / "k.txt"),
        "poses": 5,
        "path_length": 4.0,
        "scale": {"kind": "metric", "factor": 1.0},
        "seconds": 4.0,
        "lost": ["times"],
    }


def test_a_nominal_lens_does_not_pass_for_a_real_one(convert, poses, tmp_path):
    code, _, err = convert(poses, tmp_path / "out.json", "--to", "nerfstudio")
    assert code == 1
    assert "--from tum:width=640,height=480,fx=525" in err
    assert not (tmp_path / "out.json").exists()
    code, _, _ = convert(
        poses, tmp_path / "out.json", "--from", "tum:width=640,height=480,fx=525", "--to", "nerfstudio"
    )
    assert code == 0
    assert nerfstudio.read(tmp_path / "out.json").intrinsics[0].tolist() == [525, 525, 320, 240]


def test_resampling_to_a_video(convert, poses, tmp_path):
    code, out, _ = convert(
        poses, tmp_path / "p.json", "--from", "tum:width=640,height=480,fx=525", "--fps", 16, "--to", "worldplay"
    )
    assert code == 0
    assert out.startswith("65 poses")
    latents = worldplay.read(tmp_path / "p.json", worldplay.Options(fps=16))
    assert len(latents) == 17  # latents of 4 s at 16 frames per second
    np.testing.assert_allclose(latents.centres[:, 0], latents.times_s, atol=1e-12)


def _write_all(folder, trajectory):
    """One file of each format, by name."""
    size = {"width": 640, "height": 480}
    targets = {
        "nerfstudio": (nerfstudio, "transforms.json", {}),
        "nerfstudio ": (nerfstudio, "camera_path.json", {"lossy": True}),
        "colmap": (colmap, "model", {}),
        "colmap ": (colmap, "scan/sparse/0", {"form": "text"}),
        "minwm": (minwm, "rows/poses.npy", {}),
        "worldplay": (worldplay, "inference.json", {}),
        "worldplay ": (worldplay, "training.json", {"form": "training"}),
        "re10k": (re10k, "clip.txt", {}),
        "tum": (tum, "tum.txt", {}),
        "kitti": (kitti, "kitti.txt", {}),
        "spatialvid": (spatialvid, "spatialvid", {}),
        "vipe": (vipe, "vipe", {}),
        "lingbot": (lingbot, "lingbot", size),
    }
    for name, (module, relative, options) in targets.items():
        module.write(trajectory, folder / relative, module.Options(**options))
        yield name.strip(), folder / relative


def test_each_format_is_recognised(exact_trajectory, convert, tmp_path):
    (tmp_path / "string.txt").write_text("w*8, l-4\n")
    for name, path in [*_write_all(tmp_path, exact_trajectory), ("minwm", tmp_path / "string.txt")]:
        code, out, err = convert(path, tmp_path / "out.txt", "--to", "tum", "--json")
        assert (code, err) == (0, ""), path
        assert json.loads(out)["from"] == name, path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["absent.txt", "o", "--to", "tum"], "absent.txt: no such file or folder; check the path"),
        (["notes.md", "o", "--to", "tum"], "looks like no known format; say which with --from: colmap, kitti,"),
        (["poses.txt", "o", "--to", "tumm"], "no such plugin; did you mean 'tum'?"),
        (["poses.txt", "o", "--from", "kity", "--to", "tum"], "did you mean 'kitti'?"),
        (["poses.txt", "o", "--from", "kitti", "--to", "tum"], "poses.txt, line 1: 8 columns, not 12"),
        (["poses.txt", "o", "--from", "tum:hight=3", "--to", "tum"], "did you mean 'height'?"),
        (["poses.txt", "o", "--from", "tum:width=0", "--to", "tum"], "0 is out of range"),
        (["poses.txt", "o", "--from", "tum:fx=500", "--to", "kitti"], "give width, height and fx together"),
        (["poses.txt", "o", "--from", "tum:width=9,height=9,fx=0", "--to", "kitti"], "poses.txt: intrinsics (0.0,"),
        (["poses.txt", "o", "--from", "tum:width=9,height=9,fx=1,cx=nan", "--to", "kitti"], "poses.txt: intrinsics"),
        (["poses.txt", "o", "--from", "tum", "--to", "kitti", "--fps", "nan"], "over ten million poses"),
        (["poses.txt", "o", "--to", "kitti:scale=feet"], "use one of metric, sfm, unit, unknown"),
        (["poses.txt", "poses.txt", "--to", "kitti"], "is IN as well as OUT"),
        (["poses.txt", ".", "--to", "kitti"], "directory"),
        (["poses.txt", "poses.txt/o", "--to", "kitti"], "exists"),
        (["still.txt", "o", "--from", "tum", "--to", "kitti", "--fps", "30"], "two poses share a time"),
        (["far.txt", "o", "--from", "tum", "--to", "kitti", "--fps", "30"], "over ten million poses"),
        (["rows.npy", "o.json", "--from", "minwm", "--to", "minwm:lossy=maybe"], "is not true or false"),
        (["rows.npy", "o.bin", "--to", "minwm"], "minWM has no .bin pose file; use .txt, .json or .npy"),
        (["rows.npy", "o.txt", "--to", "minwm"], "the motion to pose 1 is not one step of one key"),
        (["both.npy", "o", "--to", "tum"], "looks like"),
    ],
)
def test_what_is_refused_is_one_line(arguments, says, convert, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "poses.txt").write_text(TUM)
    (tmp_path / "notes.md").write_text("# Notes\nabout nothing\n")
    (tmp_path / "still.txt").write_text("0 0 0 0 0 0 0 1\n0 0 0 0 0 0 0 1\n")
    (tmp_path / "far.txt").write_text("0 0 0 0 0 0 0 1\n1e9 0 0 0 0 0 0 1\n")
    rows = np.array([[0, 0, 0, 0, 0, 0, 1.0], [5, 5, 5, 0, 0, 0, 1.0]])
    (tmp_path / "rows.npy").write_bytes(npy_bytes(rows))
    (tmp_path / "both.npy").write_bytes(npy_bytes(rows[0]))
    before = sorted(path.name for path in tmp_path.iterdir())
    code, out, err = convert(*arguments)
    assert code == 1
    assert out == ""
    assert err.count("\n") == 1
    assert says in err, err
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "poses.txt").read_text() == TUM


def test_help_has_an_example(convert):
    code, out, _ = convert("--help")
    assert code == 0
    assert "trajkit convert scan/transforms.json poses.txt --to tum" in out
