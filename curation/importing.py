"""The import stage: published videos with poses -> clips. The unit of work is one video.

Each video is cut into windows on the clip's frame grid (see `windows`), its frames are decoded one after the other,
undistorted, resized and cropped to the clip's size, and the cameras go with them. Scale and estimator stay what the set
says they are; nothing is made better here, so that it can be judged.
"""

import functools
import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8
from PIL import Image, UnidentifiedImageError

from trajkit import __version__, files, plugins, seeding, video
from trajkit import options as options_
from trajkit.camera import Camera
from trajkit.clip import Clip, member, read_clip, sweep, write_clip
from trajkit.errors import TrajkitError
from trajkit.ledger import Ledger, Row
from trajkit.members import Provenance, camera_bytes
from trajkit.scene import Frame, Rejected
from trajkit.trajectory import Trajectory
from trajkit.undistort import undistorted_image
from trajkit.work import run

from .imports import Posed
from .imports._published import frame_times_s, rejected
from .windows import Cut, Window, windows

Array = np.ndarray
STRETCH = 0.01  # by which a video's aspect may differ from the intrinsics': estimators round sizes to multiples of 8
FARTHEST = 60_000.0  # depth that float16 holds; beyond is as good as unknown
CHUNK = 64  # videos per ledger part
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")  # Pillow knows others, some of which start programs
AHEAD = 600  # frames that are decoded rather than jumped over


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportOptions:
    """What to make of posed videos; `trajkit import --help` says what each field means."""

    cut: Cut = field(default_factory=Cut)
    width: int = 832  # pixels
    height: int = 480
    window: Literal["all", "middle", "first"] = "all"
    max_clips: int = 0  # per video; 0 = all
    depth: bool = False

    def __post_init__(self) -> None:
        if self.width % 2 or self.height % 2:
            raise TrajkitError("--size", f"{self.width}x{self.height} is odd", "H.264 needs even width and height")


def open_set(spec: str) -> Iterator[Posed | Rejected]:
    """The videos of a spec such as `spatialvid:FOLDER;max_group=3`, lazily.

    Raises TrajkitError, at once, for an unknown set, a wrong option or a folder that is not there.
    """
    name, rest = options_.split_spec(spec)
    module = plugins.load("imports", name)
    place, _, text = rest.partition(";")
    options = options_.parse(module.Options, text, where=f"set {name}")
    if not (place and Path(place).exists()):
        raise TrajkitError(place or spec, "no such file or folder", f"name one: {name}:FOLDER")
    found: Iterator[Posed | Rejected] = module.posed(Path(place), options)
    return found


def imported(
    items: Iterable[Posed | Rejected], options: ImportOptions, out: Path, *, workers: int = 1, executor: str = "local"
) -> Iterator[Clip | Rejected]:
    """Makes the clips of every item in the folder `out`, in order; what cannot be used is yielded as Rejected.

    Finished clips are kept, torn ones redone; the ledger has every item. Items are pulled as they are needed.
    """
    pulled: deque[str] = deque()
    rows: list[Row] = []
    keys: list[str] = []

    def once() -> Iterator[Posed | Rejected]:
        seen: set[str] = set()
        for item in items:
            pulled.append(item.key)
            if item.key in seen:
                twice = TrajkitError(item.key, "two videos of the set share this key", "import each on its own")
                yield rejected(item.key, twice)
            else:
                seen.add(item.key)
                yield item

    with files.locked(out):
        work = functools.partial(import_unit, options=options, out=out)
        for result in run(work, once(), workers, name=lambda item: f"video {item.key}", executor=executor):
            key = pulled.popleft()
            found = [rejected(key, result)] if isinstance(result, TrajkitError) else result
            keys.append(key)
            rows += [_row(one) for one in found]
            if len(keys) == CHUNK:
                _keep(out, keys, rows)
                keys, rows = [], []
            yield from found
        if keys:
            _keep(out, keys, rows)


def _keep(out: Path, keys: list[str], rows: list[Row]) -> None:
    Ledger(out).append(f"import-{seeding.digest(*keys)}", rows)


def _row(result: Clip | Rejected) -> Row:
    if isinstance(result, Rejected):
        return Row(key=result.key, stage="import", state="rejected", reason=result.reason)
    made = result.provenance.versions
    return Row(key=result.key, stage="import", state="imported", values=result.checks, versions=made)


def import_unit(item: Posed | Rejected, options: ImportOptions, out: Path) -> list[Clip | Rejected]:
    """The video's clips, made or found done, in order of time; or the reason why there are none."""
    if isinstance(item, Rejected):
        return [item]
    try:
        reel = Reel(item)
        lens = _sized(item.trajectory, *reel.size)
        planned = list(enumerate(windows(lens, reel.times_s, options.cut)))
    except TrajkitError as error:
        where = item.source if error.where in ("video", "poses", "trajectory") else error.where
        return [rejected(item.key, TrajkitError(where, error.problem, error.remedy))]
    if options.window != "all":
        place = 0 if options.window == "first" else (len(planned) - 1) // 2
        planned = planned[place : place + 1]
    made: list[Clip | Rejected] = []
    for number, window in planned[: options.max_clips or None]:
        key = _key(item, number, options)
        sweep(out, [key])
        try:
            done = member(out, key, "json").exists()
            made.append(read_clip(out, key) if done else _make(item, reel, window, key, options, out))
        except TrajkitError as error:
            made.append(rejected(key, error))
    return made


def _key(item: Posed, number: int, options: ImportOptions) -> str:
    """A function of the set's name for the video, its poses, the request and the window."""
    poses = hashlib.sha256(camera_bytes(replace(item.trajectory, distortion=(), names=()))).hexdigest()
    request = {name: value for name, value in asdict(options).items() if name not in ("window", "max_clips")}
    lens = (item.trajectory.distortion, item.trajectory.scale, item.fps)
    return f"{item.key[:120]}-{number:03d}-{seeding.digest(item.source, poses, lens, request, length=10)}"


def _sized(trajectory: Trajectory, width: int, height: int) -> Trajectory:
    """The cameras in pixels of the video. Raises TrajkitError where that has another shape than their pictures."""
    stretch = width / trajectory.width / (height / trajectory.height)
    if abs(stretch - 1) > STRETCH:
        problem = f"is {width}x{height}, the intrinsics are for {trajectory.width}x{trajectory.height}"
        raise TrajkitError("video", problem, "its shape differs: it was cropped, or turned; take the original")
    return trajectory.resized(width, height)


def _make(item: Posed, reel: "Reel", window: Window, key: str, options: ImportOptions, out: Path) -> Clip:
    size = options.width, options.height
    depth = item.depth is not None and options.depth
    clip = Clip(
        key=key,
        trajectory=_fitted(window.trajectory, *size),
        fps=window.fps,
        caption=item.caption,
        provenance=Provenance(
            kind=item.kind,
            source=item.source,
            scene=item.key,
            generator=item.estimator,
            versions={"trajkit": __version__} | {name: version(name) for name in ("numpy", "pillow", "scipy")},
        ),
        licence=item.licence,
        frames=len(window.frames),
        checks=_checks(item, reel, window, size, depth=depth),
    )
    return write_clip(out, clip, _frames(item, reel, window, size, depth=depth), depth="z" if depth else None)


def _checks(item: Posed, reel: "Reel", window: Window, size: tuple[int, int], *, depth: bool) -> dict[str, Any]:
    checks: dict[str, Any] = {
        "source_width": reel.size[0],
        "source_height": reel.size[1],
        "source_first_frame": int(window.frames[0]),
        "source_last_frame": int(window.frames[-1]),
        "published_pose_rate": round(window.pose_rate, 4),
        "worst_pose_gap_s": round(window.gap_s, 4),
        "worst_frame_off_s": round(window.late_s, 4),
        "enlarged": round(_factor(reel.size, size), 4),
    }
    if any(item.trajectory.distortion):
        checks["undistorted"] = True
    if depth:
        checks["depth_frames"] = int(np.isin(window.frames, item.trajectory.frame_index).sum())
    return checks


def _factor(source: tuple[int, int], size: tuple[int, int]) -> float:
    return max(size[0] / source[0], size[1] / source[1])


def _fitted(trajectory: Trajectory, width: int, height: int) -> Trajectory:
    """The cameras of pictures that are scaled to cover width x height, undistorted and cropped around the middle."""
    factor = _factor((trajectory.width, trajectory.height), (width, height))
    offset = (trajectory.width * factor - width) / 2, (trajectory.height * factor - height) / 2
    intrinsics = trajectory.intrinsics * factor - (0, 0, *offset)
    return replace(trajectory, intrinsics=intrinsics, width=width, height=height, distortion=())


def _frames(item: Posed, reel: "Reel", window: Window, size: tuple[int, int], *, depth: bool) -> Iterator[Frame]:
    """The window's pictures as its cameras see them; depth is 0 in frames for which the set has none."""
    before, after = window.trajectory, _fitted(window.trajectory, *size)
    posed = np.searchsorted(before.frame_index, np.arange(len(window.frames)), "right") - 1
    depths = _depths(item, window.frames) if depth else None
    for place, picture in zip(posed.clip(0), reel.take(window.frames), strict=True):
        lens, target = before.camera(int(place)), after.camera(int(place))
        seen = next(depths) if depths else None
        if depths and seen is None:
            seen = np.zeros((target.height, target.width), np.float32)
        elif seen is not None:
            seen = _depth_from(seen, lens, target)
        if any(lens.distortion):
            yield Frame(rgb=undistorted_image(picture, lens, target), depth=seen)
        else:
            yield Frame(rgb=_cropped(picture, size), depth=seen)


def _cropped(picture: UInt8[Array, "h w 3"], size: tuple[int, int]) -> UInt8[Array, "th tw 3"]:
    """The middle of the picture at that size: one resampling, as wide as the reduction, so that nothing aliases."""
    height, width = picture.shape[:2]
    factor = _factor((width, height), size)
    left, top = (width - size[0] / factor) / 2, (height - size[1] / factor) / 2
    box = (max(left, 0.0), max(top, 0.0), min(width - left, width), min(height - top, height))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC, box=box))


def _depths(item: Posed, frames: Int64[Array, " n"]) -> Iterator[Float32[Array, "h w"] | None]:
    """The set's depth of each of the ascending frames, None where it has none. Raises TrajkitError where it ends."""
    assert item.depth is not None
    places = {int(frame): place for place, frame in enumerate(item.trajectory.frame_index)}
    maps = enumerate(item.depth())
    for frame in frames:
        place = places.get(int(frame))
        if place is None:
            yield None
            continue
        found = next((depth for number, depth in maps if number == place), None)
        if found is None:
            raise TrajkitError(item.source, f"no depth for pose {place}", "restore the set, or leave --depth out")
        yield found


def _depth_from(depth: Float32[Array, "h w"], lens: Camera, target: Camera) -> Float32[Array, "th tw"]:
    """z-depth as the target camera sees it: of the nearest pixel, since a mean over an edge lies on no surface."""
    height, width = depth.shape
    x, y = np.meshgrid(np.arange(target.width) + 0.5, np.arange(target.height) + 0.5)
    pixels = lens.project(target.rays(np.stack([x, y], axis=-1))) * (width / lens.width, height / lens.height)
    column, row = np.floor(pixels).astype(np.int64).clip(0, (width - 1, height - 1)).transpose(2, 0, 1)
    found = np.asarray(depth, np.float32)[row, column]
    return np.where(np.isfinite(found) & (found > 0) & (found < FARTHEST), found, np.float32(0))


class Reel:
    """A video's or a row of photos' pictures: their size, their times, and those asked for, in ascending order."""

    def __init__(self, item: Posed) -> None:
        self.source = item.video
        self.size: tuple[int, int]
        self.times_s: Float64[Array, " f"]
        self._next = 0
        self._pictures: Iterator[Array] = iter(())
        if isinstance(item.video, Path):
            facts, self.times_s = frame_times_s(item.video)
            if item.fps is not None:
                self.times_s = np.arange(facts.frames) / item.fps
            self.size = facts.width, facts.height
        else:
            self.times_s = _photo_times_s(item, len(item.video))
            self.size = _photo(item.video[0]).shape[1::-1]

    def take(self, numbers: Int64[Array, " n"]) -> Iterator[UInt8[Array, "h w 3"]]:
        """The pictures of those frames, decoded as they are asked for; a video is read on from where it stands."""
        stands = self._next if numbers[0] >= self._next else 0
        if isinstance(self.source, tuple):
            yield from (_photo(self.source[number], self.size) for number in numbers)
        elif numbers[0] - stands > AHEAD:
            for few in np.split(numbers, range(8, len(numbers), 8)):
                yield from video.read(self.source, few)
        else:
            yield from self._streamed(self.source, numbers)

    def _streamed(self, source: Path, numbers: Int64[Array, " n"]) -> Iterator[UInt8[Array, "h w 3"]]:
        if self._next == 0 or numbers[0] < self._next:
            self._next, self._pictures = 0, video.stream(source)
        for number in numbers:
            for picture in self._pictures:
                self._next += 1
                if self._next > number:
                    yield picture
                    break
            else:
                raise TrajkitError(source, f"frame {number} does not decode", "restore the file")


def _photo_times_s(item: Posed, count: int) -> Float64[Array, " f"]:
    """When each photo was taken: at the set's rate, or, where it has none, as the poses' times say."""
    if item.fps is not None:
        return np.arange(count) / item.fps
    track = item.trajectory
    if not (np.all(np.diff(track.times_s) > 0) and np.all(np.diff(track.frame_index) > 0) and len(track) == count):
        raise TrajkitError("poses", "photos without a rate or a time each", "say the set's fps")
    return np.asarray(track.times_s - track.times_s[0])


def _photo(path: Path, size: tuple[int, int] | None = None) -> UInt8[Array, "h w 3"]:
    """The photo as stored: poses are for its pixels, whatever a rotation tag says."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            picture = np.asarray(image.convert("RGB"))
    except FileNotFoundError:
        raise TrajkitError(path, "no such file", "restore the photo") from None
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        raise TrajkitError(path, "not a readable picture", "restore the photo") from None
    if size is not None and picture.shape[1::-1] != size:
        raise TrajkitError(path, f"{picture.shape[1]}x{picture.shape[0]}, others {size[0]}x{size[1]}", "sort by size")
    return picture
