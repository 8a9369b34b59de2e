"""safetensors as bytes that are a function of their content: the library writes metadata in a random order."""

import json
from collections.abc import Mapping

from torch import Tensor

from trajkit.errors import TrajkitError

LENGTH_BYTES = 8  # little-endian length of the JSON header that follows


def packed(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file; equal content gives equal bytes."""
    from safetensors.torch import save

    content = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, dict(metadata))
    header, end = _header(content, "safetensors")
    header["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH_BYTES)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text + content[end:]


def metadata_of(content: bytes, where: object) -> dict[str, str]:
    """The texts in the header. Raises TrajkitError where there is no header."""
    return {str(name): str(text) for name, text in _header(content, where)[0].get("__metadata__", {}).items()}


def _header(content: bytes, where: object) -> tuple[dict, int]:
    """The parsed header, and where the tensors start."""
    end = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")
    try:
        header = json.loads(content[LENGTH_BYTES:end])
        header.get("__metadata__", {}).items()
    except (ValueError, AttributeError, RecursionError):
        raise TrajkitError(where, "not a safetensors file", "write it again") from None
    return header, end
