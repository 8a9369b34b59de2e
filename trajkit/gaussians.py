"""`Gaussians`: a scene as 3D Gaussian splats in the scene's own world, and its file.

Reads PLY as INRIA's trainer and as PlayCanvas's compressor write it; writes the former.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, UInt32
from scipy.spatial.transform import Rotation

from trajkit import files, harmonics
from trajkit.errors import TrajkitError
from trajkit.harmonics import C0
from trajkit.se3 import Similarity

Array = np.ndarray
SHAPES = {"means": (3,), "log_scales": (3,), "quaternions_wxyz": (4,), "logit_opacities": (), "sh": (None, 3)}
HEADER_LIMIT = 1 << 16  # bytes; a splat file's header has under 70 lines
TYPES = {
    **dict.fromkeys(("float", "float32"), "<f4"),
    **dict.fromkeys(("double", "float64"), "<f8"),
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "<i2"),
    **dict.fromkeys(("ushort", "uint16"), "<u2"),
    **dict.fromkeys(("int", "int32"), "<i4"),
    **dict.fromkeys(("uint", "uint32"), "<u4"),
}
CHUNK = 256  # splats that share bounds in a compressed file
REST_COUNTS = (0, 9, 24, 45)  # harmonics above the constant one, times three, for degrees 0..3
NEEDED = ("x", "y", "z", *(f"f_dc_{i}" for i in range(3)), "opacity")
NEEDED += (*(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4)))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Gaussians:
    """N Gaussians as splat files store them: natural log of the standard deviations, logit of the opacity.

    `sh` holds K = 1, 4, 9 or 16 spherical harmonics of the colour (degree 0..3) over the direction from camera to
    Gaussian; the colour is 0.5 + their sum. Quaternions need not be unit.
    Arrays are read-only views of what is given. Raises TrajkitError on a wrong shape, a non-finite number or a zero
    quaternion.
    """

    means: Float32[Array, "n 3"]
    log_scales: Float32[Array, "n 3"]
    quaternions_wxyz: Float32[Array, "n 4"]
    logit_opacities: Float32[Array, " n"]
    sh: Float32[Array, "n k 3"]

    def __post_init__(self) -> None:
        n = len(self.means)
        for name, shape in SHAPES.items():
            array = np.ascontiguousarray(getattr(self, name), np.float32).view()
            wanted = (n, *(array.shape[1] if size is None else size for size in shape)) if array.ndim > 1 else (n,)
            if array.ndim != 1 + len(shape) or array.shape != wanted:
                raise TrajkitError("gaussians", f"{name} of shape {array.shape}", f"give {n} rows of shape {shape}")
            finite = np.isfinite(array).reshape(n, -1).all(axis=1)
            if not finite.all():
                problem = f"{name} of {n - finite.sum()} Gaussians not finite, first number {int(np.argmin(finite))}"
                raise TrajkitError("gaussians", problem, "drop them or export again")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if self.sh.shape[1] not in (1, 4, 9, 16):
            raise TrajkitError("gaussians", f"{self.sh.shape[1]} harmonics a colour", "give 1, 4, 9 or 16")
        zero = ~np.any(self.quaternions_wxyz, axis=1)
        if zero.any():
            raise TrajkitError("gaussians", f"quaternion {int(np.argmax(zero))} is zero", "drop that Gaussian")

    def __len__(self) -> int:
        return len(self.means)

    @property
    def sh_degree(self) -> int:
        """Degree of the colour's harmonics, 0..3."""
        return math.isqrt(self.sh.shape[1]) - 1

    def moved(self, similarity: Similarity) -> "Gaussians":
        """The same splats in another world frame (target <- source): also turns their colours' harmonics."""
        turn = Rotation.from_matrix(similarity.rotation)
        turned = turn * Rotation.from_quat(self.quaternions_wxyz[:, [1, 2, 3, 0]])
        harmonic_turn = harmonics.rotation(similarity.rotation, self.sh_degree)
        return Gaussians(
            means=similarity.points(self.means).astype(np.float32),
            log_scales=self.log_scales + np.float32(math.log(similarity.scale)),
            quaternions_wxyz=turned.as_quat()[:, [3, 0, 1, 2]].astype(np.float32),
            logit_opacities=self.logit_opacities,
            sh=np.einsum("jk,nkc->njc", harmonic_turn, self.sh).astype(np.float32),
        )


class _Element(NamedTuple):
    name: str
    rows: int
    fields: list[tuple[str, str]]


def read_ply(path: Path) -> Gaussians:
    """The Gaussians of a splat PLY (binary little-endian; INRIA's layout or the compressed one), world as stored.

    Raises TrajkitError naming the file where it is missing, truncated, longer than its header says, no splat file, or
    holds numbers that are not finite.
    """
    path = Path(path)
    try:
        with open(path, "rb") as stream:
            header = stream.read(HEADER_LIMIT)
            elements, start = _parse_header(path, header)
            tables = _read_tables(path, elements, start)
    except FileNotFoundError:
        raise TrajkitError(path, "no such file", "check the path") from None
    except OSError as error:
        raise TrajkitError(path, error.strerror or str(error), "check the path and its permissions") from None
    if "vertex" not in tables or len(tables["vertex"]) == 0:
        raise TrajkitError(path, "holds no Gaussians", "check that it is a splat PLY")
    compressed = "packed_position" in (tables["vertex"].dtype.names or ())
    try:
        return _from_compressed(path, tables) if compressed else _from_inria(path, tables["vertex"])
    except TrajkitError as error:
        if error.where != "gaussians":
            raise
        raise TrajkitError(path, error.problem, error.remedy) from None


def write_ply(gaussians: Gaussians, path: Path) -> None:
    """Writes INRIA's layout, whole or not at all; the same Gaussians give the same bytes."""
    rest = gaussians.sh[:, 1:].transpose(0, 2, 1).reshape(len(gaussians), -1)  # channel by channel
    columns = {
        "x y z": gaussians.means,
        "nx ny nz": np.zeros((len(gaussians), 3), np.float32),  # INRIA's viewer wants them there
        "f_dc_0 f_dc_1 f_dc_2": gaussians.sh[:, 0],
        " ".join(f"f_rest_{i}" for i in range(rest.shape[1])): rest,
        "opacity": gaussians.logit_opacities[:, None],
        "scale_0 scale_1 scale_2": gaussians.log_scales,
        "rot_0 rot_1 rot_2 rot_3": gaussians.quaternions_wxyz,
    }
    names = " ".join(columns).split()
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(gaussians)}"]
    lines += [*(f"property float {name}" for name in names), "end_header", ""]
    with files.whole(Path(path)) as stream:
        stream.write("\n".join(lines).encode())
        stream.write(np.concatenate(list(columns.values()), axis=1).astype("<f4").tobytes())


def _parse_header(path: Path, header: bytes) -> tuple[list[_Element], int]:
    """The elements, and the offset where their rows begin."""
    end = header.find(b"end_header")
    newline = header.find(b"\n", end)
    if not header.startswith(b"ply") or end < 0 or newline < 0:
        raise TrajkitError(path, "not a PLY file", "check that it is the right file")
    lines = [line.split() for line in header[:end].decode("latin-1").splitlines()[1:]]
    if ["format", "binary_little_endian", "1.0"] not in lines:
        raise TrajkitError(path, "not binary little-endian PLY", "export it as binary")
    elements: list[_Element] = []
    for words in lines:
        match words:
            case ["element", name, count] if count.isdecimal() and len(count) < 12:
                elements.append(_Element(name, int(count), []))
            case ["property", kind, name] if kind in TYPES and elements and name not in dict(elements[-1].fields):
                elements[-1].fields.append((name, TYPES[kind]))
            case ["element" | "property", *_]:
                problem = f"header line {' '.join(words)[:80]!r} fits no splat file"
                raise TrajkitError(path, problem, "check that it is the right file")
    return elements, newline + 1


def _read_tables(path: Path, elements: list[_Element], start: int) -> dict[str, Array]:
    """The rows of each element. The size is checked before anything is read, so a header cannot ask for memory."""
    dtypes = [np.dtype(element.fields) for element in elements]
    wanted = start + sum(element.rows * dtype.itemsize for element, dtype in zip(elements, dtypes, strict=True))
    size = path.stat().st_size
    if size != wanted:
        kind = "truncated" if size < wanted else "longer than its header says"
        raise TrajkitError(path, f"{kind}: {size} bytes, not {wanted}", "copy or export it again")
    tables = {}
    for element, dtype in zip(elements, dtypes, strict=True):
        tables[element.name] = np.fromfile(path, dtype, element.rows, offset=start)
        start += element.rows * dtype.itemsize
    return tables


def _columns(path: Path, table: Array, names: tuple[str, ...] | list[str]) -> Float64[Array, "n k"]:
    """The named columns side by side. Raises TrajkitError for one that is absent."""
    absent = [name for name in names if name not in (table.dtype.names or ())]
    if absent:
        raise TrajkitError(path, f"no property {absent[0]}", "check that it is a splat PLY, not a point cloud")
    return np.stack([table[name] for name in names], axis=-1).astype(np.float64)


def _rest(path: Path, table: Array | None) -> list[str]:
    """Names of the harmonics above the constant one, in order of their number."""
    names = [name for name in (table.dtype.names or ()) if name.startswith("f_rest_")] if table is not None else []
    if len(names) not in REST_COUNTS or set(names) != {f"f_rest_{i}" for i in range(len(names))}:
        raise TrajkitError(path, f"{len(names)} f_rest properties", "export with 0, 9, 24 or 45 of them")
    return [f"f_rest_{i}" for i in range(len(names))]


def _harmonics(constant: Float64[Array, "n 3"], rest: Float64[Array, "n r"]) -> Float64[Array, "n k 3"]:
    """Constant and higher terms as one array; files hold the higher ones channel by channel."""
    higher = rest.reshape(len(rest), 3, rest.shape[1] // 3).transpose(0, 2, 1)
    return np.concatenate([constant[:, None], higher], axis=1)


def _from_inria(path: Path, table: Array) -> Gaussians:
    _columns(path, table[:0], NEEDED)
    rest = _rest(path, table)
    higher = _columns(path, table, rest) if rest else np.zeros((len(table), 0))
    return Gaussians(
        means=_columns(path, table, NEEDED[:3]),
        log_scales=_columns(path, table, NEEDED[7:10]),
        quaternions_wxyz=_columns(path, table, NEEDED[10:]),
        logit_opacities=table["opacity"],
        sh=_harmonics(_columns(path, table, NEEDED[3:6]), higher),
    )


def _from_compressed(path: Path, tables: dict[str, Array]) -> Gaussians:
    """PlayCanvas's compressed PLY: 16 bytes a splat, within bounds that 256 of them share; harmonics in a byte each.

    Format: https://developer.playcanvas.com/user-manual/gaussian-splatting/formats/ply (compressed PLY).
    """
    vertex, chunk, sh = tables["vertex"], tables.get("chunk"), tables.get("sh")
    n = len(vertex)
    if chunk is None or len(chunk) != -(-n // CHUNK) or (sh is not None and len(sh) != n):
        raise TrajkitError(path, f"the parts of {n} packed splats do not fit together", "export it again")
    words = _columns(path, vertex, ["packed_position", "packed_rotation", "packed_scale", "packed_color"])
    position, rotation, scale, colour = words.T.astype(np.uint32)
    channels = _bits(colour, (8, 8, 8, 8))
    rgb = channels[:, :3]
    if "min_r" in (chunk.dtype.names or ()):  # older files keep colours within 0..1
        rgb = _within(path, chunk, ("r", "g", "b"), rgb)
    alpha = channels[:, 3].clip(0.5 / 255, 1 - 0.5 / 255)  # a byte's 0 and 1 have no finite logit
    rest = _rest(path, sh)
    higher = (_columns(path, sh, rest) + 0.5) / 32 - 4 if sh is not None and rest else np.zeros((n, 0))
    return Gaussians(
        means=_within(path, chunk, ("x", "y", "z"), _bits(position, (11, 10, 11))),
        log_scales=_within(path, chunk, ("scale_x", "scale_y", "scale_z"), _bits(scale, (11, 10, 11))),
        quaternions_wxyz=_smallest_three(rotation),
        logit_opacities=np.log(alpha / (1 - alpha)),
        sh=_harmonics((rgb - 0.5) / C0, higher),
    )


def _bits(words: UInt32[Array, " n"], widths: tuple[int, ...]) -> Float64[Array, "n k"]:
    """Fields of a word, the highest first, each as a fraction 0..1."""
    shifts = np.cumsum((0, *widths[::-1]))[-2::-1]
    fields = [(words >> int(shift)) & (2**width - 1) for shift, width in zip(shifts, widths, strict=True)]
    return np.stack(fields, axis=-1) / (2.0 ** np.array(widths) - 1)


def _within(path: Path, chunk: Array, names: tuple[str, ...], unit: Float64[Array, "n 3"]) -> Float64[Array, "n 3"]:
    """Fractions as values between the bounds of each splat's chunk."""
    low = _columns(path, chunk, [f"min_{name}" for name in names])
    high = _columns(path, chunk, [f"max_{name}" for name in names])
    owner = np.arange(len(unit)) // CHUNK
    return low[owner] + unit * (high - low)[owner]


def _smallest_three(words: UInt32[Array, " n"]) -> Float64[Array, "n 4"]:
    """Unit quaternions (wxyz) from the number of the largest component (2 bits) and the three others (10 bits each)."""
    others = (_bits(words & np.uint32(2**30 - 1), (10, 10, 10)) - 0.5) * math.sqrt(2)
    largest = (words >> 30).astype(np.int64)
    quaternions = np.empty((len(words), 4))
    rows = np.arange(len(words))
    for k in range(3):
        quaternions[rows, np.where(k < largest, k, k + 1)] = others[:, k]
    quaternions[rows, largest] = np.sqrt((1 - (others**2).sum(axis=1)).clip(min=0))
    return quaternions
