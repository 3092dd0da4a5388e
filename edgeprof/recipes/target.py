"""What the processor that a model is meant for is good at, as far as recipes must know it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

_X86 = ("x86_64", "amd64", "i386", "i486", "i586", "i686", "x86")


@dataclass(frozen=True)
class Target:
    """A processor: ``architecture`` as ``uname -m`` says it, ``features`` as Linux lists them (``avx512_vnni``, ``asimddp`` ...).

    ``name`` says whose it is, in words.
    """

    architecture: str = ""
    features: frozenset[str] = frozenset()
    name: str = "unknown processor"

    @property
    def is_x86(self) -> bool:
        """Whether it is one of Intel's or AMD's."""
        return self.architecture.lower() in _X86

    @property
    def has_dot_product(self) -> bool | None:
        """Whether it multiplies and adds 8-bit numbers in one instruction; None when that is not known."""
        if not self.features:
            return None
        return bool(self.features & {"avx512_vnni", "avx_vnni", "avxvnni", "avx_vnni_int8", "amx_int8", "asimddp", "i8mm", "svei8mm"})

    @property
    def activation_type(self) -> Literal["uint8", "int8"]:
        """Activations that ONNX Runtime's kernels are fastest with there: uint8 on x86 (VPDPBUSD takes u8 x s8), int8 elsewhere."""
        return "uint8" if self.is_x86 else "int8"

    @property
    def reduce_range(self) -> bool:
        """Whether weights must keep to 7 bits: u8 x s8 saturates in 16 bits on x86 without VNNI (ONNX Runtime's quantization guide)."""
        return self.is_x86 and self.has_dot_product is False

    @property
    def channel_multiple(self) -> int:
        """Widths that its vector registers take without a rest: channels of float convolutions are blocked by this many in ONNX Runtime."""
        return 16 if "avx512f" in self.features else 8


def target_of(fingerprint: Mapping[str, Any], board: str = "") -> Target:
    """The processor that a board's fingerprint (`RunContext.fingerprint`) tells of."""
    features = fingerprint.get("cpu_features")
    listed = frozenset(str(one) for one in features) if isinstance(features, list | tuple) else frozenset()
    name = str(fingerprint.get("cpu_model") or fingerprint.get("machine") or "unknown processor")
    return Target(str(fingerprint.get("machine") or ""), listed, f"{name} of {board}" if board else name)


def this_machine() -> Target:
    """The processor that this runs on."""
    features: frozenset[str] = frozenset()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip().lower() in ("flags", "features"):
                features = frozenset(value.split())
                break
    except OSError:
        pass  # not Linux: the architecture alone is known
    return Target(platform.machine(), features, "this machine")
