"""Web clips as a person sees them: these labels were written down while looking at contact sheets of them."""

from typing import NamedTuple

import numpy as np
import pytest

from trajkit.curation import fitness
from trajkit.curation.fitness import Limits, examine, unfit
from trajkit.errors import TrajkitError


class Label(NamedTuple):
    """What a person sees in a clip."""

    camera: str
    cuts: tuple[int, ...] = ()  # a dissolve: where it begins and ends
    bars: bool = False
    logo: tuple[int, int] | None = None  # a pixel of a logo that can be found because what is behind it moves


LABELS = {
    "1IK5fEEVQdY.102": Label("moving"),  # filmed from a ship: the horizon sinks and all of the deck shifts
    "1NMpoAqzJfY.25": Label("still"),  # a tripod; a car and its dust come to fill half of the picture
    "2jKXlH_ceCo.11": Label("moving", cuts=(66,), logo=(605, 325)),
    "3blNgn1nul0.0": Label("moving", cuts=(132, 156)),  # pours wine, then a dissolve; both glide slowly
    "4Q8lLQxWgmU.13": Label("moving"),  # from the air
    "6AXZJTgpusY.3": Label("moving", cuts=(57,), logo=(66, 17)),  # hand-held; the web address stays over the cut
    "A3y8N3nnVJ8.68": Label("moving"),  # the twig rises by 25 pixels, its leaves with it
    "BIjo0hm1fdM.47": Label("still", logo=(575, 32)),  # a time lapse from night to day
    "C_7tn_oGHI0.432": Label("moving"),  # pushes in on the cake
    "CgcadSRtAag.140": Label("moving"),
    "DY6EvKeXpoo.15": Label("moving", bars=True),  # whip pans that are no cuts
}


@pytest.fixture(scope="module")
def found(shared):
    return {name: examine(shared / "data/openvid_like/video" / f"{name}.mp4") for name in LABELS}


@pytest.mark.parametrize("name", LABELS)
def test_each_clip_is_what_a_person_sees(found, name):
    one, label = found[name], LABELS[name]
    assert one.camera == label.camera
    assert 0.9 < one.camera_sure <= 0.99
    assert len(one.cuts) == len(label.cuts)
    assert all(abs(cut - wanted) <= 8 for cut, wanted in zip(one.cuts, label.cuts, strict=True))
    assert np.abs(np.subtract(one.picture, (142, 0, 500, 360) if label.bars else (0, 0, 640, 360))).max() <= 2
    if label.logo is None:
        assert not one.overlays
    else:
        ((left, top, right, bottom),) = one.overlays
        assert left <= label.logo[0] < right
        assert top <= label.logo[1] < bottom
    assert not fitness._held(one)  # none is frozen


def test_reasons_are_those_a_person_would_give(found):
    codes = {name: {finding.code for finding in unfit(one, Limits(), frames=77, fps=16)} for name, one in found.items()}
    assert codes == {
        "1IK5fEEVQdY.102": {"short", "camera-moves"},
        "1NMpoAqzJfY.25": {"short"},
        "2jKXlH_ceCo.11": {"cuts", "camera-moves", "overlay"},
        "3blNgn1nul0.0": {"cuts", "camera-moves"},
        "4Q8lLQxWgmU.13": {"short", "camera-moves"},
        "6AXZJTgpusY.3": {"short", "camera-moves"},
        "A3y8N3nnVJ8.68": {"short", "camera-moves"},
        "BIjo0hm1fdM.47": set(),
        "C_7tn_oGHI0.432": {"short", "camera-moves"},
        "CgcadSRtAag.140": {"short", "camera-moves"},
        "DY6EvKeXpoo.15": {"bars", "camera-moves"},
    }


def test_a_damaged_file_is_one_error(shared):
    with pytest.raises(TrajkitError, match=r"corrupted.mp4: .*; restore"):
        examine(shared / "data/openvid_like/corrupted.mp4")
