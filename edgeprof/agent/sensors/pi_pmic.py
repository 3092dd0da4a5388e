"""The power chip of a Raspberry Pi 5 (500, Compute Module 5): voltage and current of twelve rails from ``vcgencmd pmic_read_adc``.

The total is the sum of voltage times current over the rails, scope ``module``. It sees no USB devices, nothing that hangs on the 5 V pins,
and not the losses of the regulators: a meter at the plug reads more. Formulas that estimate the rest exist (fitted on single
boards); none is applied. ``EXT5V`` has a voltage only and is a channel of its own (below 4.8 V the supply is suspect); ``BATT`` is the
clock's battery. 3V3_DAC and 3V3_ADC may hang on 3V3_SYS; both are below 2 mW. Older models measure no current.

Each reading starts a process that takes some ms of one core, hence 10 a second. The values are instantaneous.

Sources: raspberrypi/utils, vcgencmd; raspberrypi/linux, pull request 7351 (permission); recorded answers in zeus, tests of its
Raspberry Pi reader (pull request 274).
"""

from __future__ import annotations

import re
from typing import Dict, List

from .base import NAN, SAMPLE, Channel, Found, Sensor, board_model
from .vcgencmd import HELP, NotAllowed, Vcgencmd, find

_QUESTION = "pmic_read_adc"
_MODEL = re.compile("Raspberry Pi (Compute Module )?5")
_LINE = re.compile(r"^\s*([A-Za-z0-9_]+)_([AV]) [a-z]+\([0-9]+\)=(-?[0-9]+\.[0-9]+)\2\s*$", re.MULTILINE)
_MW_PER_W = 1000.0
_MOST_RAILS = 32


class PiPmic(Sensor):
    """All rails, and the voltage that comes in."""

    name = "pi_pmic"
    rate_hz = 10.0

    def __init__(self, command: Vcgencmd, rails: List[str]) -> None:
        powers = [Channel("pi_pmic/%s_mw" % rail, "mW", SAMPLE, "rail", "Rail %s" % rail) for rail in rails]
        supply = Channel("pi_pmic/EXT5V_v", "V", SAMPLE, "board", "5 V supply")
        super().__init__([*powers, supply], {"module": [channel.name for channel in powers]})
        self._command, self._rails = command, rails

    def read(self) -> List[float]:
        """See `Sensor.read`."""
        found = parse(self._command.ask(_QUESTION))
        powers = [_power_mw(found, rail) for rail in self._rails]
        return [*powers, found.get("EXT5V", {}).get("V", NAN)]


def discover(sysroot: str = "/") -> Found:
    """The rails of this Raspberry Pi 5."""
    if not _MODEL.match(board_model(sysroot)):
        return Found([])
    command = find(sysroot)
    if command is None:
        text = "A Raspberry Pi 5 measures its power, but vcgencmd is not installed. Install it with: sudo apt install raspi-utils"
        return Found([], [("pi_pmic-command", text)])
    try:
        found = parse(command.ask(_QUESTION))
    except NotAllowed as error:
        return Found([], [("pi_pmic-permission", "The power of this Raspberry Pi cannot be read (%s): %s" % (error.strerror, HELP))])
    except OSError as error:
        return Found([], [("pi_pmic-failed", "The power of this Raspberry Pi cannot be read: %s" % (error.strerror or error))])
    rails = [name for name, values in found.items() if "A" in values and "V" in values][:_MOST_RAILS]
    if not rails:
        text = "vcgencmd %s answered without a rail that has both a current and a voltage; update the firmware" % _QUESTION
        return Found([], [("pi_pmic-failed", text)])
    return Found([PiPmic(command, rails)])


def parse(text: str) -> Dict[str, Dict[str, float]]:
    """Volts (``V``) and amperes (``A``) of each rail; the numbers in brackets say nothing about what belongs together."""
    found: Dict[str, Dict[str, float]] = {}
    for rail, unit, value in _LINE.findall(text):
        found.setdefault(rail, {})[unit] = float(value)
    return found


def _power_mw(found: Dict[str, Dict[str, float]], rail: str) -> float:
    values = found.get(rail, {})
    power = values.get("V", NAN) * values.get("A", NAN) * _MW_PER_W
    return power if power >= 0 else NAN
