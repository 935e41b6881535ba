"""`Chip`: what an accelerator can do, by its data sheet."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """One accelerator. All figures are its vendor's, and none is reached in practice."""

    name: str
    memory_gb: float
    """Memory in units of 10^9 bytes."""
    memory_gb_s: float
    """Bytes a second from its memory, in units of 10^9."""
    tflops: float
    """Dense bfloat16 operations a second, in units of 10^12."""
    link_gb_s: float
    """Bytes a second from and to the host's pinned memory, one way, in units of 10^9."""


CHIPS = {
    chip.name: chip
    for chip in (
        Chip(name="b200", memory_gb=180, memory_gb_s=8000, tflops=2250, link_gb_s=55),
        Chip(name="h200", memory_gb=141, memory_gb_s=4800, tflops=989, link_gb_s=55),
        Chip(name="h100", memory_gb=80, memory_gb_s=3350, tflops=989, link_gb_s=55),
        Chip(name="a100", memory_gb=80, memory_gb_s=2039, tflops=312, link_gb_s=25),
        Chip(name="l40s", memory_gb=48, memory_gb_s=864, tflops=362, link_gb_s=25),
        Chip(name="a10", memory_gb=24, memory_gb_s=600, tflops=125, link_gb_s=25),
        Chip(name="l4", memory_gb=24, memory_gb_s=300, tflops=121, link_gb_s=25),
        Chip(name="rtx4090", memory_gb=24, memory_gb_s=1008, tflops=165, link_gb_s=25),
    )
}
"""Those that are known, by name. NVIDIA's data sheets; the link is PCIe 4 or 5 with 16 lanes, less
what its protocol takes."""
