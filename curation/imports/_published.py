"""What the sets' modules share: keys, rejections, the times of a video's frames, and files by name."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from trajkit import video
from trajkit.errors import TrajkitError
from trajkit.scene import Finding, Rejected
from trajkit.seeding import digest
from trajkit.work import attempt

from . import Posed

Array = np.ndarray
VIDEOS = (".mp4", ".mkv", ".webm", ".mov", ".avi")
PHOTOS = (".jpg", ".jpeg", ".png", ".webp")
LONGEST = 120  # letters of a key


def key_of(name: str) -> str:
    """The name itself where it is a short key, else its letters and a digest that keeps it apart from others."""
    if re.fullmatch(f"[A-Za-z0-9_-]{{1,{LONGEST}}}", name):
        return name
    return f"{re.sub('[^A-Za-z0-9_-]+', '-', name)[:80].strip('-') or 'video'}-{digest(name, length=8)}"


def rejected(key: str, error: TrajkitError, root: Path | None = None) -> Rejected:
    """The error as the finding that ended an item; its path is told from `root`, so that no machine's shows."""
    where = error.where.removeprefix(f"{root}/")
    where = re.sub(r"^/(?:[^/]*/)*", "", where)  # what is absolute still
    message = f"{error.problem}; {error.remedy}"
    return Rejected(key=key, findings=(Finding(code="failed", level="error", where=where, message=message),))


def each(
    root: Path, names: Iterable[str], read: Callable[[str], Posed], key: Callable[[str], str] = key_of
) -> Iterator[Posed | Rejected]:
    """For each name what `read` makes of it, or the error it raised as a rejection under its key."""
    for name in names:
        found = attempt(read, name)
        yield rejected(key(name), found, root) if isinstance(found, TrajkitError) else found


def file_key(name: str) -> str:
    """The key of a name in folders that only sort, such as group_0001/<uuid>: the last part's."""
    return key_of(Path(name).name)


def named(folder: Path, stem: str, suffixes: tuple[str, ...] = VIDEOS) -> Path | None:
    """The file folder/stem with one of the suffixes."""
    return next((path for end in suffixes if (path := folder / (stem + end)).is_file()), None)


def only_video(folder: Path) -> Path:
    """The one video that lies in a folder. Raises TrajkitError for none and for several."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEOS)
    if len(found) != 1:
        raise TrajkitError(folder, f"holds {len(found)} videos, not 1", "put the poses' video beside them")
    return found[0]


def photos_in(folder: Path) -> list[Path]:
    """The pictures of a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTOS and path.is_file())


def frame_times_s(path: Path) -> tuple[video.VideoFacts, Float64[Array, " f"]]:
    """A video's facts, and when each of its frames is shown, in seconds from the first one.

    Raises TrajkitError for a damaged video, and for one of changing rate whose file has no times.
    """
    facts = video.probe(path)
    if facts.constant_rate:
        return facts, np.arange(facts.frames) / facts.fps
    import av

    from trajkit.readers.pyav import FORMATS, opened

    with av.open(opened(path), "r", container_options={"format_whitelist": FORMATS}) as container:
        stream = container.streams.video[0]
        shown = (packet for packet in container.demux(stream) if packet.size and not packet.is_discard)
        pts = np.array(sorted({packet.pts for packet in shown if packet.pts is not None}), np.float64)
        if len(pts) != facts.frames or stream.time_base is None:
            raise TrajkitError(path, "its frames have no times", "re-encode it at a constant rate")
        return facts, (pts - pts[0]) * float(stream.time_base)
