"""npy and npz files of other people: shapes checked, nothing unpickled, damage told in one line."""

import io
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from trajkit.errors import TrajkitError

Array = np.ndarray
Shape = tuple[int | None, ...]  # None = any length from 1

# what NumPy (which parses a header as Python), zipfile and zlib have been seen to raise on damaged bytes
DAMAGE = (
    *(ValueError, TypeError, KeyError, EOFError, SyntaxError, tokenize.TokenError, MemoryError, OverflowError),
    *(RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, OSError, AttributeError),
)


def read_npy(path: Path, *shapes: Shape) -> Array:
    """The array of a npy file that has one of these shapes, in its own dtype.

    Raises TrajkitError where the file is missing, damaged, pickled, of another shape, or does not hold numbers.
    """
    if not path.is_file():
        raise TrajkitError(path, "no such file", "check the path")
    try:
        # mapped first, which checks the declared size against the file's before anything is allocated
        array = np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except DAMAGE as error:
        raise _damaged(path, error) from None
    return _checked(array, path, "the array", shapes)


def read_npz(path: Path, wanted: Mapping[str, Shape]) -> dict[str, Array]:
    """The wanted arrays of a npz file, whatever else it holds. Raises TrajkitError as `read_npy` does."""
    if not path.is_file():
        raise TrajkitError(path, "no such file", "check the path")
    try:
        # a stream rather than the path, since NumPy leaves a damaged archive open; the other arrays are never read
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            missing = [name for name in wanted if name not in archive.files]
            if missing:
                problem = f"holds {', '.join(archive.files) or 'nothing'}, not {', '.join(missing)}"
                raise TrajkitError(path, problem, "check that it is the right file")
            arrays = {name: archive[name] for name in wanted}
    except DAMAGE as error:
        raise _damaged(path, error) from None
    return {name: _checked(array, path, name, (wanted[name],)) for name, array in arrays.items()}


def npy_shape(path: Path) -> tuple[int, ...]:
    """The shape that a npy file declares; () for anything else."""
    try:
        return tuple(np.load(path, mmap_mode="r", allow_pickle=False).shape)
    except DAMAGE:
        return ()


def npz_shape(path: Path, name: str) -> tuple[int, ...]:
    """The shape that an array of a npz file declares; () where there is no such array."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
            return npy_header(member)[0]
    except DAMAGE:
        return ()


def npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype that a npy file declares, read up to its first number. Raises ValueError for column order."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read(stream)
    if by_columns and len(shape) > 1:
        raise ValueError("the array is stored by columns")
    return shape, dtype


def npy_bytes(array: Array) -> bytes:
    """A npy file's content; the same array gives the same bytes."""
    stream = io.BytesIO()
    array = np.ascontiguousarray(array) + array.dtype.type(0)  # no -0.0, whose sign depends on the machine's maths
    np.lib.format.write_array(stream, array, version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def npz_bytes(arrays: Mapping[str, Array]) -> bytes:
    """A npz file's content; NumPy dates its members 1980, so the same arrays give the same bytes."""
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **{name: array + array.dtype.type(0) for name, array in arrays.items()})
    return stream.getvalue()


def _damaged(path: Path, error: BaseException) -> TrajkitError:
    return TrajkitError(path, f"damaged or not a NumPy file ({error})", "restore the file or write it again")


def _checked(array: Array, path: Path, name: str, shapes: tuple[Shape, ...]) -> Array:
    fits = any(
        array.ndim == len(shape) and all(want in (None, n) for n, want in zip(array.shape, shape, strict=True))
        for shape in shapes
    )
    if array.dtype.kind not in "iuf" or not array.size or not fits:
        shown = " or ".join("(" + ", ".join("N" if n is None else str(n) for n in shape) + ")" for shape in shapes)
        problem = f"{name} is {array.dtype} of shape {array.shape}, not numbers of shape {shown}"
        raise TrajkitError(path, problem, "check that it is the right file and format")
    return array
