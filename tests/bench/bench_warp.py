"""What `warp` costs, and how near it comes to the truth: 30 random paths through toy rooms with their true depth.

    python tests/bench/bench_warp.py [--paths 30] [--size 832x480] [--pictures FOLDER]

PSNR over fully seen pixels against the ray cast picture, in the middle and at the end of each path, there also without
pixels in front of which something stands that the first picture did not show (depth off by 2 %); the pose recovered
from the last picture by features, the first picture's depth and PnP, against the commanded one. One thread.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

import numpy as np
from PIL import Image
from warpshots import filmed, psnr_db, recovered, room

from trajkit import se3
from trajkit.camera import Camera
from trajkit.curation import warping
from trajkit.curation.filling import filled
from trajkit.trajectory import Trajectory

SAME = 0.02  # relative difference of depth up to which it is the same surface


def quality(paths: int, size: tuple[int, int], folder: Path | None) -> None:
    rows = []
    for seed in range(paths):
        try:
            first, made, frames, truth = filmed(seed, size)
        except ValueError as error:
            print(f"{seed:3} rejected: {error}", flush=True)
            continue
        truth = list(truth)
        shown = [frames[len(frames) // 2], frames[-1]]
        decibels = [psnr_db(one.rgb, two.rgb, one.alpha >= 1) for one, two in zip(shown, truth, strict=True)]
        near = np.abs(shown[1].depth - truth[1].depth) < SAME * truth[1].depth
        decibels.append(psnr_db(shown[1].rgb, truth[1].rgb, (shown[1].alpha >= 1) & near))
        walk = made.trajectory
        found = recovered(first, Camera.from_fov(*size, 50.0), shown[1].rgb, walk.camera(0))
        length = np.linalg.norm(walk.camera_to_world[-1][:3, 3])
        miss = np.linalg.norm(found[:3, 3] - walk.camera_to_world[-1][:3, 3]) / length
        turn = float(se3.angle_deg(found[:3, :3].T @ walk.camera_to_world[-1][:3, :3]))
        rows.append((*decibels, 100 * miss, turn, made.checks["unseen_worst"], made.checks["path_share"]))
        print(f"{seed:3}", " ".join(f"{value:8.3f}" for value in rows[-1]), f"zoom {made.checks['zoom']}", flush=True)
        if folder:
            Image.fromarray(np.hstack([first.rgb, shown[1].rgb])).save(folder / f"warp-{seed:02}.png")
    table = np.array(rows)
    for name, column in zip(
        ("middle dB", "end dB", "end dB, truly seen", "translation %", "rotation deg", "unseen"), table.T, strict=False
    ):
        print(f"{name:18} median {np.median(column):8.3f} min {column.min():8.3f} max {column.max():8.3f}")


def speed(size: tuple[int, int]) -> None:
    draw, pose, lens = room(3, size)
    first = next(draw.frames(Trajectory.from_camera(pose[None], lens, fps=16)))
    moved = se3.inverse(se3.pose(se3.axis_rotation("y", np.array(3.0)), np.array([0.15, 0.03, 0.1])))
    mesh = warping.surface(first.depth)
    made = warping.warp_picture(first.rgb, mesh, lens, lens, moved)
    half = lens.resized(size[0] // 2, size[1] // 2)
    small = warping.surface(np.ascontiguousarray(first.depth[::2, ::2]))
    steps = {
        "mesh": lambda: warping.surface(first.depth),
        "warp": lambda: warping.warp_picture(first.rgb, mesh, lens, lens, moved),
        "fill edge": lambda: filled(made, "edge"),
        "fill inpaint": lambda: filled(made, "inpaint"),
        "measure, half size": lambda: warping.unseen_share(small, half, half, moved),
    }
    for name, step in steps.items():
        step()
        spent = []
        for _ in range(9):
            began = time.process_time()
            step()
            spent.append(time.process_time() - began)
        print(f"{name:20} {1e3 * np.median(spent):7.1f} ms CPU, least {1e3 * min(spent):7.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paths", type=int, default=30)
    parser.add_argument("--size", default="832x480")
    parser.add_argument("--pictures", type=Path)
    asked = parser.parse_args()
    size = tuple(map(int, asked.size.split("x")))
    speed(size)
    if asked.paths:
        quality(asked.paths, size, asked.pictures)


if __name__ == "__main__":
    main()
