"""Where one shot ends and the next begins: cuts, dissolves and fades, from pictures 32 pixels wide."""

import numpy as np
from jaxtyping import Float32, UInt8

Array = np.ndarray
THUMB = (32, 18)  # width, height of the pictures that are compared
REACH = 3  # thumb pixels that something may move between two pictures and still be the same: a tenth of the picture
PLAIN = 6.0  # grey levels: pictures that vary less (black ones, say) are not blown up to look like others
OTHER = 0.12  # `apart` from which two pictures show different things; 0 = the same, about 0.8 = nothing in common
JUMP = 2.5  # a cut stands out against the changes around it by this factor, which fast motion does not
FLASH_S = 0.25  # what comes back within this time was a flash, not a cut
DISSOLVE_S = (1.6, 0.8, 0.4)  # lengths that are tried, which are those of the longest ones found
BLEND = 0.3  # the same, of a dissolve: slow motion also mixes pictures, but of things that have much in common
MIXED = 0.3  # of the way between two shots: how far a dissolve's pictures may lie off the straight line between them
CALM = 0.7  # of the way that a blend leads: where as many frames around it lead further, it is none
STRIP = 4096  # pairs of pictures compared at a time


def cuts(thumbs: UInt8[Array, "f 18 32"], fps: float) -> tuple[int, ...]:
    """First frame of each shot after the first. A dissolve counts as a shot of its own, which nobody wants to use."""
    change = changes(thumbs)
    found = _dissolves(thumbs, change, fps)
    hard = [t for t in _hard(thumbs, change, fps) if not any(first <= t <= last for first, last in found)]
    return tuple(sorted({int(t) for pair in found for t in pair if 0 < t < len(thumbs)}.union(hard)))


def changes(thumbs: UInt8[Array, "f 18 32"]) -> Float32[Array, "f"]:
    """How much each picture differs from the one before it, motion allowed for; 0 for the first."""
    return np.append(np.float32(0), apart(thumbs[:-1], thumbs[1:]))


def apart(one: UInt8[Array, "n 18 32"], other: UInt8[Array, "n 18 32"]) -> Float32[Array, "n"]:
    """How little two pictures have in common: 0 for the same ones, whatever their brightness and contrast.

    Each 3x3 patch of the first is looked for within REACH in the second, both ways; mean absolute difference in units
    of the pictures' own standard deviation.
    """
    parts = [(one[at : at + STRIP], other[at : at + STRIP]) for at in range(0, len(one), STRIP)]
    both = [np.maximum(_missing(a, b), _missing(b, a)) for a, b in ((_level(a), _level(b)) for a, b in parts)]
    return np.concatenate(both) if both else np.empty(0, np.float32)


def _level(thumbs: Array) -> Float32[Array, "n 18 32"]:
    grey = thumbs.astype(np.float32)
    grey -= grey.mean((1, 2), keepdims=True)
    return grey / np.maximum(grey.std((1, 2), keepdims=True), PLAIN)


def _missing(one: Array, other: Array) -> Float32[Array, "n"]:
    height, width = one.shape[1:]
    padded = np.pad(other, ((0, 0), (REACH, REACH), (REACH, REACH)), mode="edge")
    best = np.full(one[:, 1:-1, 1:-1].shape, np.inf, np.float32)
    for y in range(2 * REACH + 1):
        for x in range(2 * REACH + 1):
            off = np.abs(padded[:, y : y + height, x : x + width] - one)
            rows = off[:, :-2] + off[:, 1:-1] + off[:, 2:]
            np.minimum(best, rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:], out=best)
    return best.mean((1, 2)) / 9


def _hard(thumbs: Array, change: Array, fps: float) -> list[int]:
    """Frames that have nothing in common with the one before, nor with those just before or after."""
    found = []
    reach = max(round(FLASH_S * fps), 2)
    for t in np.flatnonzero(change > OTHER):
        around = np.concatenate([change[max(t - 4, 1) : t], change[t + 1 : t + 5], [0]])
        if change[t] < JUMP * np.median(around):
            continue
        before, after = thumbs[max(t - reach, 0) : t], thumbs[t : t + reach]
        last, first = np.repeat(thumbs[t - 1 : t], len(after), 0), np.repeat(thumbs[t : t + 1], len(before), 0)
        if min(apart(last, after).min(), apart(before, first).min()) > OTHER * 0.8:
            found.append(int(t))
    return found


def _stands_out(grey: Array, first: int, last: int) -> bool:
    """Whether a blend leads further than as many frames around it do; a crowd is as restless everywhere."""
    length = last - first + 1
    ends = [(first - 1, last), (first - 1 - length, first - 1), (last, last + length)]
    there = [np.linalg.norm(grey[b] - grey[a]) for a, b in ends if a >= 0 and b < len(grey)]
    return first == 0 or len(there) == 1 or bool(np.max(there[1:]) < CALM * there[0])


def _dissolves(thumbs: Array, change: Array, fps: float) -> list[tuple[int, int]]:
    """(first frame that is mixed, first one that is not) of blends between two pictures; black may be one of them."""
    seen: list[tuple[float, int, int]] = []  # how far its ends are apart, first, last
    grey = thumbs.astype(np.float32).reshape(len(thumbs), -1)
    for length in (max(round(seconds * fps), 4) for seconds in DISSOLVE_S):
        far = apart(thumbs[:-length], thumbs[length:])
        for t in np.flatnonzero(far > BLEND):
            if change[t + 1 : t + length + 1].max() > 0.6 * far[t]:
                continue
            way = grey[t + length] - grey[t]
            done = (grey[t : t + length + 1] - grey[t]) @ way / max(float(way @ way), 1e-9)  # 0 .. 1
            off = np.linalg.norm(grey[t : t + length + 1] - grey[t] - done[:, None] * way, axis=1)
            mixed = (done > 0.04) & (done < 0.96)
            first, last = int(t + np.argmax(done > 0.04)), int(t + np.argmax(done > 0.96))
            straight = np.diff(done).min() > -0.05 and off.max() < MIXED * np.linalg.norm(way)
            if mixed.sum() >= 3 and straight and _stands_out(grey, first, last):
                seen.append((float(np.linalg.norm(way)), first, last))
    found: list[tuple[int, int]] = []
    for _, first, last in sorted(seen, reverse=True):  # a part of a blend is one too, but its ends are nearer
        if not any(first <= b and a <= last for a, b in found):
            found.append((first, last))
    return found
