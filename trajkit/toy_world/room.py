"""Where things stand in the toy world: a furnished room, laid out from a seed. Metres, z up, floor at z = 0.

A ring around the middle stays free for cameras: furniture lines the walls, the middle holds a table and two pillars.
"""

import math

import numpy as np

from trajkit.toy_world.solids import Skin, Solid, ball, box, cone, room

PAINTINGS = ("landscape", "circles", "blocks", "glass")
DAYLIGHT = (1.0, 1.0, 1.0)
LAMPLIGHT = (1.0, 0.93, 0.78)


def furnish(rng: np.random.Generator) -> list[Solid]:
    """All solids of a room; the first is the room itself."""
    length, width, height = rng.uniform(8.6, 9.6), rng.uniform(7.0, 7.8), rng.uniform(2.9, 3.3)
    edges = (length, width, height)
    walls = [Skin(material="wallpaper", tile_m=1.5), Skin(material="plaster", tile_m=2.5)]
    brick = Skin(material="brick", tile_m=1.8)
    floor = Skin(material=("planks", "tiles")[rng.integers(2)], tile_m=2.0)
    skins = [walls[rng.integers(2)], brick, walls[0], walls[1], Skin(material="ceiling", tile_m=1.2), floor]
    solids = [room(edges, skins)]
    for part in (_shell, _windows, _gallery, _bookcase, _sofa, _middle, _pillars, _corners, _plant):
        solids += part(rng, edges)
    return solids


def _shell(rng: np.random.Generator, edges: tuple[float, float, float]) -> list[Solid]:
    """Skirting boards, beams under the ceiling, and a door."""
    length, width, height = edges
    board, beam, frame = (
        Skin(material="wood", tile_m=0.9),
        Skin(material="wood", variant=1, tile_m=1.1),
        Skin(material="wood", variant=2, tile_m=0.7),
    )
    solids = []
    for side in (-1, 1):
        solids.append(box((0, side * (width / 2 - 0.011), 0.06), (length, 0.022, 0.12), board))
        solids.append(box((side * (length / 2 - 0.011), 0, 0.06), (0.022, width, 0.12), board))
    for part in (-0.30, 0.0, 0.30):
        solids.append(box((part * length, 0, height - 0.09), (0.16, width, 0.18), beam))
    at = rng.uniform(-0.5, 0.5)
    solids.append(box((-length / 2 + 0.03, at, 1.06), (0.06, 1.06, 2.12), frame))
    solids.append(_panel((-length / 2 + 0.04, at, 1.02), 0.94, 2.04, 0.07, Skin(material="door"), frame, wall="-x"))
    return solids


def _panel(
    centre: tuple[float, float, float], width: float, height: float, depth: float, front: Skin, rim: Skin, *, wall: str
) -> Solid:
    """A flat box on a wall whose front carries a picture. `wall` is +x, -x, +y or -y: where the wall stands."""
    axis, positive = wall[1], wall[0] == "+"
    edges = (depth, width, height) if axis == "x" else (width, depth, height)
    skins = [rim] * 6
    skins[(0 if axis == "x" else 2) + int(positive)] = front
    return box(centre, edges, *skins)


def _windows(rng: np.random.Generator, edges: tuple[float, float, float]) -> list[Solid]:
    """Two windows in the +y wall with sills, and curtains beside them."""
    length, width, height = edges
    frame, cloth = Skin(material="marble", variant=2, tile_m=1.0), Skin(material="fabric", variant=4, tile_m=0.8)
    solids = []
    for number, part in enumerate((-0.22, 0.22)):
        x, wall = part * length, width / 2
        pane = Skin(material="window", variant=number, glow=DAYLIGHT)
        solids.append(_panel((x, wall - 0.025, 1.65), 1.5, 1.5, 0.05, pane, frame, wall="+y"))
        solids.append(box((x, wall - 0.1, 0.88), (1.7, 0.2, 0.05), frame))
        for side in (-1, 1):
            for fold in range(3):
                at = (x + side * (0.83 + 0.085 * fold), wall - 0.09 - 0.02 * (fold % 2), 0.16)
                solids.append(cone(at, (0.055, 0.042), min(height - 0.5, 2.45), cloth))
        rail = (x, wall - 0.09, min(height - 0.5, 2.45) + 0.18)
        solids.append(box(rail, (2.3, 0.04, 0.04), Skin(material="metal", tile_m=0.5)))
    return solids


def _gallery(rng: np.random.Generator, edges: tuple[float, float, float]) -> list[Solid]:
    """Pictures on the walls, among them a marker board with known corners."""
    length, width, _ = edges
    rim = Skin(material="wood", variant=3, tile_m=0.5)
    names = [PAINTINGS[k % 4] for k in rng.permutation(8)]
    spots = [
        ((length / 2, -1.9, 1.75), 1.15, "+x"), ((length / 2, -0.3, 1.65), 0.9, "+x"),
        ((length / 2, 1.2, 1.85), 1.1, "+x"), ((0.0, width / 2, 1.7), 1.0, "+y"),
        ((-length / 2, -1.9, 1.7), 1.2, "-x"), ((-length / 2, 2.0, 1.7), 1.2, "-x"),
        ((1.0, -width / 2, 1.75), 1.2, "-y"), ((2.6, -width / 2, 1.65), 1.0, "-y"),
    ]  # fmt: skip
    solids = []
    for number, ((x, y, z), side, wall) in enumerate(spots):
        z += rng.uniform(-0.08, 0.08)
        art = Skin(material=names[number], variant=number)
        shift = 0.02 if wall[0] == "-" else -0.02
        centre = (x + shift, y, z) if wall[1] == "x" else (x, y + shift, z)
        solids.append(_panel(centre, side, side, 0.04, art, rim, wall=wall))
    board = Skin(material="marker")
    solids.append(_panel((length / 2 - 0.015, 2.55, 1.6), 0.8, 0.8, 0.03, board, rim, wall="+x"))
    return solids


def _bookcase(rng: np.random.Generator, edges: tuple[float, float, float]) -> list[Solid]:
    """Shelves against the -y wall, filled with rows of books and a few curiosities."""
    _, width, _ = edges
    oak = Skin(material="wood", variant=4, tile_m=0.8)
    left, back, across, deep, shelf = -3.1, -width / 2, 2.3, 0.34, 0.40
    middle, y = left + across / 2, back + deep / 2
    solids = [box((middle, back + 0.03, 1.05), (across, 0.02, 2.1), oak)]
    solids += [box((left + end * across, y, 1.05), (0.04, deep, 2.1), oak) for end in (0, 1)]
    solids += [box((middle, y, 0.05 + shelf * k + 0.015), (across - 0.04, deep, 0.03), oak) for k in range(6)]
    for row in range(5):
        x, floor = left + 0.04, 0.08 + shelf * row
        for block in range(2):
            long, tall = rng.uniform(0.78, 0.94), rng.uniform(0.25, 0.33)
            spines = Skin(material="books", variant=int(rng.integers(6)))
            paper = Skin(material="plaster", variant=3, tile_m=2.0)
            at = (x + long / 2, back + 0.19 + rng.uniform(-0.015, 0.015), floor + tall / 2)
            solids.append(_panel(at, long, tall, 0.22, spines, paper, wall="-y"))
            x += long + 0.02
            if block == 0 and row % 2:
                thing = Skin(material=("swirl", "globe")[row % 4 // 2], variant=7)
                solids.append(ball((x + 0.13, back + 0.2, floor + 0.11), 0.11, thing))
                x += 0.28
    return solids


def _sofa(rng: np.random.Generator, edges: tuple[float, float, float]) -> list[Solid]:
    """A sofa along the +x wall and a chest of drawers with a lamp under the windows."""
    length, width, _ = edges
    cloth, seat = Skin(material="fabric", tile_m=0.6), Skin(material="fabric", variant=1, tile_m=0.45)
    x, y = length / 2 - 0.52, rng.uniform(-0.9, -0.5)
    solids = [
        box((x, y, 0.21), (0.86, 2.1, 0.30), cloth),
        box((x + 0.34, y, 0.55), (0.2, 2.1, 0.75), cloth),
        box((x, y - 1.12, 0.36), (0.86, 0.2, 0.60), cloth),
        box((x, y + 1.12, 0.36), (0.86, 0.2, 0.60), cloth),
    ]
    solids += [box((x - 0.08, y + part, 0.43), (0.68, 0.98, 0.15), seat) for part in (-0.5, 0.5)]
    for number, part in enumerate((-0.75, 0.15, 0.75)):
        pillow = Skin(material="cushion", variant=number)
        solids.append(box((x + 0.13, y + part, 0.69), (0.4, 0.13, 0.4), pillow, yaw_deg=82 + 8 * number, pitch_deg=-14))
    chest = [Skin(material="wood", variant=0, tile_m=0.7)] * 6
    chest[3] = Skin(material="drawers")
    at = (rng.uniform(-0.25, 0.25), width / 2 - 0.26, 0.41)
    solids.append(box(at, (1.5, 0.46, 0.82), *chest))
    solids.append(ball((at[0] - 0.45, at[1], 1.06), 0.2, Skin(material="globe")))
    solids.append(cone((at[0] - 0.45, at[1], 0.82), (0.11, 0.05), 0.05, Skin(material="wood", variant=2, tile_m=0.4)))
    solids += _pot((at[0] + 0.45, at[1], 0.82), 0.5, variant=3)
    return solids


def _pot(foot: tuple[float, float, float], scale: float, *, variant: int) -> list[Solid]:
    """A vase turned from four truncated cones; `scale` is about its height in metres."""
    profile = (0.12, 0.24, 0.26, 0.10, 0.14)
    heights = (0.3, 0.25, 0.25, 0.15)
    glaze = Skin(material="vase", variant=variant)
    solids, z = [], foot[2]
    for lower, upper, part in zip(profile, profile[1:], heights, strict=False):
        solids.append(cone((foot[0], foot[1], z), (lower * scale, upper * scale), part * scale, glaze))
        z += part * scale
    return solids


def _middle(rng: np.random.Generator, edges: tuple[float, float, float]) -> list[Solid]:
    """A rug, a low table, and things on it."""
    oak, steel = Skin(material="wood", variant=5, tile_m=0.9), Skin(material="metal", tile_m=0.4)
    turn = rng.uniform(-25, 25)
    cosine, sine = math.cos(math.radians(turn)), math.sin(math.radians(turn))

    def spot(x: float, y: float) -> tuple[float, float]:
        return x * cosine - y * sine, x * sine + y * cosine

    plain = Skin(material="fabric", variant=5, tile_m=0.5)
    carpet = [plain] * 4 + [Skin(material="rug"), plain]
    solids = [
        box((0, 0, 0.006), (3.3, 2.2, 0.012), *carpet, yaw_deg=turn),
        box((0, 0, 0.47), (1.4, 0.85, 0.06), oak, yaw_deg=turn),
    ]
    solids += [cone((*spot(x, y), 0.012), (0.025, 0.035), 0.428, steel) for x in (-0.6, 0.6) for y in (-0.34, 0.34)]
    z = 0.5
    for number in range(4):
        long = 0.34 - 0.02 * number
        paper, cover = Skin(material="plaster", variant=3, tile_m=2.0), Skin(material="cushion", variant=4 + number)
        at = (*spot(-0.42, 0.15), z + 0.025)
        solids.append(box(at, (long, 0.24, 0.05), paper, cover, yaw_deg=turn + rng.uniform(-30, 30)))
        z += 0.05
    solids.append(ball((*spot(-0.42, 0.15), z + 0.09), 0.09, Skin(material="beach", variant=1)))
    solids += _pot((*spot(0.42, 0.12), 0.5), 0.52, variant=0)
    solids.append(ball((*spot(0.05, -0.16), 0.66), 0.16, Skin(material="swirl")))
    dice = Skin(material="blocks", variant=9)
    solids.append(box((*spot(-0.3, -0.25), 0.58), (0.16, 0.16, 0.16), dice, yaw_deg=turn + 35))
    return solids


def _pillars(rng: np.random.Generator, edges: tuple[float, float, float]) -> list[Solid]:
    """Two pillars that hide and reveal what is behind them as a camera goes round."""
    height, stone = edges[2], Skin(material="marble", tile_m=0.9)
    solids = []
    for number, (x, y) in enumerate(((-1.3, 0.88), (1.3, -0.88))):
        x, y = x + rng.uniform(-0.12, 0.12), y + rng.uniform(-0.1, 0.1)
        wrap = Skin(material=("stripes", "vase")[number], variant=8)
        turn = rng.uniform(-40, 40)
        solids += [
            box((x, y, 0.11), (0.44, 0.44, 0.22), stone, yaw_deg=turn),
            cone((x, y, 0.22), (0.19, 0.16), 0.12, stone),
            cone((x, y, 0.34), (0.15, 0.135), height - 0.74, wrap),
            cone((x, y, height - 0.40), (0.15, 0.23), 0.16, stone),
            box((x, y, height - 0.12), (0.52, 0.52, 0.24), stone, yaw_deg=turn),
        ]
    return solids


def _corners(rng: np.random.Generator, edges: tuple[float, float, float]) -> list[Solid]:
    """Crates, a plant, a floor lamp, a stool with a ball, and lamps that hang from the ceiling."""
    length, width, height = edges
    x, y = length / 2 - 0.55, width / 2 - 0.6
    crates = [Skin(material="crate", variant=number) for number in range(3)]
    solids = [
        box((-x + 0.05, y - 0.05, 0.36), (0.72, 0.72, 0.72), crates[0], yaw_deg=rng.uniform(-12, 12)),
        box((-x + 0.8, y + 0.1, 0.26), (0.52, 0.52, 0.52), crates[1], yaw_deg=rng.uniform(-35, 35)),
        box((-x + 0.08, y - 0.02, 0.95), (0.46, 0.46, 0.46), crates[2], yaw_deg=rng.uniform(10, 60)),
    ]
    clay = Skin(material="metal", variant=1, tile_m=0.4)
    lamp = (-x, -y + 0.1)
    solids += [
        cone((*lamp, 0), (0.19, 0.17), 0.035, clay),
        cone((*lamp, 0.035), (0.016, 0.016), 1.45, clay),
        cone((*lamp, 1.45), (0.27, 0.16), 0.34, Skin(material="shade", glow=LAMPLIGHT)),
        cone(
            (x - 0.1, -y, 0),
            (0.19, 0.23),
            0.46,
            Skin(material="stripes", variant=2),
            Skin(material="cushion", variant=9),
        ),
        ball((x - 0.1, -y, 0.46 + 0.24), 0.24, Skin(material="beach")),
    ]
    for part in (-0.15, 0.15):
        solids.append(cone((part * length, 0, height - 0.72), (0.012, 0.012), 0.72, clay))
        solids.append(ball((part * length, 0, height - 0.82), 0.15, Skin(material="milk", glow=LAMPLIGHT)))
    return solids


def _plant(rng: np.random.Generator, edges: tuple[float, float, float]) -> list[Solid]:
    """A small tree in a pot, in the corner by the windows."""
    foot = (edges[0] / 2 - 0.6, edges[1] / 2 - 0.62)
    bark = Skin(material="wood", variant=2, tile_m=0.3)
    pot = Skin(material="vase", variant=5)
    solids = [cone((*foot, 0), (0.17, 0.26), 0.42, pot, bark), cone((*foot, 0.42), (0.035, 0.025), 0.75, bark)]
    for number in range(6):
        turn, out = number * 2.4 + rng.uniform(-0.4, 0.4), 0.0 if number == 0 else rng.uniform(0.14, 0.22)
        z = 1.5 if number == 0 else 1.0 + 0.11 * number + rng.uniform(-0.05, 0.05)
        centre = (foot[0] + out * math.cos(turn), foot[1] + out * math.sin(turn), z)
        solids.append(ball(centre, rng.uniform(0.19, 0.27), Skin(material="foliage")))
    return solids
