"""Renderers, one per file: `Renderer(scene, options).frames(trajectory) -> Iterator[Frame]`."""
