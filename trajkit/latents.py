"""The latent grid of a 4x temporal video VAE: which frames, and whose camera, a latent stands for.

N frames = 4 (L - 1) + 1. Latent 0 covers frame 0; latent i covers frames 4i-3 .. 4i and carries the camera of frame 4i.
(reference/minwm.md 1.6; 77 frames = 20 latents = 5 chunks of 4)
"""

import numpy as np
from jaxtyping import Int64

from trajkit.errors import TrajkitError

FRAMES_PER_LATENT = 4
CHUNK_LATENTS = 4


def latent_count(frames: int) -> int:
    """Number of latents of a clip of `frames` frames. Raises TrajkitError unless frames = 4n+1."""
    if frames < 1 or (frames - 1) % FRAMES_PER_LATENT:
        raise TrajkitError(
            f"frames={frames}",
            "the video VAE takes 4n+1 frames",
            f"use {nearest_frame_count(frames)}",
        )
    return (frames - 1) // FRAMES_PER_LATENT + 1


def nearest_frame_count(frames: int) -> int:
    """The frame count of the form 4n+1 that is nearest to `frames`, never below 1."""
    return max(0, round((frames - 1) / FRAMES_PER_LATENT)) * FRAMES_PER_LATENT + 1


def frame_count(latents: int) -> int:
    """Number of frames that `latents` latents decode to. Raises TrajkitError below one latent."""
    if latents < 1:
        raise TrajkitError(f"latents={latents}", "a clip has at least one latent", "use 1 or more")
    return FRAMES_PER_LATENT * (latents - 1) + 1


def latent_frames(frames: int) -> Int64[np.ndarray, " latents"]:
    """Frame index whose camera each latent carries: 0, 4, 8, ... (the last frame that the latent covers)."""
    return np.arange(latent_count(frames), dtype=np.int64) * FRAMES_PER_LATENT


def latent_poses(frame_index: Int64[np.ndarray, " poses"], frames: int) -> Int64[np.ndarray, " latents"]:
    """Where the poses that the latents carry stand among a clip's poses, whose frames are given, ascending.

    Raises TrajkitError where the frame of a latent has no pose: there must be as many poses as latents.
    """
    wanted = latent_frames(frames)
    places = np.minimum(np.searchsorted(frame_index, wanted), len(frame_index) - 1)
    if np.any(frame_index[places] != wanted):
        bare = int(wanted[frame_index[places] != wanted][0])
        remedy = f"give poses for frames 0, {FRAMES_PER_LATENT}, {2 * FRAMES_PER_LATENT}, ..."
        raise TrajkitError("poses", f"none for frame {bare}, which a latent stands for", remedy)
    return places


def covered_frames(latent: int) -> range:
    """Frames that latent number `latent` encodes."""
    return range(1) if latent == 0 else range(FRAMES_PER_LATENT * latent - 3, FRAMES_PER_LATENT * latent + 1)
