"""The latent grid: 4n+1 frames, and which camera a latent carries."""

import numpy as np
import pytest

from trajkit import latents
from trajkit.errors import TrajkitError


def test_77_frames_are_20_latents_in_5_chunks() -> None:
    assert latents.latent_count(77) == 20 == 5 * latents.CHUNK_LATENTS
    assert list(latents.latent_frames(77)) == list(range(0, 77, 4))


@pytest.mark.parametrize("count", [1, 2, 20, 32])
def test_latents_tile_the_frames_and_end_with_their_camera(count: int) -> None:
    frames = latents.frame_count(count)
    assert latents.latent_count(frames) == count
    covered = [frame for latent in range(count) for frame in latents.covered_frames(latent)]
    assert covered == list(range(frames))
    assert [latents.covered_frames(i)[-1] for i in range(count)] == list(latents.latent_frames(frames))


@pytest.mark.parametrize("frames", [0, -3, 2, 76, 78])
def test_other_counts_are_refused_with_the_nearest(frames: int) -> None:
    with pytest.raises(TrajkitError, match=f"use {latents.nearest_frame_count(frames)}"):
        latents.latent_count(frames)


def test_latents_carry_the_poses_of_every_fourth_frame() -> None:
    assert latents.latent_poses(np.arange(9), 9).tolist() == [0, 4, 8]
    assert latents.latent_poses(np.array([0, 2, 4, 5, 8]), 9).tolist() == [0, 2, 4]
    with pytest.raises(TrajkitError, match="none for frame 8, which a latent stands for"):
        latents.latent_poses(np.arange(8), 9)
