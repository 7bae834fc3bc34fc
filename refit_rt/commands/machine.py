"""The processor of this machine: its name, and the vector instructions that it has."""

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
INSTRUCTIONS = {  # as Linux calls them → as people do
    "avx2": "avx2",
    "avx512f": "avx512",
    "avx512_vnni": "vnni",
    "avx_vnni": "avx-vnni",
    "avx512_bf16": "bf16",
    "amx_bf16": "amx-bf16",
    "amx_int8": "amx-int8",
    "asimd": "neon",
}


def processor_model() -> str:
    """The name that the manufacturer gave it; "processor" where the system does not report one."""
    return _cpuinfo().get("model name", "processor")


def vector_instructions() -> list[str] | None:
    """Those of INSTRUCTIONS that the processor has; None where the system does not list them."""
    facts = _cpuinfo()
    flags = facts.get("flags", facts.get("Features", "")).split()
    return [name for flag, name in INSTRUCTIONS.items() if flag in flags] if facts else None


def _cpuinfo() -> dict[str, str]:
    """What Linux reports of the first core; empty elsewhere."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
