"""Pose formats, one per file: `read(path, ...) -> Trajectory` and/or `write(trajectory, path, ...)`."""
