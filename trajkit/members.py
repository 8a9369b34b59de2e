"""What the members of a clip hold, as bytes: `camera.npz`, `json`, `txt`. Folders and shards both use these codecs.

Nothing here unpickles, and nothing is allocated before its declared size has been checked.
"""

import io
import math
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Annotated, Any, BinaryIO, Final, Literal

import numpy as np
from annotated_types import Ge, Gt, MinLen
from pydantic import ConfigDict, StringConstraints, TypeAdapter, ValidationError

from trajkit.errors import TrajkitError
from trajkit.files import json_bytes
from trajkit.trajectory import Scale, Trajectory

SUFFIXES = ("camera.npz", "depth.npz", "json", "latent.safetensors", "mp4", "txt")
REQUIRED = ("camera.npz", "json", "mp4", "txt")
SCHEMA: Final = "trajkit.clip/1"
CONVENTION: Final = "camera_to_world opencv float64"
MAX_POSES = 1_000_000  # over nine hours at 30 per second; more is a damaged or hostile header
MAX_TEXT_BYTES = 1 << 20  # of a json or txt member

# An npy header as NumPy writes it. Not read by ast.literal_eval, which two threads at once break in Python 3.11.
HEADER = re.compile(
    r"\{'descr': '(?P<descr>[^']*)', 'fortran_order': (?P<fortran>True|False), 'shape': \((?P<shape>[\d, ]*)\),? *\}"
)
# What zipfile, zlib and a literal parser raise on damaged bytes.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, TypeError, SyntaxError, RuntimeError, OSError)

Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,200}$")]
Kind = Literal["rendered", "reframed", "warped", "generated", "estimated", "refined"]
DepthKind = Literal["z", "inverse"]
# Strict: an unknown key is an error, "16" is no number, NaN is none either. Fields' dataclasses inherit it.
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Where a clip's pictures and poses come from, enough to make them again. "" = does not apply."""

    kind: Kind
    source: str  # scene spec, or the clip that it was made from
    path: str = ""  # path spec that sampled the trajectory, such as "keys:w*12,l*7"
    generator: str = ""  # renderer, estimator or model that made the pictures or the poses
    seed: int = 0
    scene: str = ""  # scene id
    versions: dict[str, str] = field(default_factory=dict)  # of everything that shapes the bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """The content of `<key>.json`."""

    __pydantic_config__ = STRICT

    schema: Literal["trajkit.clip/1"]
    key: Key
    convention: Literal["camera_to_world opencv float64"]
    scale: Scale
    poses: Annotated[int, Ge(1)]
    pose_rate: Annotated[float, Ge(0)]  # poses per second; 0 for a single pose
    frames: Annotated[int, Ge(1)]  # pictures in the mp4
    fps: Annotated[float, Gt(0)]
    width: Annotated[int, Ge(1)]  # pixels
    height: Annotated[int, Ge(1)]
    provenance: Provenance
    licence: Annotated[str, MinLen(1)]
    checks: dict[str, bool | int | float | str] = field(default_factory=dict)  # measured when it was made
    depth: DepthKind | None = None  # what depth.npz holds: z-depth, or 1/z; 0 = nothing there
    sha256: dict[str, Hex] = field(default_factory=dict)  # of each other member, by its suffix


@cache
def adapter(cls: type) -> TypeAdapter:
    """Strict reader of a dataclass from JSON, and the source of its JSON Schema."""
    return TypeAdapter(cls)


def from_json(cls: type, content: bytes, where: object, *, limit: int = MAX_TEXT_BYTES) -> Any:
    """An instance of the dataclass. Raises TrajkitError, naming `where` and the field, for what does not fit."""
    if len(content) > limit:
        raise TrajkitError(where, f"JSON of {len(content)} bytes", f"keep it under {limit}")
    try:
        return adapter(cls).validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        remedy = "read it with the trajkit that wrote it" if place == "schema" else "see schemas/FORMAT.md"
        raise TrajkitError(where, f"{place + ': ' if place else ''}{first['msg']}{more}", remedy) from None
    except TrajkitError as error:
        raise TrajkitError(where, f"{error.where}: {error.problem}", error.remedy) from None


def record_bytes(record: Record) -> bytes:
    """`<key>.json`: canonical JSON. Raises TrajkitError where the record would not be read back."""
    try:
        content = json_bytes(asdict(record))
    except (ValueError, TypeError) as error:
        problem = f"does not fit JSON ({error})"
        raise TrajkitError(f"clip {record.key}", problem, "use text and finite numbers") from None
    record_from_bytes(content, f"clip {record.key}")
    return content


def record_from_bytes(content: bytes, where: object) -> Record:
    """The record in `<key>.json`. Raises TrajkitError naming `where` for anything that does not fit."""
    return from_json(Record, content, where)


def is_key(name: str) -> bool:
    """Whether it is 1 to 200 of [A-Za-z0-9_-]; a dot would end the key for tar readers."""
    return re.fullmatch(r"[A-Za-z0-9_-]{1,200}", name) is not None


def check_key(key: str, where: object) -> str:
    """The key itself. Raises TrajkitError naming `where` unless it is one."""
    if not is_key(key):
        raise TrajkitError(where, f"{key!r} is no clip key", "use up to 200 letters, digits, _ and -")
    return key


def caption_bytes(caption: str, where: object) -> bytes:
    """`<key>.txt`: the caption in UTF-8, without a final newline."""
    try:
        return caption.encode()
    except UnicodeEncodeError:
        raise TrajkitError(where, "the caption is not valid Unicode", "remove lone surrogates") from None


def caption_from_bytes(content: bytes, where: object) -> str:
    """The caption. Raises TrajkitError where it is not UTF-8 or longer than a megabyte."""
    if len(content) > MAX_TEXT_BYTES:
        raise TrajkitError(where, f"a caption of {len(content)} bytes", f"keep it under {MAX_TEXT_BYTES}")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise TrajkitError(where, "not UTF-8 text", "write the caption as UTF-8") from None


def camera_bytes(trajectory: Trajectory) -> bytes:
    """`<key>.camera.npz` of a pinhole trajectory: the same poses give the same bytes.

    Raises TrajkitError where the trajectory has lens distortion: pictures are undistorted before they become a clip.
    """
    if any(trajectory.distortion):
        raise TrajkitError("trajectory", "has lens distortion", "undistort the pictures; clips are pinhole")
    arrays = {
        "camera_to_world": trajectory.camera_to_world.astype("<f8"),
        "frame_index": trajectory.frame_index.astype("<i8"),
        "intrinsics": trajectory.intrinsics.astype("<f8"),
        "size": np.array([trajectory.width, trajectory.height], "<i8"),
        "times_s": trajectory.times_s.astype("<f8"),
    }
    return npz_bytes(arrays)


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An npz that `read_npz` reads: the same arrays give the same bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:  # members carry the date 1980-01-01 unless told otherwise
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def trajectory_from_bytes(content: bytes, where: object, *, scale: Scale | None = None) -> Trajectory:
    """The trajectory in `<key>.camera.npz`; its scale is in the json. Raises TrajkitError naming `where`."""
    wanted = {
        "camera_to_world": ("<f8", (None, 4, 4)),
        "frame_index": ("<i8", (None,)),
        "intrinsics": ("<f8", (None, 4)),
        "size": ("<i8", (2,)),
        "times_s": ("<f8", (None,)),
    }
    arrays = read_npz(io.BytesIO(content), where, wanted, limit=MAX_POSES)
    width, height = map(int, arrays["size"])
    try:
        return Trajectory(
            camera_to_world=arrays["camera_to_world"],
            intrinsics=arrays["intrinsics"],
            width=width,
            height=height,
            times_s=arrays["times_s"],
            frame_index=arrays["frame_index"],
            scale=scale or Scale(),
        )
    except TrajkitError as error:
        raise TrajkitError(where, error.problem, error.remedy) from None


def read_npz(
    stream: BinaryIO, where: object, wanted: Mapping[str, tuple[str, tuple[int | None, ...]]], *, limit: int
) -> dict[str, np.ndarray]:
    """Exactly the wanted arrays (dtype, shape; None = any length up to `limit`) of an npz, checked before allocating.

    Raises TrajkitError naming `where` for a damaged archive, other members, another dtype or shape, or pickled content.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            names = sorted(archive.namelist())
            if names != sorted(f"{name}.npy" for name in wanted):
                problem = f"holds {', '.join(names)[:200] or 'nothing'}, not {', '.join(sorted(wanted))}"
                raise TrajkitError(where, problem, "write it again; schemas/FORMAT.md lists the arrays")
            return {name: _read_npy(archive, name, where, *wanted[name], limit=limit) for name in sorted(wanted)}
    except DAMAGE as error:
        raise TrajkitError(where, f"damaged npz ({error})", "restore the file or make the clip again") from None


def _read_npy(
    archive: zipfile.ZipFile, name: str, where: object, dtype: str, shape: tuple[int | None, ...], *, limit: int
) -> np.ndarray:
    with archive.open(f"{name}.npy") as member:
        preamble = member.read(10)  # magic, version 1.0, header length: NEP 1 of NumPy
        if preamble[:8] != b"\x93NUMPY\x01\x00" or len(preamble) != 10:
            raise ValueError(f"{name} is no npy of version 1.0")
        header = HEADER.fullmatch(member.read(int.from_bytes(preamble[8:], "little")).decode("latin1").strip())
        if header is None:
            raise ValueError(f"the header of {name} is none")
        found, found_shape = header["descr"], tuple(int(n) for n in header["shape"].split(",") if n.strip())
        fits = len(found_shape) == len(shape) and all(
            isinstance(n, int) and (0 <= n <= limit if want is None else n == want)
            for n, want in zip(found_shape, shape, strict=True)
        )
        if found != dtype or not fits:
            shown = "x".join("N" if want is None else str(want) for want in shape)
            problem = f"{name} is {found} {found_shape}, not {dtype} {shown}"
            raise TrajkitError(where, problem, "write it again with the type and shape in schemas/FORMAT.md")
        size = math.prod(found_shape) * np.dtype(dtype).itemsize
        content = member.read(size)
        if len(content) != size or member.read(1):
            raise ValueError(f"{name} is shorter or longer than its shape {found_shape}")
    return np.frombuffer(content, dtype).reshape(found_shape, order="F" if header["fortran"] == "True" else "C")
