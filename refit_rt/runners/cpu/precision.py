"""The arithmetic of the encoder: what fit.precision means here."""

from pathlib import Path

from refit_rt.bundle.read import Bundle
from refit_rt.inference import openvino as ov

CPUINFO = Path("/proc/cpuinfo")
# Instructions that multiply and add int8 numbers, as Linux calls them. Without them OpenVINO runs int8 encoders too,
# but hardly faster.
INT8_INSTRUCTIONS = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}
# How far an int8 encoder may differ from the exact one (see bundle/quantise.py) to be chosen unasked. The shipped one
# differs by 0.0585 and 0.79 px, and costs nothing: on the two real clips and the benchmark its errors are those of f32.
# More has not been measured.
MOST_MAPS_STRAY, MOST_LANDMARKS_STRAY_PX = 0.06, 0.8


def precision_for(setting: str, bundle: Bundle, core: ov.Core) -> str:
    """f32, bf16 or int8 for fit.precision: auto is int8 where the processor has instructions for it and the bundle's
    card shows that it costs nothing, otherwise f32."""
    if setting != "auto":
        return setting
    return "int8" if costs_nothing(bundle) and has_int8(core) else "f32"


def costs_nothing(bundle: Bundle) -> bool:
    """Whether the bundle has an int8 encoder that its card says is as good as the exact one."""
    accuracy, unknown = bundle.card.accuracy, float("inf")
    maps, landmarks_px = (accuracy.get(f"int8_{name}", unknown) for name in ("maps_stray", "landmarks_stray_px"))
    near = maps <= MOST_MAPS_STRAY and landmarks_px <= MOST_LANDMARKS_STRAY_PX
    return bundle.encoder_int8.name in bundle.card.files and near


def has_int8(core: ov.Core) -> bool:
    """Whether the processor computes faster in int8: OpenVINO supports it, and the system lists an instruction of
    INT8_INSTRUCTIONS. Where the system lists none (only Linux does), the answer is no."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    flags = {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split()}
    return "INT8" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") and bool(flags & INT8_INSTRUCTIONS)


def has_bf16(core: ov.Core) -> bool:
    """Whether the processor computes in bf16, which halves the time of a crop. With the shipped bundle it moves bodies
    by 27 mm in the median and adds 3 mm to MPJPE on renders (int8 adds none), so it is used only on request."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
