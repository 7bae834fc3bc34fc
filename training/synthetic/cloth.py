"""Paints the points of the rest surface: skin, garments, hair, face. Evaluated for every pixel.

Garments are cuts of the rest surface (a hem at a height, a sleeve at a distance along the T-pose's arm), so hems are
as sharp as the picture whatever the mesh. Parameters travel as two arrays that numba reads: `cuts` (lengths and
places) and `fabric` (a row of colours and patterns for each layer).
"""

import math

import numpy as np

from refit_rt.compiler import njit
from refit_rt.draw.raster import FAST

# Rows of `fabric`
SKIN, SHIRT, JACKET, TROUSERS, SHOES, HAIR, SOCKS, SKIRT, CAP, SOLE, LIPS, LAYERS = range(12)
# Columns of `fabric`: two linear colours, then the pattern
RED, RED2 = 0, 3
PATTERN, FREQUENCY, DUTY, AXIS, GRAIN, GRAIN_FREQUENCY, BUMP, GLOSS, BUMP_FREQUENCY, FIELDS = range(6, 16)
PLAIN, STRIPES, CHECKS, BLOTCHES, GRADIENT, PRINT, LOGO, PATTERNS = range(8)
# Entries of `cuts`, metres on the rest surface unless noted otherwise
HEM, SLEEVE, COLLAR, V_DEPTH, V_WIDTH, JACKET_HEM, JACKET_SLEEVE, JACKET_GAP, JACKET_COLLAR = range(9)
WAIST, LEG, SHOE, SOCK, SOLE_TOP, HAIR_COS, HAIR_FRONT, HAIR_SIDE, BEARD, SKULL_Y, SKULL_Z = range(9, 20)
EYE_X, EYE_Y, EYE_Z, IRIS_R, IRIS_G, IRIS_B, ARM_ROOT, CAP_LINE, LOGO_X, LOGO_Y, LOGO_SIZE = range(20, 31)
GLASSES, BROW, SHADE, STRAP, NECK_TOP, BELT, CUTS = range(31, 38)
# Kinds of surface; GARMENT + a row of `fabric` is a mesh of that layer
BODY, EYE, HAIR_SHELL, SKIRT_SHELL, GARMENT = 0.0, 1.0, 2.0, 3.0, 4.0
NOISE_SIDE, NOISE_UNIT = 32, 1.5 / 127  # in bytes, so that the whole volume stays in the cache


def noise_volume(rng: np.random.Generator) -> np.ndarray:
    """Smooth noise that tiles, 32 cells each way, (32768, 4) int8 of NOISE_UNIT: a value and a vector, about -1..1."""
    volume = np.zeros((NOISE_SIDE,) * 3 + (4,), np.float32)
    for side, gain in ((8, 1.0), (16, 0.6), (32, 0.35)):
        coarse = rng.normal(0, 1, (side,) * 3 + (4,))
        times = NOISE_SIDE // side
        if times > 1:
            spectrum = np.fft.fftn(np.kron(coarse, np.ones((times, times, times, 1))), axes=(0, 1, 2))
            wave = np.fft.fftfreq(NOISE_SIDE) * NOISE_SIDE
            radius2 = wave[:, None, None] ** 2 + wave[None, :, None] ** 2 + wave[None, None] ** 2
            coarse = np.fft.ifftn(spectrum * np.exp(-radius2 / (side / 2.2) ** 2)[..., None], axes=(0, 1, 2)).real
        volume += (gain * coarse / coarse.std()).astype(np.float32)
    bounded = np.clip(volume / volume.std() * 0.5, -1.5, 1.5) / NOISE_UNIT
    return np.ascontiguousarray(np.rint(bounded).reshape(-1, 4), np.int8)


@njit(**FAST)
def sample_noise(volume, x, y, z, out):
    """Samples `noise_volume` trilinearly, with wrapping, at x, y, z in cells; writes out (4,)."""
    fx, fy, fz = math.floor(x), math.floor(y), math.floor(z)
    tx, ty, tz = np.float32(x - fx), np.float32(y - fy), np.float32(z - fz)
    i, j, k = (int(fx) & 31) << 10, (int(fy) & 31) << 5, int(fz) & 31
    i2, j2, k2 = (i + 1024) & 31744, (j + 32) & 992, (k + 1) & 31
    one, unit = np.float32(1), np.float32(NOISE_UNIT)
    w11, w10 = ty * tz, ty * (one - tz)
    w01, w00 = (one - ty) * tz, (one - ty) * (one - tz)
    a, b, c, d = i + j + k, i + j + k2, i + j2 + k, i + j2 + k2
    e, f, g, h = i2 + j + k, i2 + j + k2, i2 + j2 + k, i2 + j2 + k2
    for n in range(4):
        near = volume[a, n] * w00 + volume[b, n] * w01 + volume[c, n] * w10 + volume[d, n] * w11
        far = volume[e, n] * w00 + volume[f, n] * w01 + volume[g, n] * w10 + volume[h, n] * w11
        out[n] = (near + tx * (far - near)) * unit


@njit(**FAST)
def nearest_noise(volume, x, y, z):
    """The noise value of the nearest cell."""
    return volume[((math.floor(x) & 31) << 10) + ((math.floor(y) & 31) << 5) + (math.floor(z) & 31), 0] * NOISE_UNIT


@njit(**FAST)
def layer_at(kind, x, y, z, head, hand, cuts, edge):
    """The layer, a row of `fabric`, that covers point (x, y, z) of the rest surface. edge: noise that frays hems."""
    if kind == HAIR_SHELL:
        return HAIR
    if kind == SKIRT_SHELL:
        return SKIRT
    if kind >= GARMENT:
        return int(kind - GARMENT)
    if head > 0.5 and y > cuts[NECK_TOP]:
        return _layer_of_head(x, y, z, cuts, edge)
    across = abs(x)
    if y < cuts[SOLE_TOP] and cuts[SHOE] > -5:
        return SOLE
    if y < cuts[SHOE]:
        return SHOES
    open_front = z > 0.03 and across < cuts[JACKET_GAP] * (1 + 0.5 * edge)
    if across < cuts[JACKET_SLEEVE] and y > cuts[JACKET_HEM] and y < cuts[JACKET_COLLAR] and not open_front:
        return JACKET
    collar = cuts[COLLAR] - (cuts[V_DEPTH] * max(0.0, 1 - across / cuts[V_WIDTH]) if z > 0.02 else 0.0)
    armpit = (
        cuts[SLEEVE] > cuts[ARM_ROOT] or across < cuts[SLEEVE] + 0.25 * (y - 0.12) or y < 0.1
    )  # cut round if sleeveless
    bare = cuts[STRAP] > 0 and y > cuts[STRAP] and (across <= 0.05 or across >= 0.1)  # beside a top's straps
    if across < cuts[SLEEVE] and y > cuts[HEM] + 0.01 * edge and y < collar and armpit and not bare:
        return SHIRT
    if y < cuts[WAIST] and y > cuts[LEG] + 0.008 * edge and across < 0.4:
        return TROUSERS
    if y < cuts[SOCK]:
        return SOCKS
    return SKIN


@njit(**FAST)
def layers_at(points, head, hand, cuts):
    """The layer of every vertex: points (V, 3), head and hand (V,) -> (V,) int64."""
    out = np.empty(len(points), np.int64)
    for i in range(len(points)):
        out[i] = layer_at(BODY, points[i, 0], points[i, 1], points[i, 2], head[i], hand[i], cuts, 0.0)
    return out


@njit(**FAST)
def _layer_of_head(x, y, z, cuts, edge):
    dy, dz = y - cuts[SKULL_Y], z - cuts[SKULL_Z]
    radius = math.sqrt(x * x + dy * dy + dz * dz) + 1e-6
    around = math.sqrt(x * x + dz * dz) + 1e-6
    front = dz / around  # 1 at the front, -1 at the back
    if dy > cuts[CAP_LINE] + 0.25 * dz * (1 if dz > 0 else 0):
        return CAP
    line = cuts[HAIR_COS] + cuts[HAIR_FRONT] * max(front, 0.0) + cuts[HAIR_SIDE] * (1 - front * front)
    if dy / radius > line + 0.12 * edge:
        return HAIR
    if cuts[BEARD] > 0:
        below = cuts[EYE_Y] - 0.045 - y
        lips = (y - (cuts[EYE_Y] - 0.072)) ** 2 * 6 + x * x
        if below > 0.0 and front > -0.1 and below > cuts[BEARD] * (0.03 - abs(x)) and lips > 0.0006:
            return HAIR
    ex = abs(x) - cuts[EYE_X]
    brow = y - cuts[EYE_Y] - 0.019 + 4 * ex * ex
    if z > cuts[EYE_Z] - 0.035:
        if abs(brow) < cuts[BROW] and abs(ex) < 0.018:
            return HAIR
        mouth = y - cuts[EYE_Y] + 0.073
        if mouth * mouth * 7 + x * x < 0.00052:
            return LIPS
    return SKIN


@njit(**FAST)
def pattern_at(fabric, layer, u, v, w, blotch, print_tile):
    """The share 0..1 of a layer's second colour at pattern coordinates (u, v, w) in metres."""
    pattern = int(fabric[layer, PATTERN])
    frequency = fabric[layer, FREQUENCY]
    if pattern == PLAIN:
        return 0.0
    along = v if fabric[layer, AXIS] < 0.5 else (u if fabric[layer, AXIS] < 1.5 else (u + v) * 0.7)
    if pattern == STRIPES:
        phase = along * frequency
        return 1.0 if phase - math.floor(phase) < fabric[layer, DUTY] else 0.0
    if pattern == CHECKS:
        a, b = v * frequency, (u + w) * frequency
        first = 0.5 if a - math.floor(a) < fabric[layer, DUTY] else 0.0
        return first + (0.5 if b - math.floor(b) < fabric[layer, DUTY] else 0.0)
    if pattern == BLOTCHES:
        return 1.0 if blotch > fabric[layer, DUTY] - 0.4 else 0.0
    if pattern == GRADIENT:
        return min(max(0.5 + (v - fabric[layer, DUTY]) * 3, 0.0), 1.0)
    if pattern == PRINT:
        i, j = math.floor((u + w) * frequency * 4) & 15, math.floor(v * frequency * 4) & 15
        return print_tile[i, j]
    return 0.0


@njit(**FAST)
def paint(rest, cuts, fabric, tile, noise, folds, colour):
    """Paints a point of an outfit, rest (6,) as in `Outfit.coordinates`, and returns its layer. Writes folds (4,) of
    noise, the last three of which bend the normal, and colour (3,)."""
    x, y, z = rest[0], rest[1], rest[2]
    sample_noise(noise, x * 45 + 7, y * 45 + 3, z * 45 + 11, folds)
    edge, blotch = folds[0], folds[1]
    layer = layer_at(rest[5], x, y, z, rest[3], rest[4], cuts, edge)
    fine = fabric[layer, BUMP_FREQUENCY]
    if layer in (TROUSERS, SKIRT):  # folds run down
        sample_noise(noise, x * fine, y * fine * 0.45, z * fine, folds)
    elif layer == HAIR:
        sample_noise(noise, x * fine, y * fine * 0.25, z * fine, folds)
    else:
        sample_noise(noise, x * fine * 0.6, y * fine * 0.8, z * fine * 0.8, folds)
    share = pattern_at(fabric, layer, x, y, z, blotch * 0.4 + folds[0], tile)
    if int(fabric[layer, PATTERN]) == LOGO and z > 0.02:
        u, v = (x - cuts[LOGO_X]) / cuts[LOGO_SIZE], (y - cuts[LOGO_Y]) / cuts[LOGO_SIZE]
        if abs(u) < 1 and abs(v) < 0.7:
            share = tile[int((u + 1) * 7.9), int((v + 1) * 7.9)]
    frequency = fabric[layer, GRAIN_FREQUENCY]
    grain = nearest_noise(noise, x * frequency, y * frequency, z * frequency)
    gain = max(1 + fabric[layer, GRAIN] * (0.6 * grain + 0.5 * folds[0]), 0.1)
    for k in range(3):
        colour[k] = (fabric[layer, k] * (1 - share) + fabric[layer, RED2 + k] * share) * gain
    if rest[5] == EYE:
        radius = math.sqrt((abs(x) - cuts[EYE_X]) ** 2 + (y - cuts[EYE_Y]) ** 2)
        for k in range(3):  # white, iris, pupil
            colour[k] = 0.62 if radius > 0.0062 else (cuts[IRIS_R + k] if radius > 0.0028 else 0.01)
    return layer
