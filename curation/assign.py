"""Which path a clip gets: drawn from the samplers by the clip's content, or dealt out so that a set is even.

A `Cell` is a kind of motion at one of three speeds. `menu` draws paths ahead to learn which cells the given samplers
reach; a `Deck` deals each of them once before any comes again; `draw` gives the clip's first path that falls into its
cell. Speeds are slow, medium and fast thirds of a motion's own draws, since metres and degrees cannot be compared.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from trajkit import options as options_
from trajkit import plugins, seeding
from trajkit.camera import Camera
from trajkit.scene import Scene
from trajkit.trajectory import Scale, Trajectory

from .metrics._about import direction, turn

SPEEDS = ("slow", "medium", "fast")
MENU_DRAWS = 240
MENU_SHARE = 0.01  # of the draws; rarer motions are not asked for
TRIES = 64
LEAST_TURN_DEG_S = 0.2  # exact paths turn slowly, too, where a report calls that still
ZOOM = 1.02  # focal length at the end over that at the start, from which it counts as a zoom


class Cell(NamedTuple):
    """A kind of motion at a speed, such as forward, none, none, slow."""

    direction: str  # left right up down forward backward mixed still
    turn: str  # left right up down roll mixed none
    zoom: str  # in out none
    speed: str  # slow medium fast, or "" = not known

    def __str__(self) -> str:
        moves = [self.direction] if self.direction != "still" else []
        moves += [f"turn-{self.turn}"] if self.turn != "none" else []
        moves += [f"zoom-{self.zoom}"] if self.zoom != "none" else []
        return f"{'+'.join(moves) or 'still'} {self.speed}".rstrip()


@dataclass(frozen=True, kw_only=True, slots=True)
class Menu:
    """What the samplers can give: for each motion the limits between its speeds, for each cell the specs that reach it.

    A menu without cells (`balance` off) asks for nothing.
    """

    specs: tuple[str, ...]
    frames: int = 0
    fps: float = 0.0
    limits: Mapping[tuple[str, str, str], tuple[float, float]] = field(default_factory=dict)
    reached_by: Mapping[Cell, tuple[str, ...]] = field(default_factory=dict)


class Drawn(NamedTuple):
    """A path, the spec that sampled it, its cell, and whether that is the one asked for."""

    trajectory: Trajectory
    spec: str
    cell: Cell
    hit: bool


def sampler(spec: str, frames: int, fps: float, lens: Camera) -> tuple[ModuleType, Any]:
    """The sampler of a spec such as `turn:kind=pan`, and its options. Raises TrajkitError where the spec is wrong."""
    name, text = options_.split_spec(spec)
    module = plugins.load("paths", name)
    return module, options_.parse(module.Options, text, where=f"--path {name}", frames=frames, fps=fps, camera=lens)


def place(key: str, lens: Camera, unit: float, scale: Scale, licence: str = "unknown") -> Scene:
    """Footage as samplers know scenes: one camera at the origin, upright, `unit` of its depth ahead of it."""
    seen = Trajectory.from_camera(np.eye(4)[None], lens, fps=1.0, scale=scale)
    depth = 4 * unit  # a path unit is a quarter of the median depth, as in scenes
    extent = np.array([[-depth, -depth, 0.0], [depth, depth, 2 * depth]])
    up = np.array([0.0, -1.0, 0.0])
    return Scene(id=key, source=key, licence=licence, up=up, extent=extent, unit=unit, seen=seen)


def menu(specs: Sequence[str], frames: int, fps: float, lens: Camera, *, balance: bool, seed: int) -> Menu:
    """What the specs reach. Raises TrajkitError for a spec that is wrong or cannot be sampled from a single picture."""
    scene = place("menu", lens, 1.0, Scale())
    samplers = [(spec, *sampler(spec, frames, fps, lens)) for spec in specs]
    if not balance:
        for _, module, chosen in samplers:
            module.sample(scene, chosen, seeding.generator(seed, "menu"))
        return Menu(specs=tuple(specs), frames=frames, fps=fps)
    found: dict[tuple[str, str, str], list[tuple[float, str]]] = defaultdict(list)
    for number in range(MENU_DRAWS):
        spec, module, chosen = samplers[number % len(samplers)]
        path = module.sample(scene, chosen, seeding.generator(seed, "menu", number))
        found[motion(path)].append((amount(path, 1.0), spec))
    least = max(3, round(MENU_SHARE * MENU_DRAWS))
    common = {name: draws for name, draws in found.items() if len(draws) >= least}
    limits = {name: _thirds([one for one, _ in draws]) for name, draws in common.items()}
    reached: dict[Cell, dict[str, None]] = defaultdict(dict)
    for name, draws in sorted(common.items()):
        for value, spec in draws:
            reached[Cell(*name, _speed(value, limits[name]))][spec] = None
    by = {cell: tuple(specs) for cell, specs in reached.items()}
    return Menu(specs=tuple(specs), frames=frames, fps=fps, limits=limits, reached_by=by)


class Deck:
    """Deals the menu's cells: all of them in an order drawn anew each round; None where the menu has none."""

    def __init__(self, menu: Menu, seed: int) -> None:
        self.cells, self.seed = sorted(menu.reached_by), seed
        self.round, self.left = 0, list[Cell]()

    def deal(self) -> Cell | None:
        """The next clip's cell."""
        if not self.left and self.cells:
            order = seeding.generator(self.seed, "deck", self.round).permutation(len(self.cells))
            self.left = [self.cells[index] for index in order]
            self.round += 1
        return self.left.pop() if self.left else None


def draw(scene: Scene, menu: Menu, cell: Cell | None, content: str, seed: int) -> Drawn:
    """A path for a clip, a function of (seed, content, cell): the first of TRIES draws in the cell, else the last one.

    Raises TrajkitError where a sampler fails.
    """
    assert scene.seen is not None
    specs = menu.reached_by[cell] if cell else menu.specs
    drawn = None
    for number in range(TRIES if cell else 1):
        rng = seeding.generator(seed, content, cell or "", number)
        spec = specs[int(rng.integers(len(specs)))]
        module, chosen = sampler(spec, menu.frames, menu.fps, scene.seen.camera(0))
        path = module.sample(scene, chosen, rng)
        found = cell_of(path, scene.unit, menu)
        drawn = Drawn(path, spec, found, cell in (None, found))
        if drawn.hit:
            break
    assert drawn is not None
    return drawn


def cell_of(trajectory: Trajectory, unit: float, menu: Menu) -> Cell:
    """The cell of a path; without a speed where the menu knows none of its motion."""
    name = motion(trajectory)
    limits = menu.limits.get(name)
    return Cell(*name, _speed(amount(trajectory, unit), limits) if limits else "")


def motion(trajectory: Trajectory) -> tuple[str, str, str]:
    """Direction, turn and zoom by name, as reports have them."""
    ratio = float(trajectory.intrinsics[-1, 0] / trajectory.intrinsics[0, 0])
    zoom = "in" if ratio > ZOOM else "out" if ratio < 1 / ZOOM else "none"
    return direction(trajectory), turn(trajectory, LEAST_TURN_DEG_S), zoom


def amount(trajectory: Trajectory, unit: float) -> float:
    """How much moves in a second: path units, turns of 30 degrees, and the logarithm of a zoom."""
    seconds = max(float(trajectory.times_s[-1] - trajectory.times_s[0]), 1e-9)
    turned = float(np.nansum(trajectory.turn_rates_deg * np.diff(trajectory.times_s)))
    ratio = float(trajectory.intrinsics[-1, 0] / trajectory.intrinsics[0, 0])
    return (trajectory.path_length / unit + turned / 30 + abs(np.log(ratio))) / seconds


def coverage(cells: Iterable[str], wanted: Menu) -> dict[str, Any]:
    """How evenly clips fall into the menu's cells: counts, and evenness = entropy / log(cells), 1 at best."""
    counts = Counter({str(cell): 0 for cell in wanted.reached_by})
    counts.update(cells)
    total = sum(counts.values())
    shares = np.array([count / total for count in counts.values() if count]) if total else np.zeros(0)
    evenness = float(-(shares * np.log(shares)).sum() / np.log(len(counts))) if len(counts) > 1 and total else 1.0
    return {
        "clips": total,
        "cells": dict(sorted(counts.items())),
        "fewest": min(counts.values(), default=0),
        "most": max(counts.values(), default=0),
        "evenness": round(evenness, 4),
    }


def _thirds(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.quantile(values, (1 / 3, 2 / 3))
    return float(low), float(high)


def _speed(value: float, limits: tuple[float, float]) -> str:
    return SPEEDS[int(value > limits[0]) + int(value > limits[1])]
