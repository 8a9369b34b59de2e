"""A clip beside the path that it was told to follow, seen from above."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from trajkit import se3
from trajkit.clip import Clip
from trajkit.show.exhibit import Exhibit
from trajkit.show.place import Place
from trajkit.show.sheet import INK, PAPER, paths_map

HEIGHT = 240  # smaller pictures are enlarged to it
UP = np.array([0.0, -1.0, 0.0])
AHEAD = se3.Similarity(rotation=se3.axis_rotation("y", 90.0), translation=np.zeros(3), scale=1.0)  # paths_map's way up


def beside(clip: Clip, pictures: UInt8[np.ndarray, "n h w 3"]) -> Iterator[UInt8[np.ndarray, "h w2 3"]]:
    """Each picture with a map to its right: the whole path as grey points, the part walked so far in colours of time.

    The first camera looks up the map. Below it: the frame, how far the camera has gone, and how far it has turned since
    the first frame.
    """
    path = clip.trajectory.relative_to(0).moved(AHEAD)
    times = max(1, -(-HEIGHT // path.height))
    width, height = path.width * times, path.height * times
    side = height + height % 2
    place = Place(id=clip.key, up=UP, cameras=path)
    font = ImageFont.load_default(max(11, side // 20))
    turned = se3.angle_deg(path.camera_to_world[0, :3, :3].T @ path.camera_to_world[:, :3, :3])
    for number, picture in enumerate(pictures):
        walked = replace(clip, trajectory=path[: number + 1], frames=0, video=None)
        map_ = paths_map([Exhibit(id=clip.key, clip=walked, at=(), stills=())], place, (side, side - side // 10))
        sheet = Image.new("RGB", (width + width % 2 + side, side), PAPER)
        sheet.paste(Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST), (0, 0))
        sheet.paste(map_, (width + width % 2, 0))
        told = f"{number}   {path[: number + 1].path_length:.2f} units   {turned[number]:.0f} deg"
        ImageDraw.Draw(sheet).text((width + 12, side - side // 10), told, font=font, fill=INK)
        yield np.asarray(sheet)
