"""Turns light into pictures like a camera's: exposure, colour cast, blur, noise, compression, scaling."""

import cv2
import numpy as np

from training.synthetic.shade import develop

CROP_PX = 256


def to_linear_table() -> np.ndarray:
    """The table (256,) float32 from sRGB bytes to linear light."""
    value = np.arange(256) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def response(gamma: float, contrast: float, black: float) -> np.ndarray:
    """The curve (4096,) uint8 from linear 0..1 to bytes: sRGB with gamma, contrast about the middle, raised blacks."""
    value = np.arange(4096) / 4095
    srgb = np.where(value <= 0.0031308, value * 12.92, 1.055 * np.maximum(value, 1e-9) ** (1 / 2.4) - 0.055)
    bent = np.clip((srgb**gamma - 0.5) * contrast + 0.5, 0, 1)
    return np.round((black + (1 - black) * bent) * 255).astype(np.uint8)


def expose(rng: np.random.Generator, linear: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, bool]:
    """Exposes linear light (h, w, 3), metered where `inside` (h, w) is true: uint8 picture, and whether it is dark."""
    metered = linear[::6, ::6][inside[::6, ::6]]
    mean = float(np.minimum(metered, 3.0).mean()) if len(metered) else 0.3
    dark = rng.random() < 0.08
    target = np.exp(rng.normal(np.log(0.24), 0.38)) if not dark else np.exp(rng.uniform(np.log(0.03), np.log(0.1)))
    cast = 1 + rng.normal(0, 0.05 if rng.random() < 0.8 else 0.16, 3)
    gains = (target / max(mean, 1e-3) * np.clip(cast, 0.5, 1.6)).astype(np.float32)
    curve = response(
        float(np.exp(rng.normal(0, 0.12))), float(np.exp(rng.normal(0, 0.13))), float(max(0, rng.normal(0, 0.03)))
    )
    out = np.empty(linear.shape, np.uint8)
    develop(linear, gains, curve, out)
    return out, bool(dark)


def sensor(
    rng: np.random.Generator, picture: np.ndarray, source_px: float, dark: bool, noise: np.ndarray
) -> np.ndarray:
    """Degrades a drawn crop (s, s, 3) uint8 to (256, 256, 3) uint8, as if cut from a video where it is source_px wide.

    noise (n, 256, 256, 3) int8 with sd 32 is the stock that noise is drawn from.
    """
    if rng.random() < 0.16:
        picture = _motion_blur(rng, picture)
    if rng.random() < 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), float(np.exp(rng.uniform(np.log(0.5), np.log(2.4)))))
    if rng.random() < 0.1:  # sharpened by the camera
        picture = cv2.addWeighted(picture, 1.8, cv2.GaussianBlur(picture, (0, 0), 1.2), -0.8, 0)
    side = int(np.clip(source_px * np.exp(rng.normal(-0.1, 0.3)), 72, CROP_PX))
    small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA if side < 200 else cv2.INTER_LINEAR)
    if rng.random() < 0.65:
        strength = np.exp(rng.uniform(np.log(0.8), np.log(7.0))) * (2.2 if dark else 1.0)
        strength *= min(1.0, 1.3 * CROP_PX / max(source_px, 1.0)) ** 0.5  # shrinking averages noise away
        grain = noise[rng.integers(len(noise))][:side, :side]
        if rng.random() < 0.5:
            grain = np.repeat(grain[..., :1], 3, -1)
        cv2.scaleAdd(
            grain.astype(np.int16), strength / 32, small.astype(np.int16), dst := np.empty_like(small, np.int16)
        )
        small = np.clip(dst, 0, 255).astype(np.uint8)
    if rng.random() < 0.55:
        quality = int(rng.uniform(22, 95))
        packed = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        small = cv2.imdecode(packed, cv2.IMREAD_COLOR)
        assert small is not None  # encoded in the line above
    if rng.random() < 0.04:
        small = cv2.cvtColor(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if side != CROP_PX:
        small = cv2.resize(small, (CROP_PX, CROP_PX), interpolation=cv2.INTER_LINEAR)
    return small


def make_noise(rng: np.random.Generator) -> np.ndarray:
    """Makes a stock of noise (8, 256, 256, 3) int8, sd 32, partly blotchy like video noise."""
    noise = rng.normal(0, 32, (8, CROP_PX, CROP_PX, 3)).astype(np.float32)
    for k in range(4):
        noise[k] = cv2.GaussianBlur(noise[k], (0, 0), 0.7) * 2.2
    return np.clip(noise, -127, 127).astype(np.int8)


def _motion_blur(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    length, angle = rng.uniform(2, 13), rng.uniform(0, np.pi)
    side = int(length) | 1
    kernel = np.zeros((side, side), np.float32)
    half = (side - 1) / 2
    step = np.array([np.cos(angle), np.sin(angle)]) * half
    start, end = np.round(half - step).astype(int), np.round(half + step).astype(int)
    cv2.line(kernel, tuple(start.tolist()), tuple(end.tolist()), 1.0, 1)
    return cv2.filter2D(picture, -1, kernel / kernel.sum())
