"""DL3DV and other captures with a nerfstudio `transforms.json`, as plain clips: their photos in order.

Reading, defects and terms are those of the scene source of the same name: poses from COLMAP in a unit of their own, the
world change of the file undone, photos in images, images_2, images_4 or images_8. The lens stays distorted as it is.
Photos have numbers, not times: `fps` says how many numbers a second has (DL3DV took about 300 from each video of a
minute); a number that is missing is a gap.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trajkit.options import option
from trajkit.scene import Rejected
from trajkit.scenes import dl3dv

from . import Posed

LICENCE = dl3dv.LICENCE


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a capture does not say."""

    fps: float = option(5.0, "photo numbers per second", unit="per second", low=1e-3)
    licence: str = option(
        "auto", "terms of the photos, kept with every clip; auto: DL3DV's for its hashes, else unknown"
    )
    min_frames: int = option(8, "usable photos below which a capture is rejected", low=1)


def posed(root: Path, options: Options) -> Iterator[Posed | Rejected]:
    """The captures at or below the root, by name; rejections are those of `trajkit.scenes.dl3dv`."""
    for scene in dl3dv.scenes(root, dl3dv.Options(licence=options.licence, min_frames=options.min_frames)):
        if isinstance(scene, Rejected):
            yield scene
        elif scene.seen is not None:
            number = scene.seen.frame_index
            track = replace(scene.seen, times_s=(number - number[0]) / options.fps, frame_index=np.arange(len(number)))
            yield Posed(
                key=scene.id,
                video=scene.photos,
                trajectory=track,
                fps=None,
                source=scene.source,
                licence=scene.licence,
                estimator="COLMAP",
            )
