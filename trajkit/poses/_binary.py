"""Little-endian records in a byte string, read with every bound checked."""

import struct
from pathlib import Path
from typing import Any

from trajkit.errors import TrajkitError

MAX_NAME = 4096  # bytes of a file name; more is damage


class Cursor:
    """Reads records one after the other. Raises TrajkitError naming the file where it ends too early or too late."""

    def __init__(self, content: bytes, path: Path) -> None:
        self._content, self._path, self._at = content, path, 0

    def take(self, form: str) -> tuple[Any, ...]:
        """The next record's values, in the letters of the struct module."""
        record = struct.Struct("<" + form)
        self.skip(record.size)
        return record.unpack_from(self._content, self._at - record.size)

    def text(self) -> str:
        """UTF-8 text up to a zero byte."""
        end = self._content.find(b"\0", self._at, self._at + MAX_NAME)
        if end < 0:
            raise self._damage("a name without an end")
        try:
            found = self._content[self._at : end].decode()
        except UnicodeDecodeError:
            raise self._damage("a name that is not UTF-8") from None
        self._at = end + 1
        return found

    def skip(self, size: int) -> None:
        """Passes over bytes, all of which must be there."""
        self._at += size
        if self._at > len(self._content):
            raise self._damage("truncated")

    def end(self) -> None:
        """Checks that nothing follows."""
        if self._at != len(self._content):
            raise self._damage(f"{len(self._content) - self._at} bytes too long")

    def _damage(self, what: str) -> TrajkitError:
        return TrajkitError(self._path, f"damaged: {what}", "restore the file or make it again")


def packed(form: str, *values: Any) -> bytes:
    """A little-endian record without padding."""
    return struct.pack("<" + form, *values)
