"""Batches: their order, their cameras, and what is wrong with a data set."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

import encoded  # noqa: E402
import tinyclips  # noqa: E402

from trajkit import seeding  # noqa: E402
from trajkit.clip import Clip, Provenance, read_clip, write_clip  # noqa: E402
from trajkit.errors import TrajkitError  # noqa: E402
from trajkit.scene import Frame  # noqa: E402
from trajkit.shards import index_path, open_shard  # noqa: E402
from trajkit.trainers import data, latentfile  # noqa: E402
from trajkit.trainers.batch import Batch  # noqa: E402
from trajkit.trajectory import Scale, Trajectory  # noqa: E402

COUNT = 5


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    encoded.shards(folder, COUNT)
    return folder


@pytest.fixture(scope="module")
def shards(root: Path) -> list[Path]:
    return [root / "encoded"]


def taken(sources: list[Path], count: int, **told: object) -> list[Batch]:
    return list(itertools.islice(data.batches(sources, **{"seed": 3, "micro": 2, **told}), count))


def keys(batches: list[Batch]) -> list[str]:
    return [key for batch in batches for key in batch.keys]


def test_the_order_is_a_function_of_seed_epoch_and_position(shards: list[Path]) -> None:
    """The slow twin: the whole sequence written out, epoch after epoch."""
    names = [f"clip-{number:04d}" for number in range(COUNT)]
    epochs = [seeding.generator(3, "order", epoch).permutation(COUNT) for epoch in range(4)]
    wanted = [names[place] for epoch in epochs for place in epoch]
    batches = taken(shards, 10)
    assert keys(batches) == wanted
    assert torch.cat([batch.positions for batch in batches]).tolist() == list(range(20))
    assert keys(taken(shards, 10, seed=4)) != wanted
    assert any((one != epochs[0]).any() for one in epochs[1:])


def test_threads_change_nothing(shards: list[Path]) -> None:
    plain = taken(shards, 6, workers=0)
    for workers in (1, 2, 3):
        for one, other in zip(plain, taken(shards, 6, workers=workers), strict=True):
            assert one.keys == other.keys
            assert torch.equal(one.latents, other.latents)
            assert torch.equal(one.cameras.world_to_camera, other.cameras.world_to_camera)


@pytest.mark.parametrize(("world", "accumulate", "micro"), [(2, 3, 1), (3, 1, 2), (1, 2, 3), (1, 6, 1), (2, 1, 3)])
def test_ranks_and_accumulation_share_out_the_same_steps(
    shards: list[Path], world: int, accumulate: int, micro: int
) -> None:
    steps = 3
    share = {"world": world, "accumulate": accumulate, "micro": micro}
    ranks = [taken(shards, steps * accumulate, rank=rank, **share) for rank in range(world)]
    whole = taken(shards, steps, micro=6)
    for step in range(steps):
        mine = [batch for rank in ranks for batch in rank[step * accumulate : (step + 1) * accumulate]]
        found = dict(zip(torch.cat([one.positions for one in mine]).tolist(), keys(mine), strict=True))
        assert found == dict(zip(whole[step].positions.tolist(), whole[step].keys, strict=True))


def test_a_later_start_is_the_same_as_skipping(shards: list[Path]) -> None:
    share = {"accumulate": 2, "rank": 1, "world": 2, "micro": 1}
    later, skipped = taken(shards, 4, start_step=5, **share), taken(shards, 14, **share)[10:]
    assert [one.keys for one in later] == [one.keys for one in skipped]
    assert [one.positions.tolist() for one in later] == [one.positions.tolist() for one in skipped]


def test_latents_are_the_small_pictures_and_cameras_those_of_their_frames(root: Path, shards: list[Path]) -> None:
    from PIL import Image

    from trajkit import video

    (batch,) = taken(shards, 1, micro=COUNT, scale=2.0)
    for number, key in enumerate(batch.keys):
        clip = read_clip(root / "clips", key)
        for latent, frame in enumerate((0, 4, 8)):
            small = Image.fromarray(video.read(clip.video, [frame])[0]).resize((16, 12), Image.Resampling.BOX)
            wanted = torch.from_numpy(np.asarray(small).astype(np.float32) / 127.5 - 1).permute(2, 0, 1)
            torch.testing.assert_close(batch.latents[number, latent], wanted, atol=1e-3, rtol=0)
            relative = np.linalg.inv(clip.trajectory.camera_to_world[frame]) @ clip.trajectory.camera_to_world[0]
            relative[:3, 3] /= 2.0
            found = batch.cameras.world_to_camera[number, latent].double().numpy()
            np.testing.assert_allclose(found, relative, atol=1e-6)
    assert batch.latents.dtype == batch.cameras.K.dtype == torch.float32
    assert torch.equal(batch.text["embeddings"], torch.zeros(COUNT, 1, 16))
    assert batch.trajectory is None


def dots(folder: Path, scale: Scale, shift: float = 0.0) -> np.ndarray:
    """Writes a clip in which three points of the world are coloured squares; returns the points."""
    points = np.array([[-0.8, -0.4, 4.0], [0.7, 0.5, 5.0], [0.1, -0.6, 3.0]]) + np.array([shift, 0, 0])
    steps = np.arange(9)
    poses = np.tile(np.eye(4), (9, 1, 1))
    poses[:, 0, 3], poses[:, 2, 3] = steps * 0.05 + shift, steps * 0.02
    intrinsics = np.array([200.0, 210.0, 150.0, 100.0])  # off the middle of 320x192
    track = Trajectory(
        camera_to_world=poses,
        intrinsics=intrinsics,
        width=320,
        height=192,
        times_s=steps / 16,
        frame_index=steps,
        scale=scale,
    )
    pictures = []
    for pose in poses:
        rgb = np.zeros((192, 320, 3), np.uint8)
        for channel, (x, y, z) in enumerate(points - pose[:3, 3]):
            u, v = 200 * x / z + 150, 210 * y / z + 100
            rgb[round(v) - 8 : round(v) + 8, round(u) - 8 : round(u) + 8, channel] = 255
        pictures.append(Frame(rgb=rgb, depth=None))
    provenance = Provenance(kind="rendered", source="test:")
    clip = Clip(key="dots", trajectory=track, fps=16.0, provenance=provenance, licence="CC0-1.0")
    write_clip(folder, clip, iter(pictures))
    return points


@pytest.mark.parametrize(("scale", "shift"), [(Scale(), 0.0), (Scale(kind="metric", factor=0.5), 4e6)])
def test_cameras_project_points_to_where_the_pictures_have_them(tmp_path: Path, scale: Scale, shift: float) -> None:
    """Also in another unit, and far from the world's origin, where float32 would see no motion at all."""
    points = dots(tmp_path / "clips", scale, shift)
    encoded.encode(tmp_path / "clips", "--encoder", "toy", "--size", "64x48", "--out", tmp_path / "shards", "--json")
    sources = [tmp_path / "shards"]
    unit = data.translation_scale(sources)
    assert unit == pytest.approx(scale.factor * np.hypot(0.05, 0.02) * 8)
    (batch,) = taken(sources, 1, micro=1, scale=unit)
    across, down = (np.arange(64) + 0.5) / 64, (np.arange(48) + 0.5) / 48
    for latent in range(3):
        w2c, K = batch.cameras.world_to_camera[0, latent].numpy(), batch.cameras.K[0, latent].numpy()
        for channel, point in enumerate((points - [shift, 0, 0]) * scale.factor / unit):
            seen = K @ (w2c[:3, :3] @ point + w2c[:3, 3])
            light = batch.latents[0, latent, channel].numpy() / 2 + 0.5
            light[light < 0.3] = 0
            found = [(light.sum(0) * across).sum() / light.sum(), (light.sum(1) * down).sum() / light.sum()]
            np.testing.assert_allclose(seen[:2] / seen[2], found, atol=0.006)


def test_facts(shards: list[Path]) -> None:
    said = data.facts(shards)
    assert (said.clips, said.latents, said.latent, said.frames) == (COUNT, 3, (3, 12, 16), 9)
    assert (said.encoder, dict(said.text), said.states, said.pairs) == ("toy", {"embeddings": (1, 16)}, 0, "")


def test_folders_and_tars_hold_the_same_clips(root: Path, shards: list[Path], tmp_path: Path) -> None:
    wanted = taken(shards, 3)
    for sources in ([encoded.unpacked(shards[0], tmp_path)], sorted(shards[0].glob("*.tar"))):
        for one, other in zip(wanted, taken(sources, 3), strict=True):
            assert one.keys == other.keys
            assert torch.equal(one.latents, other.latents)


def test_only_listed_clips(shards: list[Path]) -> None:
    only = ["clip-0003", "clip-0001"]
    assert set(keys(taken(shards, 3, only=only))) == set(only)
    assert data.facts(shards, only=only).clips == 2
    with pytest.raises(TrajkitError, match="no finished clip clip-0009"):
        data.facts(shards, only=["clip-0009"])


def test_the_scale_is_the_median_of_those_that_move(tmp_path: Path, shards: list[Path]) -> None:
    reach = []
    for number in range(COUNT):
        moved = tinyclips.trajectory(f"clip-{number:04d}", 9).camera_to_world[::4, :3, 3]
        reach.append(np.linalg.norm(moved - moved[0], axis=1).max())
    assert data.translation_scale(shards) == pytest.approx(np.median(reach))
    tinyclips.real(tmp_path, 1, frames=1)
    assert data.translation_scale([tmp_path]) == 1.0


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Clips of 5 and of 9 frames."""
    folder = tmp_path_factory.mktemp("mixed")
    encoded.shards(folder / "a", 2, frames=9, prefix="long")
    encoded.shards(folder / "b", 2, frames=5, prefix="short")
    return [folder / "a/encoded", folder / "b/encoded"]


def test_mixed_frame_counts_are_cut_or_refused(mixed: list[Path]) -> None:
    with pytest.raises(TrajkitError, match=r"short-0000.*is unlike the data set's first clip"):
        taken(mixed, 2, micro=4)
    said = data.facts(mixed, latents=2)
    assert (said.latents, said.frames) == (2, 5)
    (batch,) = taken(mixed, 1, micro=4, latents=2)
    assert batch.latents.shape == (4, 2, 3, 12, 16)
    assert batch.cameras.world_to_camera.shape == (4, 2, 4, 4)
    with pytest.raises(TrajkitError, match=r"short-0000.*2 latents, 3 are asked for"):
        data.facts(mixed, latents=3)


def replaced(shards: list[Path], folder: Path, told: dict[str, str] | None = None, **tensors: torch.Tensor) -> Path:
    """Makes `folder` the clips of the data set, clip-0002 with another latent file, which is returned."""
    path = encoded.unpacked(shards[0], folder) / f"clip-0002.{latentfile.SUFFIX}"
    path.write_bytes(encoded.rewritten(path.read_bytes(), told or {}, **tensors))
    return path


HALF = torch.zeros(3, 3, 12, 16).half()
UNLIKE = {
    "encoder": ({"encoder": "wan:0123"}, {}, "encoder wan:0123, of clip clip-0000 toy"),
    "shape": ({}, {"latents": HALF[..., :8, :8]}, r"latents \(3, 3, 8, 8\), of clip clip-0000 \(3, 3, 12, 16\)"),
    "text": ({}, {"text.mask": torch.ones(3).bool()}, r"text .*mask \(3,\)"),
    "a path": ({}, {"trajectory": HALF.repeat(2, 1, 1, 1, 1)}, "states 2, of clip clip-0000 0"),
    "how a path was made": ({"trajectory": "{}"}, {}, "pairs {}, of clip clip-0000"),
    "not finite": ({}, {"latents": HALF + torch.nan}, ""),
    "another video": ({"content": "0" * 64}, {}, ""),
}


@pytest.mark.parametrize("case", UNLIKE)
def test_damaged_clips_are_named_and_never_replaced(shards: list[Path], tmp_path: Path, case: str) -> None:
    told, tensors, message = UNLIKE[case]
    replaced(shards, tmp_path, told, **tensors)
    if message:
        with pytest.raises(TrajkitError, match=f"clip-0002.latent.safetensors: {message}"):
            data.facts([tmp_path])
    for workers in (0, 2):
        with pytest.raises(TrajkitError, match=r"clip-0002.latent.safetensors: ") as caught:
            taken([tmp_path], COUNT, workers=workers)
        assert "\n" not in str(caught.value)


def test_a_latent_file_that_goes_missing_is_named(shards: list[Path], tmp_path: Path) -> None:
    stream = data.batches([replaced(shards, tmp_path).parent], seed=3, micro=1, workers=0)
    (tmp_path / f"clip-0002.{latentfile.SUFFIX}").unlink()
    with pytest.raises(TrajkitError, match=r"clip-0002.latent.safetensors: No such file"):
        list(itertools.islice(stream, COUNT))


def test_paths_of_a_teacher_come_along(shards: list[Path], tmp_path: Path) -> None:
    path = torch.arange(6.0).reshape(6, 1, 1, 1, 1).expand(6, 3, 3, 12, 16).half()
    replaced(shards, tmp_path, {"trajectory": '{"steps": 4}'}, trajectory=path)
    (batch,) = taken([tmp_path], 1, micro=1, only=["clip-0002"], latents=2)
    assert torch.equal(batch.trajectory[0], path[:, :2].float())
    said = data.facts([tmp_path], only=["clip-0002"])
    assert (said.states, said.pairs) == (6, '{"steps": 4}')


def test_sources_without_clips_or_with_a_clip_twice_are_one_line(
    root: Path, shards: list[Path], tmp_path: Path
) -> None:
    for sources, message in (
        ([], "no finished clips"),
        ([tmp_path / "none"], "no such folder"),
        ([tmp_path / "none.tar"], "no such"),
        ([*shards, root / "clips"], "clip clip-0000 is also in"),
    ):
        with pytest.raises(TrajkitError, match=message):
            data.facts(sources)
    copy = shutil.copytree(shards[0], tmp_path / "copy")
    index_path(copy / "shard-000001.tar").unlink()
    with pytest.raises(TrajkitError, match=r"shard-000001.tar: is not done"):
        data.batches([copy], seed=0, micro=1)


def test_a_damaged_tar_names_shard_and_clip(shards: list[Path], tmp_path: Path) -> None:
    copy = shutil.copytree(shards[0], tmp_path / "copy")
    shard = open_shard(copy / "shard-000000.tar")
    key = shard.keys[0]
    offset, _ = shard.index.members[key][latentfile.SUFFIX]
    content = bytearray(shard.path.read_bytes())
    content[offset - 512 : offset - 502] = b"other-name"
    shard.path.write_bytes(content)
    with pytest.raises(TrajkitError, match=f"shard-000000.tar: does not hold {key}.latent.safetensors"):
        taken([copy], COUNT)


def test_reading_holds_no_more_than_it_is_ahead(shards: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = data.sample
    monkeypatch.setattr(data, "sample", lambda *given, **told: made.append(1) or original(*given, **told))
    stream = data.batches(shards, seed=0, micro=1, workers=2)
    for count in range(1, 30):
        next(stream)
        assert len(made) <= count + 4
    stream.close()
