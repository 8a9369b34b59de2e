"""Which path a clip gets: by its content alone, or dealt out evenly."""

import functools
from collections import Counter

import numpy as np
import pytest

from trajkit.camera import Camera
from trajkit.curation.assign import Deck, amount, cell_of, coverage, draw, menu, motion, place, sampler
from trajkit.errors import TrajkitError
from trajkit.seeding import generator
from trajkit.trajectory import Scale

LENS = Camera.from_fov(416, 240, 50)
SPECS = ("turn", "keys:w*4", "keys:s*4", "keys:a*4,fit=stretch")


@functools.cache
def turns(balance: bool = True, seed: int = 0, specs: tuple[str, ...] = ("turn",)):
    return menu(specs, 17, 16.0, LENS, balance=balance, seed=seed)


def scene(key: str = "a", unit: float = 1.0):
    return place(key, LENS, unit, Scale())


def test_a_path_is_a_function_of_seed_and_content_alone() -> None:
    plain = turns(balance=False)
    first = draw(scene("a"), plain, None, "content", 0)
    again = draw(scene("b"), plain, None, "content", 0)
    np.testing.assert_array_equal(first.trajectory.camera_to_world, again.trajectory.camera_to_world)
    for content, seed in (("other", 0), ("content", 1)):
        other = draw(scene("a"), plain, None, content, seed)
        assert np.abs(other.trajectory.camera_to_world - first.trajectory.camera_to_world).max() > 1e-6


def test_a_deck_deals_every_cell_before_any_comes_again() -> None:
    chosen = turns()
    deck, cells = Deck(chosen, 0), len(chosen.reached_by)
    assert cells >= 12
    dealt = [deck.deal() for _ in range(3 * cells)]
    for start in range(0, 3 * cells, cells):
        assert set(dealt[start : start + cells]) == set(chosen.reached_by)
    assert dealt[:cells] != dealt[cells : 2 * cells]
    assert Deck(turns(balance=False), 0).deal() is None


def test_balanced_clips_are_even_and_drawn_ones_are_not() -> None:
    chosen = turns(specs=("turn:kind=pan",))
    deck = Deck(chosen, 0)
    drawn = [draw(scene(), chosen, deck.deal(), f"clip {n}", 0) for n in range(4 * len(chosen.reached_by))]
    assert np.mean([one.hit for one in drawn]) > 0.95
    told = coverage([str(one.cell) for one in drawn], chosen)
    assert told["evenness"] > 0.98
    assert told["fewest"] >= 3
    assert told["most"] <= 6
    loose = [draw(scene(), chosen, None, f"clip {n}", 0) for n in range(len(drawn))]
    assert coverage([str(one.cell) for one in loose], chosen)["evenness"] < told["evenness"]


def test_coverage_counts_what_there_is_none_of() -> None:
    chosen = turns()
    cell = next(iter(chosen.reached_by))
    told = coverage([str(cell)] * 5, chosen)
    assert told["clips"] == 5
    assert told["cells"][str(cell)] == 5
    assert told["fewest"] == 0
    assert told["evenness"] == 0
    assert coverage([], chosen)["clips"] == 0


def test_motions_by_name_in_the_cameras_own_axes() -> None:
    def of(spec: str) -> tuple[str, str, str]:
        module, options = sampler(spec, 17, 16.0, LENS)
        return motion(module.sample(scene(), options, generator(0, spec)))

    assert of("keys:w*4") == ("forward", "none", "none")
    assert of("keys:a*4") == ("left", "none", "none")
    assert of("keys:l*4") == ("still", "right", "none")
    assert of("keys:i*4") == ("still", "up", "none")
    assert of("turn:pan_deg=0,zoom=1.5") == ("still", "none", "in")


def test_speed_counts_in_path_units() -> None:
    module, options = sampler("keys:w*4", 17, 16.0, LENS)
    near, far = (module.sample(scene(unit=unit), options, generator(0)) for unit in (1.0, 7.0))
    assert far.path_length == pytest.approx(7 * near.path_length)
    assert amount(far, 7.0) == pytest.approx(amount(near, 1.0))
    assert amount(near, 1.0) == pytest.approx(4 * 0.08, rel=1e-6)


def test_cells_know_slow_from_fast() -> None:
    chosen = turns(specs=("turn:kind=pan",))
    speeds = Counter(cell.speed for cell in chosen.reached_by)
    assert set(speeds) == {"slow", "medium", "fast"}
    lows = {cell: [] for cell in chosen.reached_by}
    for number in range(100):
        module, options = sampler("turn:kind=pan", 17, 16.0, LENS)
        path = module.sample(scene(), options, generator(5, number))
        lows.setdefault(cell_of(path, 1.0, chosen), []).append(amount(path, 1.0))
    for slow in (cell for cell in lows if cell.speed == "slow" and lows[cell]):
        fast = slow._replace(speed="fast")
        if lows.get(fast):
            assert max(lows[slow]) < min(lows[fast])


@pytest.mark.parametrize("spec", ["nosuch", "turn:kind=sideways", "keys:q*4", "keys:w*400"])
@pytest.mark.parametrize("balance", [False, True])
def test_a_wrong_spec_is_one_line_at_once(spec: str, balance: bool) -> None:
    with pytest.raises(TrajkitError) as caught:
        turns(balance=balance, specs=("turn", spec))
    assert "\n" not in str(caught.value)
