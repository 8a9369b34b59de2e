"""Pictures of the toy world that fill one face: paintings, rug, window, door, books, drawers, crates, vases.

Each function returns sRGB, (h, w, 3) floats in 0..1, sides powers of two.
"""

from collections.abc import Callable

import numpy as np
from scipy.spatial import KDTree

from trajkit.toy_world.materials import Picture, grid, lay, noise, palette_of, pick, rgb, step

Array = np.ndarray
MARKER_CELLS = 8  # squares along each side of the marker's board
MARKER_RIM = 1 / 8  # white rim, as a part of the picture's side; all edges then lie between texels


def _border(picture: Picture, aspect: float = 1.0) -> tuple[Array, Array, Array]:
    """x, y, and the distance to the nearest edge in parts of the picture's height (aspect = width / height)."""
    x, y = grid(*picture.shape[:2])
    return x, y, np.minimum(np.minimum(x, 1 - x) * aspect, np.minimum(y, 1 - y))


def _framed(rng: np.random.Generator, art: Picture) -> Picture:
    """The art within a mount and a moulded frame."""
    _, _, edge = _border(art)
    frame = pick(rng, "2a1d15 8a6a2f 3b3b3d 5c3a21")
    ridge = 0.75 + 0.35 * np.sin(edge / 0.055 * np.pi * 1.5)
    picture = lay(art, 1 - step(0.1, edge, 0.004), rgb("efe8d9"))
    picture = lay(picture, 0.5 * (1 - step(0.003, np.abs(edge - 0.1), 0.006)), rgb("6d6558"))
    return lay(picture, 1 - step(0.055, edge, 0.004), np.clip(frame * ridge[..., None], 0, 1))


def landscape(rng: np.random.Generator) -> Picture:
    """Hills under a low sun."""
    size = 256
    x, y = grid(size, size)
    low, high = pick(rng, "f3c98b f0a675 e8d9c0"), pick(rng, "4f7ea8 6a5d8f 8fb6c4")
    picture = lay(np.broadcast_to(low, (size, size, 3)), 1 - step(0.3, y, 0.7), high)
    sun_x, sun_y = rng.uniform(0.25, 0.75), rng.uniform(0.25, 0.4)
    picture = lay(picture, step(0, 0.07 - np.hypot(x - sun_x, y - sun_y), 0.006), rgb("fff3cf"))
    picture = lay(picture, 0.4 * np.exp(-((np.hypot(x - sun_x, y - sun_y) / 0.16) ** 2)), rgb("fff3cf"))
    near = pick(rng, "29483a 3b3f5c 51402b")
    for layer in range(5):
        ridge = sum(0.10 / k * np.sin(2 * np.pi * (k * 1.3 * x + rng.random())) for k in (1, 2, 3, 5, 9, 17)) + (
            0.42 + 0.11 * layer
        )
        part = (layer + 1) / 5
        brush = 0.9 + 0.2 * noise(rng, (size, size), coarse=20, fall=1.2, stretch=3)
        picture = lay(picture, step(0, y - ridge, 0.005), (near * part + low * (1 - part)) * brush[..., None])
    return _framed(rng, picture)


def blocks(rng: np.random.Generator) -> Picture:
    """Coloured rectangles between black bars."""
    size = 512
    x, y = grid(size, size)
    colours = palette_of("d0342c 1f4e9c f0c030 f3efe4 f3efe4 e9e2d0 22252b f3efe4")
    cuts_x = np.sort(np.concatenate([[0, 1], rng.uniform(0.12, 0.88, 4)]))
    cuts_y = np.sort(np.concatenate([[0, 1], rng.uniform(0.12, 0.88, 4)]))
    column, row = np.searchsorted(cuts_x, x) - 1, np.searchsorted(cuts_y, y) - 1
    picture = colours[rng.integers(0, len(colours), (5, 5))][row, column]
    bars = np.min([np.abs(x - cut) for cut in cuts_x[1:-1]] + [np.abs(y - cut) for cut in cuts_y[1:-1]], axis=0)
    picture = picture * (0.93 + 0.12 * noise(rng, (size, size), coarse=30, fall=1.0))[..., None]
    return _framed(rng, lay(picture, 1 - step(0.011, bars, 0.003), rgb("15151a")))


def circles(rng: np.random.Generator) -> Picture:
    """Rings, discs and rays on a washed ground."""
    size = 256
    x, y = grid(size, size)
    picture = (
        pick(rng, "f1e4c8 dfe5e0 e9d6c8") * (0.82 + 0.26 * noise(rng, (size, size), coarse=3, fall=1.6))[..., None]
    )
    for _ in range(16):
        cx, cy, radius = rng.uniform(0.14, 0.86), rng.uniform(0.14, 0.86), rng.uniform(0.03, 0.16)
        away = np.hypot(x - cx, y - cy)
        for ring in range(rng.integers(1, 5)):
            colour = pick(rng, "c8372d 1d3f72 e6a92b 2f7f6f 17181c 8a4f9e e77b4f 78a6c8")
            picture = lay(picture, 0.9 * step(0, radius * (1 - 0.24 * ring) - away, 0.004), colour)
    for _ in range(7):
        turn, offset = rng.uniform(0, np.pi), rng.uniform(-0.4, 0.4)
        line = np.abs((x - 0.5) * np.cos(turn) + (y - 0.5) * np.sin(turn) - offset)
        picture = lay(picture, 0.85 * (1 - step(rng.uniform(0.002, 0.007), line, 0.003)), rgb("17181c"))
    return _framed(rng, picture)


def glass(rng: np.random.Generator) -> Picture:
    """Stained glass: the cells nearest to random points, leaded."""
    size = 512
    x, y = grid(size, size)
    nearest, owners = KDTree(rng.random((90, 2))).query(np.stack([x, y], axis=-1), k=2)
    owner = owners[..., 0]
    palette = palette_of("b3262e 1e5aa8 e2a72e 2c8c5a 6a3d8f d9693a 3aa6a0 f2e2b0")
    value = 0.8 + 0.35 * noise(rng, (size, size), coarse=8, fall=1.3)
    picture = palette[rng.integers(0, len(palette), 90)][owner] * value[..., None]
    return _framed(rng, lay(picture, 1 - step(0.006, nearest[..., 1] - nearest[..., 0], 0.004), rgb("14120f")))


def marker(rng: np.random.Generator) -> Picture:
    """A board of black and white squares in a white rim: corners whose place is known exactly."""
    x, y, edge = _border(np.empty((512, 512, 3)))
    cells = (np.stack([x, y]) - MARKER_RIM) / (1 - 2 * MARKER_RIM) * MARKER_CELLS
    dark = (np.floor(cells[0]) + np.floor(cells[1])) % 2 == 0
    inside = edge > MARKER_RIM
    return np.where((dark & inside)[..., None], rgb("101010"), rgb("f0f0f0"))


def rug(rng: np.random.Generator) -> Picture:
    """Borders around a field of nested diamonds."""
    shape = (512, 1024)
    picture = np.empty((*shape, 3))
    x, y, edge = _border(picture, 1.5)
    field, trim, light = pick(rng, "7a1f24 1f3a55 5a2b3f"), pick(rng, "c7963c 2f5d50 b8742f"), rgb("e6d9bd")
    picture = np.broadcast_to(field, picture.shape)
    across, down = (x - 0.5) * 1.5, y - 0.5
    diamond = np.abs(across) / 1.5 + np.abs(down)
    for at in np.arange(0.06, 0.42, 0.06):
        jag = 0.008 * np.sign(np.sin((across - down) * 90))
        picture = lay(picture, 1 - step(0.011, np.abs(diamond - at + jag), 0.006), (trim, light)[int(at * 100) % 2])
    star = np.hypot(across, down) - 0.045 - 0.02 * np.cos(8 * np.arctan2(down, across))
    picture = lay(picture, step(0, -star, 0.006), light)
    motif = np.maximum(np.abs((across * 9) % 1 - 0.5), np.abs((down * 9) % 1 - 0.5))
    picture = lay(picture, (diamond > 0.42) * step(0, 0.16 - motif, 0.04), light * 0.9)
    for low, high, colour in ((0.0, 0.028, light), (0.028, 0.1, trim), (0.1, 0.118, light), (0.118, 0.14, field * 0.5)):
        picture = lay(picture, ((edge >= low) & (edge < high)).astype(float), colour)
    key = np.maximum(np.abs((across * 14) % 1 - 0.5), np.abs((down * 14) % 1 - 0.5))
    picture = lay(picture, ((edge > 0.04) & (edge < 0.09)) * step(0, 0.3 - key, 0.05), field)
    weave = noise(rng, shape, coarse=150, fall=0.5)
    return picture * (0.82 + 0.3 * weave)[..., None]


def window(rng: np.random.Generator) -> Picture:
    """Sky, far hills and trees behind mullions, in a white frame."""
    size = 256
    x, y, edge = _border(np.empty((size, size, 3)))
    cloud = step(0.55, noise(rng, (size, size), coarse=3, fall=2.0, stretch=2), 0.5) * (1 - step(0.55, y, 0.3))
    picture = lay(np.broadcast_to(rgb("8fbfe6"), (size, size, 3)), step(0.4, y, 0.8), rgb("e3eef4"))
    picture = lay(picture, 0.85 * cloud, rgb("ffffff"))
    for level, colour, rough in ((0.58, "9fb8a8", 0.03), (0.68, "6f9a62", 0.02), (0.8, "4f7f3f", 0.012)):
        ridge = level + sum(rough / k * np.sin(2 * np.pi * (k * x + rng.random())) for k in (1, 2, 4, 7))
        tone = 0.85 + 0.3 * noise(rng, (size, size), coarse=14, fall=1.0)
        picture = lay(picture, step(0, y - ridge, 0.006), rgb(colour) * tone[..., None])
    for _ in range(7):
        cx, cy, radius = rng.random(), rng.uniform(0.62, 0.8), rng.uniform(0.03, 0.07)
        crown = radius * (1 + 0.25 * noise(rng, (size, size), coarse=16, fall=1.2)) - np.hypot(x - cx, (y - cy) * 0.8)
        picture = lay(picture, step(0, crown, 0.004), rgb("35632f") * rng.uniform(0.8, 1.3))
    bars = np.minimum(np.abs(x - 0.5), np.minimum(np.abs(y - 0.36), np.abs(y - 0.68) * 1.2))
    return lay(picture, np.maximum(1 - step(0.014, bars, 0.004), 1 - step(0.06, edge, 0.004)), rgb("efe9dd"))


def door(rng: np.random.Generator) -> Picture:
    """Four panels and a handle."""
    shape = (512, 256)
    x, y = grid(*shape)
    base = pick(rng, "2f4f4a 6b2f2a 35465e 7a5a3a")
    picture = base * (0.85 + 0.3 * noise(rng, shape, coarse=30, fall=1.1, stretch=0.1))[..., None]
    for left, right, top, bottom in (
        (0.1, 0.46, 0.05, 0.5),
        (0.54, 0.9, 0.05, 0.5),
        (0.1, 0.46, 0.58, 0.93),
        (0.54, 0.9, 0.58, 0.93),
    ):
        inside = np.minimum(np.minimum(x - left, right - x), np.minimum(y - top, bottom - y) * 2)
        for at, tone in ((0.0, 0.45), (0.025, 1.35), (0.05, 0.7)):
            picture = lay(picture, 0.7 * (1 - step(0.009, np.abs(inside - at), 0.008)), np.clip(base * tone, 0, 1))
    knob = np.hypot(x - 0.92, (y - 0.54) * 2)
    picture = lay(picture, step(0, 0.035 - knob, 0.006), rgb("c9a24a"))
    return lay(picture, step(0, 0.013 - np.hypot(x - 0.912, (y - 0.535) * 2), 0.01), rgb("fff0c0"))


def books(rng: np.random.Generator) -> Picture:
    """Spines of different widths with bands and titles."""
    shape = (256, 512)
    x, y = grid(*shape)
    edges = np.concatenate([[0], np.cumsum(rng.uniform(0.022, 0.06, 60))])
    book = np.searchsorted(edges, x, side="right") - 1
    width = np.diff(edges)[book]
    part = (x - edges[book]) / width
    cover = np.array(
        [pick(rng, "7a2430 1f4060 2f5a3c c9a24a d8cfb8 4a2f52 a5552f 23262b 8fa3a0 b98a5a") for _ in range(60)]
    )
    picture = cover[book] * (0.9 + 0.16 * noise(rng, shape, coarse=60, fall=0.9))[..., None]
    round_off = 1 - 0.55 * np.abs(part - 0.5) ** 2 * 4 * 0.8
    ink = np.where(cover.sum(1, keepdims=True) > 1.5, rgb("2a211a"), rgb("e3cf96"))[book]
    top, long = rng.uniform(0.10, 0.25, 60)[book], rng.uniform(0.25, 0.5, 60)[book]
    dash = np.sin(y * rng.uniform(150, 320, 60)[book] + rng.random(60)[book] * 6) > -0.3
    title = (np.abs(part - 0.5) < 0.2) & (y > top) & (y < top + long) & dash
    band = (np.abs(y - 0.86) < 0.012) | (np.abs(y - 0.9) < 0.006) | (np.abs(y - 0.06) < 0.01)
    picture = np.where((title | (band & (rng.random(60)[book] > 0.35)))[..., None], ink, picture)
    return lay(picture * round_off[..., None], 1 - step(0.05, np.minimum(part, 1 - part), 0.08), rgb("120e0b"))


def drawers(rng: np.random.Generator) -> Picture:
    """A front of drawers with inlays and knobs."""
    shape, columns, rows = (512, 1024), 3, 3
    x, y = grid(*shape)
    base = pick(rng, "6b4426 8a5a33 54382a")
    grain = noise(rng, shape, coarse=12, fall=1.2, stretch=12)
    picture = base * (0.75 + 0.45 * grain)[..., None]
    u, v = x * columns % 1, y * rows % 1
    edge = np.minimum(np.minimum(u, 1 - u) * 2, np.minimum(v, 1 - v))
    picture = lay(picture, 1 - step(0.03, edge, 0.012), base * 0.22)
    picture = lay(picture, 0.8 * (1 - step(0.012, np.abs(edge - 0.14), 0.012)), rgb("d0a95e"))
    away = np.hypot((u - 0.5) * 2, v - 0.5)
    picture = lay(picture, step(0, 0.085 - away, 0.012), rgb("b08a3e"))
    return lay(picture, step(0, 0.03 - np.hypot((u - 0.48) * 2, v - 0.46), 0.02), rgb("fff0c4"))


def crate(rng: np.random.Generator) -> Picture:
    """Boards in a frame with a brace, and a stencilled sign that differs from crate to crate."""
    size = 256
    x, y, edge = _border(np.empty((size, size, 3)))
    board = np.floor(y * 6).astype(int)
    base = pick(rng, "b98f5c a57a48 8f6a42")
    grain = noise(rng, (size, size), coarse=14, fall=1.2, stretch=12)
    picture = base * (0.72 + 0.4 * grain + rng.normal(0, 0.06, 7)[board])[..., None]
    picture = lay(picture, 0.8 * (1 - step(0.04, np.minimum(y * 6 % 1, 1 - y * 6 % 1), 0.04)), base * 0.25)
    brace = np.abs(x - y) / 1.414
    upright = noise(rng, (size, size), coarse=14, fall=1.2, stretch=0.1)
    for mask, tone in ((1 - step(0.055, brace, 0.004), 0.95), (1 - step(0.11, edge, 0.004), 1.05)):
        picture = lay(picture, mask, base * tone * (0.75 + 0.35 * upright)[..., None])
    outline = np.minimum(np.abs(brace - 0.055), np.abs(edge - 0.11)) + (edge < 0.1)
    picture = lay(picture, 0.7 * (1 - step(0.004, outline, 0.006)), base * 0.2)
    nails = np.hypot((x * 8 + 0.5) % 1 - 0.5, (y * 8 + 0.5) % 1 - 0.5)
    picture = lay(picture, (edge < 0.1) * (1 - step(0.09, nails, 0.04)), rgb("3a3a3c"))
    cx, cy, kind = rng.uniform(0.3, 0.4), rng.uniform(0.6, 0.7), rng.integers(3, 7)
    radius, angle = np.hypot(x - cx, y - cy), np.arctan2(y - cy, x - cx)
    return lay(
        picture, 0.8 * step(0, 0.07 + 0.025 * np.cos(kind * angle) - np.abs(radius - 0.03), 0.006), rgb("2b1c14")
    )


def vase(rng: np.random.Generator) -> Picture:
    """Bands of zigzags, dots and waves on glazed clay; closes around."""
    size = 256
    x, y = grid(size, size)
    base, ink, other = pick(rng, "b5623a d9c8a3 3c5a73"), pick(rng, "1f1a17 f0e6cf"), pick(rng, "c99a3a 8a2f2a 5f8f86")
    picture = base * (0.85 + 0.25 * noise(rng, (size, size), coarse=12, fall=1.2, stretch=3))[..., None]
    for band in range(6):
        centre, kind = (band + 0.5) / 6, (band + rng.integers(3)) % 3
        count = int(rng.integers(8, 16))
        if kind == 0:
            shape = 0.018 - np.abs(y - centre - 0.08 * (np.abs((x * count) % 1 - 0.5) - 0.25) * 2)
        elif kind == 1:
            shape = 0.035 - np.hypot(((x * count) % 1 - 0.5) / count * 2, y - centre)
        else:
            shape = 0.015 - np.abs(y - centre - 0.03 * np.sin(2 * np.pi * count * x))
        picture = lay(picture, step(0, shape, 0.006), (ink, other)[band % 2])
        picture = lay(picture, 1 - step(0.006, np.abs(y - band / 6), 0.004), ink)
    return picture


def stripes(rng: np.random.Generator) -> Picture:
    """Two broad colours in a spiral, with worn paint; closes around."""
    size = 256
    x, y = grid(size, size)
    worn = noise(rng, (size, size), coarse=14, fall=1.2)
    picture = np.where(((2 * x + 3 * y) % 1 < 0.5)[..., None], pick(rng, "d9622b 2b6cb0 b8342c"), rgb("f1ece0"))
    return picture * (0.85 + 0.2 * worn)[..., None]


def shade(rng: np.random.Generator) -> Picture:
    """A pleated lampshade, lit from within."""
    x, y = grid(256, 256)
    pleat = 0.5 + 0.5 * np.sin(2 * np.pi * 24 * x)
    return rgb("ffe3ae") * (0.80 + 0.12 * pleat + 0.08 * (1 - np.abs(y - 0.55) * 2))[..., None]


def cushion(rng: np.random.Generator) -> Picture:
    """A patchwork star."""
    size = 256
    x, y, edge = _border(np.empty((size, size, 3)))
    sector = np.floor((np.arctan2(y - 0.5, x - 0.5) / (2 * np.pi) + 0.5) * 8).astype(int) % 8
    ring = np.minimum(np.floor((np.abs(x - 0.5) + np.abs(y - 0.5)) * 5).astype(int), 4)
    colours = np.array([pick(rng, "c1443c e0b04a 2f6f73 f0e4c9 5a3f66 d97f4a") for _ in range(40)])
    picture = colours[(sector % 2) + 2 * ring] * (0.85 + 0.2 * noise(rng, (size, size), coarse=60, fall=0.6))[..., None]
    return lay(picture, 1 - step(0.03, edge, 0.01), rgb("efe4cc"))


PICTURES: dict[str, Callable[[np.random.Generator], Picture]] = {
    function.__name__: function
    for function in (
        *(landscape, blocks, circles, glass, marker, rug, window, door),
        *(books, drawers, crate, vase, stripes, shade, cushion),
    )
}
