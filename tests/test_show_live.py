"""`trajkit show --live`: what the viser server holds, how its controls move it, and that it ends."""

import builtins
import contextlib
import io
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from showclips import FRAMES, LENS, walk, write_clips, write_refused
from test_show_scenes import splat_file

from trajkit import files
from trajkit.errors import TrajkitError
from trajkit.members import camera_bytes
from trajkit.show import ShowOptions, find, gather
from trajkit.show.live import _dashes, build
from trajkit.trajectory import Trajectory


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_clips(folder)
    write_refused(folder)
    splat_file(folder / "scenes/hall.ply")
    return folder


@pytest.fixture(scope="module")
def server(clips: Path) -> Iterator[Any]:
    pytest.importorskip("viser", reason="needs trajkit[view]")
    server = build(gather(find([clips]), ShowOptions()), 8090)
    yield server
    with contextlib.redirect_stdout(io.StringIO()):
        server.stop()


def node(server: Any, name: str) -> Any:
    found = server.scene.get_handle_by_name(name)
    assert found is not None, name
    return found


def control(server: Any, label: str) -> Any:
    (found,) = (one for one in server.gui._gui_input_handle_from_uuid.values() if one.label == label)
    return found


def test_the_scene_holds_everything(server: Any) -> None:
    for k in range(3):
        node(server, f"/0/cameras/{k}")
    assert server.scene.get_handle_by_name("/0/cameras/3") is None
    node(server, "/0/points/splats")
    lines = node(server, "/0/clip/0").points
    assert lines.shape == (FRAMES - 1, 2, 3)
    assert lines[:, 0] == pytest.approx(walk()[:-1, :3, 3])
    for name in ("/0/refused/2", "/0/refused/2/blamed/6", "/0/refused/3/blamed/11", "/1/clip/0"):
        node(server, name)
    assert node(server, "/0/refused/2/blamed/6").position == pytest.approx([0, 0, 0.6])


def test_frusta_look_where_the_cameras_look(server: Any) -> None:
    frustum = node(server, "/0/cameras/2")
    assert frustum.position == pytest.approx(walk()[10, :3, 3])
    assert frustum.wxyz == pytest.approx([np.cos(np.radians(10)), 0, np.sin(np.radians(10)), 0])
    assert np.tan(frustum.fov / 2) == pytest.approx(LENS.height / 2 / LENS.fy)
    assert frustum.aspect == pytest.approx(LENS.width / LENS.height)


def choose(server: Any, label: str, value: Any) -> None:
    """Sets a control as a visitor would: its callbacks run, too."""
    handle = control(server, label)
    handle.value = value


def test_controls(server: Any) -> None:
    path, frame = control(server, "path"), control(server, "frame")
    assert path.options[:2] == ("1. hall-a", "2. hall-b")
    assert path.options[-1] == "7. hall-refused-2 (refused)"
    choose(server, "path", "6. hall-refused-1 (refused)")
    assert (frame.max, frame.value) == (FRAMES - 1, 6)
    assert "unseen 0.4 against 0.9 at frame 11" in control(server, "about").value
    assert "3 of 5 paths refused" in control(server, "about").value
    assert node(server, "/now").position == pytest.approx([0, 0, 0.15 * 6])
    choose(server, "frame", 10)
    assert node(server, "/now").position == pytest.approx([0, 0, 1.5])
    choose(server, "refused paths", False)
    assert not node(server, "/0/refused").visible
    assert node(server, "/0/clip").visible
    choose(server, "refused paths", True)
    choose(server, "path", "3. street")
    assert not node(server, "/0/clip").visible, "another place"
    assert node(server, "/1/clip").visible
    choose(server, "path", "4. the-one")
    assert node(server, "/now").position == pytest.approx([0, 0, 0])
    choose(server, "path", "1. hall-a")


def test_it_answers(server: Any) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.get_port()}", timeout=20) as answer:
        assert b"<html" in answer.read().lower()
    assert server.get_host() == "127.0.0.1"


def test_points_where_there_are_no_splats(tmp_path: Path) -> None:
    pytest.importorskip("viser", reason="needs trajkit[view]")
    server = build(gather(find(["toy:"]), ShowOptions()), 8090)
    try:
        assert len(node(server, "/0/points/cloud").points) > 10_000
        assert len(control(server, "path").options) == 1
    finally:
        with contextlib.redirect_stdout(io.StringIO()):
            server.stop()


def test_dashes_lie_on_the_path_with_gaps() -> None:
    centres = np.array([[0.0, 0, 0], [1, 0, 0], [1, 2, 0]])
    dashes = _dashes(centres)
    lengths = np.abs(np.diff(dashes, axis=1)).sum(-1)[:, 0]
    assert 0.4 < lengths.sum() / 3 < 0.8
    assert (np.isclose(dashes[..., 0], 1) | np.isclose(dashes[..., 1], 0)).all()
    assert np.isfinite(_dashes(np.zeros((4, 3)))).all(), "a path that stands still"


def test_command_serves_until_interrupted(clips: Path) -> None:
    pytest.importorskip("viser", reason="needs trajkit[view]")
    command = [sys.executable, "-m", "trajkit", "show", str(clips), "--live", "--port", "8091", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = process.stderr.readline()
        address = re.match(r"(http://127.0.0.1:\d+)", line)[1]
        with urllib.request.urlopen(address, timeout=20) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.startswith("{"), "the result alone is on stdout"
    assert out.rstrip().endswith("}")
    assert "Traceback" not in err


def test_without_viser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name == "viser":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(TrajkitError, match=r"trajkit\[view\]"):
        build(gather(find(["toy:"]), ShowOptions()), 8090)


def test_viser_is_imported_for_live_alone(clips: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from trajkit.cli import group\n"
        f"group(['show', {str(clips)!r}, '--out', {str(tmp_path)!r}], standalone_mode=False)\n"
        "sys.exit('viser' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_many_captured_cameras_are_thinned(tmp_path: Path) -> None:
    pytest.importorskip("viser", reason="needs trajkit[view]")
    write_clips(tmp_path)
    many = Trajectory.from_camera(walk(count=500), LENS, fps=1.0)
    files.write_bytes(tmp_path / "scenes/hall.seen.npz", camera_bytes(many))
    server = build(gather(find([tmp_path]), ShowOptions()), 8090)
    try:
        names = [name for name in server.scene._handle_from_node_name if name.startswith("/0/cameras/")]
        assert len(names) == 150
        assert "/0/cameras/499" in names
    finally:
        with contextlib.redirect_stdout(io.StringIO()):
            server.stop()
