"""Video readers, one per file: `probe(source) -> VideoFacts` and `read(source, indices) -> (N, H, W, 3) uint8`."""
