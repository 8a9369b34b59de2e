"""Scene sources, one per file: `scenes(root, options) -> Iterator[Scene]`."""
