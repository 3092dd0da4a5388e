"""Any supply or meter that speaks SCPI, through PyVISA: ``visa:RESOURCE[?OPTIONS]``.

RESOURCE is a VISA resource name, such as ``TCPIP::192.168.1.20::5025::SOCKET``, ``USB::0x2A8D::0x1602::MY123::INSTR`` or
``ASRL/dev/ttyUSB0::INSTR``. Options, joined with ``&``:

- ``power=QUERY``, ``voltage=QUERY``, ``current=QUERY``: what is asked; answers are in W, V and A. Without ``power``, power is voltage times
  current, asked one after the other. Without any of them ``MEAS:POW?`` is tried, then ``MEAS:VOLT?`` and ``MEAS:CURR?``.
- ``init=COMMAND;COMMAND``: sent once at opening, each by itself. ``rate=HZ``, ``timeout=SECONDS``, ``baud=BAUD`` (serial).

Each query is tried at opening. What becomes of bad answers later stands in ``scpi.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from edgeprof.agent.sensors.base import NAN, SAMPLE, Sensor
from edgeprof.boards.meters.base import board_channel, needs, number_between, plain, shown, split_options
from edgeprof.boards.meters.scpi import Link, number_in
from edgeprof.errors import MeterError, UsageError

if TYPE_CHECKING:
    from pyvisa.resources import MessageBasedResource

_EXAMPLE = "visa:TCPIP::192.168.1.20::5025::SOCKET"
_RATE_HZ = 10.0
_TIMEOUT_S = 2.0
_CONNECT_MS = 5000


class Quantity(NamedTuple):
    """Something that is asked: its option, the unit of answers and of the channel (a thousandth of it), and the usual query."""

    what: str
    si_unit: str
    unit: str
    query: str


POWER = Quantity("power", "W", "mW", "MEAS:POW?")
VOLTAGE = Quantity("voltage", "V", "mV", "MEAS:VOLT?")
CURRENT = Quantity("current", "A", "mA", "MEAS:CURR?")
_QUANTITIES = (POWER, VOLTAGE, CURRENT)
_OPTIONS = (*(quantity.what for quantity in _QUANTITIES), "rate", "init", "timeout", "baud")


class Visa(Sensor):
    """An instrument of which ``queries`` are asked in turn; power is added when only voltage and current are asked."""

    name = "visa"

    def __init__(self, link: Link, queries: Mapping[Quantity, str], rate_hz: float) -> None:
        self.rate_hz = rate_hz
        self._link = link
        self._queries = dict(queries)
        self._multiplies = POWER not in queries
        title = link.model
        channels = [board_channel(self.name, q.what, q.unit, SAMPLE, f"{title}: {q.what}") for q in queries]
        if self._multiplies:
            channels.append(board_channel(self.name, "power", "mW", SAMPLE, f"{title}: voltage × current, read one after the other"))
        super().__init__(channels, {"board": [f"{self.name}/power_mw"]})

    def read(self) -> list[float]:
        """See `Sensor.read`."""
        values = [self._value(quantity, query) for quantity, query in self._queries.items()]
        scaled = [value * 1e3 for value in values]
        return [*scaled, values[0] * values[1] * 1e3] if self._multiplies else scaled

    def close(self) -> None:
        """See `Sensor.close`."""
        self._link.close()

    def _value(self, quantity: Quantity, query: str) -> float:
        answer = self._link.ask(query)
        value = number_in(answer or "", quantity.si_unit)
        if answer is not None and value is None:
            self._link.distrust()
        return NAN if value is None else value


def open(address: str) -> Visa:
    """The instrument of an address, ``RESOURCE[?OPTIONS]``; see the head of this file."""
    resource, options = split_options(address, _OPTIONS, "visa")
    if "::" not in resource:
        raise UsageError(f"'{resource}' is no VISA resource. Give one as in {_EXAMPLE}; `pyvisa-shell` lists those that can be found.")
    queries, commands = _queries(options), _commands(options)
    rate_hz = number_between(options.get("rate", str(_RATE_HZ)), 1e-3, 1e3, "rate")
    timeout_s = number_between(options.get("timeout", str(_TIMEOUT_S)), 1e-3, 60.0, "timeout")
    baud = int(number_between(options["baud"], 50, 1e7, "baud")) if "baud" in options else None
    link = Link(_connected(resource, timeout_s, baud))
    try:
        _greet(link, resource, timeout_s)
        _prepare(link, commands)
        return Visa(link, _that_work(link, queries), rate_hz)
    except OSError as error:
        link.close()
        raise MeterError(f"{error} It had answered *IDN? before that, so the address is right.") from error
    except BaseException:
        link.close()
        raise


def _queries(options: Mapping[str, str]) -> dict[Quantity, str]:
    """The queries that are asked for; empty when none is."""
    queries = {quantity: plain(options[quantity.what]) for quantity in _QUANTITIES if quantity.what in options}
    for quantity, query in queries.items():
        if "?" not in query or not _is_command(query):
            raise UsageError(f"The query for {quantity.what} is '{shown(query)}'; a SCPI query ends in '?', such as {quantity.query}.")
    if queries and POWER not in queries and len(queries) < 2:
        raise UsageError("Power cannot be had from one of voltage and current. Give both, as in voltage=MEAS:VOLT?&current=MEAS:CURR?.")
    return queries


def _commands(options: Mapping[str, str]) -> list[str]:
    commands = [plain(part) for part in options.get("init", "").split(";") if part.strip()]
    for command in commands:
        if "?" in command or not _is_command(command):
            raise UsageError(f"'{shown(command)}' cannot stand in init. Give SCPI commands in ASCII that are not queries, split by ';'.")
    return commands


def _is_command(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _connected(resource: str, timeout_s: float, baud: int | None) -> MessageBasedResource:
    with needs("visa"):
        import pyvisa
        from pyvisa.resources import MessageBasedResource
    with ExitStack() as undo:
        try:
            manager = pyvisa.ResourceManager()  # the VISA library of this machine, else pyvisa-py; PYVISA_LIBRARY chooses
            instrument = manager.open_resource(resource, open_timeout=_CONNECT_MS)
            undo.callback(instrument.close)
            if not isinstance(instrument, MessageBasedResource):
                raise UsageError(f"{resource} takes no SCPI commands. Give a resource that ends in INSTR or SOCKET.")
            instrument.timeout = timeout_s * 1e3
            _set_line(instrument, resource, baud)
        except UsageError:
            raise
        except Exception as error:  # pyvisa-py raises bare Exceptions and ValueErrors here
            text = f"The instrument {resource} cannot be opened: {shown(error)}."
            raise MeterError(
                f"{text} Check the resource name, the cable and its permissions; `pyvisa-info` says what works here."
            ) from error
        undo.pop_all()
    return instrument


def _set_line(instrument: MessageBasedResource, resource: str, baud: int | None) -> None:
    from pyvisa.resources import SerialInstrument

    if resource.upper().endswith("SOCKET") or isinstance(instrument, SerialInstrument):
        instrument.read_termination = "\n"  # the others tell the end of an answer by other means
    if baud is not None:
        if not isinstance(instrument, SerialInstrument):
            raise UsageError(f"{resource} is no serial line, so it has no baud. Leave the option out.")
        instrument.baud_rate = baud


def _greet(link: Link, resource: str, timeout_s: float) -> None:
    try:
        if link.identify():
            return
    except OSError as error:
        raise MeterError(f"{error} Check the address, and that the instrument is on and its SCPI server is enabled.") from error
    text = f"{resource} did not answer *IDN? within {timeout_s:g} s. Check that it speaks SCPI there"
    raise MeterError(f"{text}, and for a serial line the option baud, for a slow one timeout.")


def _prepare(link: Link, commands: list[str]) -> None:
    """Clears the error queue, sends the commands, and looks whether they were taken."""
    link.tell("*CLS")
    for command in commands:
        link.tell(command)
        errors = link.errors()
        if errors:
            raise MeterError(f"{link.model} refused the command '{command}' of init: {errors}. See its programming manual.")


def _that_work(link: Link, queries: Mapping[Quantity, str]) -> Mapping[Quantity, str]:
    """Those queries, or the usual ones, after a try of each."""
    choices = [queries] if queries else [{q: q.query for q in choice} for choice in ((POWER,), (VOLTAGE, CURRENT))]
    problems = []
    for choice in choices:
        problem = next((text for text in (_problem(link, q, query) for q, query in choice.items()) if text), "")
        if not problem:
            return choice
        problems.append(problem)
    advice = "Give the queries of its programming manual, as in ?voltage=QUERY&current=QUERY."
    raise MeterError(f"{link.model} does not measure power: {'; '.join(problems)}. {advice}")


def _problem(link: Link, quantity: Quantity, query: str) -> str:
    """Why a query cannot be used; empty when it can."""
    answer = link.ask(query)
    extra = link.settle()
    if answer is None:
        reason = link.errors()
        return f"no answer to {query}" + (f" ({reason})" if reason else "")
    if number_in(answer, quantity.si_unit) is None:
        return f"{query} was answered by '{shown(answer)}', not by a number in {quantity.si_unit}"
    return f"{query} was answered by {extra + 1} lines, not by one" if extra > 0 else ""
