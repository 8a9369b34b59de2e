"""Materials of the toy world that repeat: floors, walls, wood, cloth, and the patterns around balls.

Each function returns an sRGB picture, (h, w, 3) floats in 0..1, sides powers of two, whose opposite edges join.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

Array = np.ndarray
Picture = Float[Array, "h w 3"]


def rgb(code: str) -> Float[Array, "3"]:
    """Colour of six hexadecimal digits."""
    return np.array([int(code[k : k + 2], 16) / 255 for k in (0, 2, 4)], np.float32)


def palette_of(codes: str) -> Float[Array, "n 3"]:
    """Several colours, separated by spaces."""
    return np.array([rgb(code) for code in codes.split()])


def pick(rng: np.random.Generator, codes: str) -> Float[Array, "3"]:
    """One of several colours, separated by spaces."""
    colours = palette_of(codes)
    return colours[rng.integers(len(colours))]


def noise(
    rng: np.random.Generator, shape: tuple[int, int], *, coarse: float = 4.0, fall: float = 1.6, stretch: float = 1.0
) -> Float[Array, "h w"]:
    """Periodic noise in 0..1 with mean 1/2: random phases under a spectrum that falls as f^-fall beyond `coarse`
    waves per side; `stretch` > 1 draws it out to the right."""
    fy, fx = np.fft.fftfreq(shape[0])[:, None] * shape[0], np.fft.rfftfreq(shape[1])[None] * shape[1]
    power = np.asarray(fy**2 + (fx * stretch) ** 2 + coarse**2, np.float32) ** np.float32(-fall / 2)
    spectrum = power * np.exp(2j * np.pi * rng.random(power.shape, np.float32))
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, s=shape)
    return np.clip(0.5 + 0.22 * field / field.std(), 0, 1)


def grid(height: int, width: int) -> tuple[Float[Array, "h w"], Float[Array, "h w"]]:
    """x and y of texel centres, 0..1 to the right and down."""
    across, down = (
        (np.arange(width, dtype=np.float32) + 0.5) / width,
        (np.arange(height, dtype=np.float32) + 0.5) / height,
    )
    x, y = np.meshgrid(across, down)
    return x, y


def step(edge: float, value: Float[Array, "h w"], width: float) -> Float[Array, "h w"]:
    """0 below `edge`, 1 above, smooth over `width`."""
    part = np.clip((value - edge) / width + 0.5, 0, 1)
    return part * part * (3 - 2 * part)


def lay(picture: Picture, mask: Float[Array, "h w"], colour: Float[Array, "..."]) -> Picture:
    """`colour` over the picture where the mask is 1."""
    mask = np.asarray(mask, np.float32)[..., None]
    return picture + mask * (np.asarray(colour, np.float32) - picture)


def _cells(
    rng: np.random.Generator, shape: tuple[int, int], rows: int, columns: int, shift: Float[Array, " rows"]
) -> tuple[Array, Array, Array, Array]:
    """For a running bond of rows x columns: row, column, and the position 0..1 within each stone."""
    x, y = grid(*shape)
    row = np.floor(y * rows).astype(int)
    along = (x * columns + shift[row]) % columns
    return row, np.floor(along).astype(int), along % 1, y * rows % 1


def planks(rng: np.random.Generator) -> Picture:
    shape, rows = (512, 512), 10
    row, column, along, across = _cells(rng, shape, rows, 1, rng.random(rows))
    base = pick(rng, "b98a58 a87446 8a5a38 c79f6d")
    tone = rng.normal(0, 0.09, (rows, 1))[row, column]
    red = rng.normal(0, 0.025, (rows, 1))[row, column]
    roll = rng.integers(0, 512, rows)
    grain = noise(rng, shape, coarse=10, fall=1.3, stretch=14)
    grain = np.take_along_axis(grain, (np.arange(512)[None] + roll[row[:, 0], None]) % 512, axis=1)
    fine = noise(rng, shape, coarse=90, fall=1.0, stretch=20)
    value = 1 + tone + 0.75 * (grain - 0.5) + 0.22 * (fine - 0.5)
    picture = base * value[..., None] + np.stack([red, 0 * red, -red], axis=-1)
    knots = noise(rng, shape, coarse=7, fall=2.5)
    picture = lay(picture, 0.5 * step(0.9, knots, 0.12), base * 0.35)
    gap = 1 - step(0.025, np.minimum(across, 1 - across), 0.03)
    end = 1 - step(0.002, np.minimum(along, 1 - along), 0.0024)
    return lay(picture, 0.75 * np.maximum(gap, end), base * 0.25)


def tiles(rng: np.random.Generator) -> Picture:
    shape = (512, 512)
    row, column, along, across = _cells(rng, shape, 4, 4, np.zeros(4))
    light, dark = pick(rng, "e6dfd0 dcd8d2 e9e2d6"), pick(rng, "4d5a5e 6b4a3c 39454f 58604d")
    veins = np.abs(noise(rng, shape, coarse=5, fall=1.7) - 0.5)
    cloud = noise(rng, shape, coarse=3, fall=1.4)
    tone = rng.normal(0, 0.035, (4, 4))[row, column]
    checker = ((row + column) % 2)[..., None]
    picture = np.where(checker, light, dark) * (0.86 + 0.28 * cloud + tone)[..., None]
    picture = lay(picture, 0.55 * (1 - step(0.012, veins, 0.02)), np.where(checker, rgb("8d8375"), rgb("c9c5bb")))
    inset = step(0.33, np.abs(along - 0.5) + np.abs(across - 0.5), 0.012)
    corner = step(0.86, np.abs(along - 0.5) + np.abs(across - 0.5), 0.012)
    picture = lay(picture, corner, pick(rng, "9a3b2e 2f5d73 b9832f"))
    picture = lay(picture, 0.10 * (1 - inset), rgb("000000"))
    joint = 1 - step(0.011, np.minimum(np.minimum(along, 1 - along), np.minimum(across, 1 - across)), 0.01)
    return lay(picture, joint, rgb("8f887c"))


def brick(rng: np.random.Generator) -> Picture:
    shape, rows, columns = (512, 512), 24, 8
    shift = np.where(np.arange(rows) % 2, 0.5, 0.0) + rng.normal(0, 0.03, rows)
    row, column, along, across = _cells(rng, shape, rows, columns, shift)
    tone, burnt = rng.normal(0, 0.11, (rows, columns))[row, column], rng.random((rows, columns))[row, column]
    base = pick(rng, "a2563d 94513f b3664a 8d5a4a")
    rough = noise(rng, shape, coarse=26, fall=1.1)
    picture = base * (1 + tone + 0.5 * (rough - 0.5))[..., None]
    picture = lay(picture, 0.55 * (burnt > 0.88), rgb("4a332d"))
    picture = lay(picture, 0.35 * (burnt < 0.1), rgb("c98e6a"))
    wobble = 0.06 * (noise(rng, shape, coarse=30, fall=1.4) - 0.5)
    side = np.minimum(along, 1 - along) * 3.0
    edge = np.minimum(side, np.minimum(across, 1 - across)) + wobble
    mortar = rgb("c4bbab") * (0.85 + 0.3 * noise(rng, shape, coarse=60, fall=0.9))[..., None]
    picture = picture * (0.8 + 0.2 * step(0.16, edge, 0.12))[..., None]
    return lay(picture, 1 - step(0.075, edge, 0.05), mortar)


def plaster(rng: np.random.Generator) -> Picture:
    shape = (512, 512)
    base = pick(rng, "d8c9a8 c5d0c0 d9b9a0 b9c6cf e0d6c3")
    cloud, trowel = noise(rng, shape, coarse=3, fall=1.9), noise(rng, shape, coarse=24, fall=1.5, stretch=2.5)
    picture = base * (0.90 + 0.12 * cloud + 0.16 * (trowel - 0.5))[..., None]
    crack = np.abs(noise(rng, shape, coarse=4, fall=1.9) - 0.62)
    picture = lay(picture, 0.4 * (1 - step(0.0035, crack, 0.006)) * step(0.6, cloud, 0.2), rgb("6d6353"))
    speck = noise(rng, shape, coarse=130, fall=0.6)
    return lay(picture, 0.35 * step(0.93, speck, 0.08), base * 0.6)


def wallpaper(rng: np.random.Generator) -> Picture:
    """Diamonds with a flower in each, every flower turned and tinted differently."""
    shape, count = (512, 512), 4
    ground, motif = pick(rng, "5d8090 e8dcc4 8a5f72 6d8f7c d9cdb8"), pick(rng, "e6b65c c2624a a9cfc0 efe3c8")
    x, y = grid(*shape)
    picture = np.broadcast_to(ground, (*shape, 3)) * (0.94 + 0.12 * noise(rng, shape, coarse=40, fall=1.0))[..., None]
    a, b = (x + y) * count, (x - y) * count
    lattice = np.minimum(np.abs(a % 1 - 0.5), np.abs(b % 1 - 0.5))
    picture = lay(picture, 0.8 * (1 - step(0.022, lattice, 0.02)), motif * 0.85)
    i, j = np.floor(a + 0.5).astype(int), np.floor(b + 0.5).astype(int)  # diamonds between the lattice lines
    centre_x, centre_y = (i + j) / 2 / count, (i - j) / 2 / count
    number = (np.rint(centre_x * 2 * count).astype(int) % (2 * count)) * 2 * count
    number = number + np.rint(centre_y * 2 * count).astype(int) % (2 * count)
    petals, turn = rng.integers(4, 8, 400)[number], rng.random(400)[number] * 2 * np.pi
    tint, dot = rng.normal(0, 0.08, (400, 3))[number], rng.random(400)[number]
    radius, angle = np.hypot(x - centre_x, y - centre_y) * count, np.arctan2(y - centre_y, x - centre_x)
    flower = 0.24 + 0.09 * np.cos(petals * (angle - turn))
    picture = lay(picture, step(0, flower - radius, 0.015), motif + tint)
    picture = lay(picture, step(0, 0.14 - radius, 0.012), ground * 0.8)
    return lay(picture, step(0, 0.085 - radius, 0.012), np.where(dot[..., None] > 0.5, rgb("e9d8a6"), motif + tint))


def ceiling(rng: np.random.Generator) -> Picture:
    """Coffers: square panels with a moulding."""
    shape = (512, 512)
    x, y = grid(*shape)
    edge = np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y))
    paper = noise(rng, shape, coarse=5, fall=1.2)
    picture = rgb("e9e3d6") * (0.90 + 0.14 * paper)[..., None]
    for at, depth in ((0.05, 0.22), (0.09, 0.12), (0.17, 0.15)):
        picture = picture * (1 - depth * (1 - step(0.006, np.abs(edge - at), 0.008)))[..., None]
    rosette = np.hypot(x - 0.5, y - 0.5) - 0.05 - 0.018 * np.cos(8 * np.arctan2(y - 0.5, x - 0.5))
    return lay(picture, 0.35 * (1 - step(0.004, np.abs(rosette), 0.008)), rgb("8f7f60"))


def wood(rng: np.random.Generator) -> Picture:
    shape = (256, 256)
    base = pick(rng, "7a4a2a 94602f 5d3a26 a97c4b 3f2c23")
    warp = noise(rng, shape, coarse=2.5, fall=2.2, stretch=5)
    fine = noise(rng, shape, coarse=60, fall=1.0, stretch=22)
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * 9 * warp)
    return base * (0.86 + 0.26 * rings * warp + 0.34 * (fine - 0.5) + 0.06)[..., None]


def fabric(rng: np.random.Generator) -> Picture:
    """A tartan."""
    size = 256
    x, y = grid(size, size)
    ground, band = pick(rng, "274156 7a2e2e 39543f 8a6a3b 4f4668"), pick(rng, "d9c7a0 c1563f 6f9a8d e0d8cc")
    picture = np.broadcast_to(ground, (size, size, 3)).copy()
    for at, width, weight in ((0.25, 0.20, 0.45), (0.25, 0.06, 0.5), (0.75, 0.05, 0.75), (0.60, 0.025, 0.6)):
        for axis in (x, y):
            picture = lay(picture, weight * step(0, width / 2 - np.abs(axis - at), 0.01), band)
    weave = 0.5 + 0.25 * np.sin(2 * np.pi * 64 * (x + y)) + 0.25 * np.sin(2 * np.pi * 64 * (x - y))
    return picture * (0.82 + 0.22 * weave + 0.12 * (noise(rng, (size, size), coarse=8, fall=1.0) - 0.5))[..., None]


def marble(rng: np.random.Generator) -> Picture:
    shape = (256, 256)
    base, vein = pick(rng, "e3ded4 c9d3ce d9c6b5"), pick(rng, "5d6a68 7a5a48 4a4f5a")
    veins = np.abs(noise(rng, shape, coarse=3, fall=1.9) - 0.5)
    thin = np.abs(noise(rng, shape, coarse=6, fall=1.6) - 0.47)
    picture = base * (0.88 + 0.18 * noise(rng, shape, coarse=4, fall=1.6))[..., None]
    picture = lay(picture, 0.75 * (1 - step(0.02, veins, 0.05)), vein)
    return lay(picture, 0.5 * (1 - step(0.008, thin, 0.014)), vein * 0.8)


def metal(rng: np.random.Generator) -> Picture:
    shape = (256, 256)
    base = pick(rng, "8d8878 5a5d60 a5854a")
    return base * (0.85 + 0.3 * noise(rng, shape, coarse=30, fall=0.9, stretch=10))[..., None]


def sphere_globe(rng: np.random.Generator, n: Float[Array, "h w 3"]) -> Picture:
    """Sea, land and a graticule."""
    height = _waves(rng, n, 9, 2.2)
    land = step(0.08, height, 0.02)
    sea = rgb("2c6a94") * (0.9 + 0.25 * height[..., None])
    ground = np.where(height[..., None] > 0.6, rgb("b98f5a"), rgb("5f8a46")) * (0.8 + 0.3 * height[..., None])
    picture = lay(sea, land, ground)
    latitude, longitude = np.arcsin(np.clip(n[..., 2], -1, 1)), np.arctan2(n[..., 1], n[..., 0])
    for angle, scale in ((latitude, 1.0), (longitude, np.cos(latitude))):
        line = np.abs((angle * 12 / np.pi + 0.5) % 1 - 0.5) * np.pi / 12 * scale
        picture = lay(picture, 0.6 * (1 - step(0.012, line, 0.01)), rgb("f2ead8"))
    return picture


def sphere_beach(rng: np.random.Generator, n: Float[Array, "h w 3"]) -> Picture:
    """Six coloured segments under white caps."""
    colours = palette_of("d64541 f4f1e8 2e86ab f2b134 f4f1e8 3b8e5a")
    segment = np.floor((np.arctan2(n[..., 1], n[..., 0]) / (2 * np.pi) + 0.5) * 6).astype(int) % 6
    picture = colours[segment] * (0.95 + 0.08 * _waves(rng, n, 20, 1.0))[..., None]
    return lay(picture, step(0.9, np.abs(n[..., 2]), 0.01), rgb("f4f1e8"))


def sphere_marble(rng: np.random.Generator, n: Float[Array, "h w 3"]) -> Picture:
    """Swirls of two tones."""
    swirl = np.sin(7 * n[..., 2] + 5 * _waves(rng, n, 5, 1.8))
    picture = lay(np.broadcast_to(rgb("2f5d62"), n.shape), step(0.1, swirl, 0.5), rgb("dcd3bd"))
    return lay(picture, 0.8 * (1 - step(0.05, np.abs(swirl - 0.1), 0.08)), rgb("b8862f"))


def sphere_milk(rng: np.random.Generator, n: Float[Array, "h w 3"]) -> Picture:
    """A milky lamp."""
    return rgb("fff0d2") * (0.93 + 0.07 * n[..., 2:])


def sphere_leaves(rng: np.random.Generator, n: Float[Array, "h w 3"]) -> Picture:
    """Foliage: leaf-sized patches whose shade varies from one to the next."""
    seeds = rng.normal(size=(260, 3))
    seeds /= np.linalg.norm(seeds, axis=1, keepdims=True)
    towards = n.reshape(-1, 3) @ seeds.T
    near = np.partition(towards, -2, axis=1)[:, -2:].reshape(*n.shape[:2], 2)
    owner = np.argmax(towards, axis=1).reshape(n.shape[:2])
    shade = rgb("3d7a35") * (0.45 + 0.8 * rng.random(260))[owner][..., None] + rng.normal(0, 0.03, (260, 3))[owner]
    return lay(shade, 0.7 * (1 - step(0.006, near[..., 1] - near[..., 0], 0.008)), rgb("14260f"))


def _waves(rng: np.random.Generator, n: Float[Array, "h w 3"], octave: int, fall: float) -> Float[Array, "h w"]:
    """Smooth noise on the unit sphere, about -1..1: plane waves of random direction."""
    total = np.zeros(n.shape[:2])
    for number in range(60):
        frequency = 1.5 + octave * (number / 60) ** 2
        direction = rng.normal(size=3)
        direction *= frequency / np.linalg.norm(direction)
        total += frequency ** (-fall / 2) * np.cos(n @ direction * 2 + rng.random() * 2 * np.pi)
    return np.clip(total / (2.0 * total.std() + 1e-9), -1, 1)


MATERIALS: dict[str, Callable[[np.random.Generator], Picture]] = {
    function.__name__: function
    for function in (planks, tiles, brick, plaster, wallpaper, ceiling, wood, fabric, marble, metal)
}
BALLS: dict[str, Callable[[np.random.Generator, Array], Picture]] = {
    "globe": sphere_globe,
    "beach": sphere_beach,
    "swirl": sphere_marble,
    "milk": sphere_milk,
    "foliage": sphere_leaves,
}
