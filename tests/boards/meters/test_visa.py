"""SCPI instruments: simulated by pyvisa-sim, and real servers on loopback and a serial line through pyvisa-py.

A short ``timeout`` stands only where an answer is meant to fail to come; where one is expected, the time to wait for it is ample.
"""

from __future__ import annotations

import itertools
import math
import termios
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.boards.meters import open_meter
from edgeprof.boards.meters.base import plain, split_options
from edgeprof.boards.meters.scpi import number_in
from edgeprof.errors import MeterError, UsageError
from tests.boards.meters.instruments import HANG_UP, IDENTITY, Late, OnSerialLine, OnSocket
from tests.laws import examples

SHORT = "timeout=1"
SIMULATED = ("TCPIP0::192.0.2.1::inst0::INSTR", "USB0::0x1111::0x2222::0x1234::INSTR", "ASRL1::INSTR")


def named(sensor) -> list[str]:
    return [channel.name for channel in sensor.channels]


# Values


def test_power_is_asked_first():
    with OnSocket({"MEAS:POW?": "+2.50000E+00"}) as supply:
        meter = open_meter(f"visa:{supply.resource}")
        assert named(meter) == ["visa/power_mw"]
        assert meter.channels[0].title == "ACME PSU-1: power"
        assert meter.totals == {"board": ["visa/power_mw"]}
        assert meter.rate_hz == 10
        assert meter.read() == [2500.0]
        meter.close()


def test_voltage_times_current_where_there_is_no_power():
    with OnSocket({"MEAS:VOLT?": "5.0", "MEAS:CURR?": "0.4 A"}) as supply:
        meter = open_meter(f"visa:{supply.resource}?{SHORT}")
        assert named(meter) == ["visa/voltage_mv", "visa/current_ma", "visa/power_mw"]
        assert "one after the other" in meter.channels[2].title
        assert meter.totals == {"board": ["visa/power_mw"]}
        assert meter.read() == [5000.0, 400.0, 2000.0]
        meter.close()


def test_given_queries():
    answers = {"FETC:POW? (@1)": "3", "MEAS:VOLT? CH1": "12", "MEAS:CURR? CH1": ".25"}
    with OnSocket(answers) as supply:
        given = "power=FETC:POW? (@1)&voltage=MEAS:VOLT? CH1&current=MEAS:CURR? CH1&rate=50"
        meter = open_meter(f"visa:{supply.resource}?{given}")
        assert named(meter) == ["visa/power_mw", "visa/voltage_mv", "visa/current_ma"]
        assert meter.read() == [3000.0, 12000.0, 250.0]
        assert meter.rate_hz == 50
        meter.close()


def test_init_is_sent_once_each_command_by_itself():
    with OnSocket({"MEAS:POW?": "1", "SENS:CURR:NPLC 0.1": None, 'DISP:TEXT "a;b"': None}) as supply:
        meter = open_meter(f'visa:{supply.resource}?init=SENS:CURR:NPLC 0.1;DISP:TEXT "a%3Bb"')
        meter.read()
        assert [one for one in supply.instrument.heard if one.startswith(("SENS", "DISP"))] == ["SENS:CURR:NPLC 0.1", 'DISP:TEXT "a;b"']
        meter.close()


@pytest.mark.parametrize("resource", SIMULATED)
def test_pyvisa_sim(monkeypatch, resource):
    monkeypatch.setenv("PYVISA_LIBRARY", f"{Path(__file__).parent / 'data' / 'supply.yaml'}@sim")
    meter = open_meter(f"visa:{resource}?init=VOLT 6.000")
    assert named(meter) == ["visa/voltage_mv", "visa/current_ma", "visa/power_mw"]
    assert meter.channels[0].title == "Sim Instruments SI-100: voltage"
    assert meter.read() == pytest.approx([6000.0, 400.0, 2400.0])
    meter.close()


def test_serial_line():
    with OnSerialLine({"MEAS:POW?": "0.125"}) as supply:
        supply.say("left over from another program\n")
        meter = open_meter(f"visa:{supply.resource}?baud=115200")
        assert supply.baud == termios.B115200
        assert meter.read() == [125.0]
        meter.close()


def test_two_instruments_at_once():
    with OnSocket({"MEAS:POW?": "1"}) as one, OnSocket({"MEAS:POW?": "2"}) as two:
        first, second = open_meter(f"visa:{one.resource}"), open_meter(f"visa:{two.resource}")
        first.close()
        assert second.read() == [2000.0]
        second.close()


# Bad answers


@pytest.mark.parametrize("answer", ["9.91E+37", "9.9E37", "-9.90000000E+37"])
def test_scpi_says_that_there_is_no_value(answer):
    with OnSocket({"MEAS:POW?": answer}) as supply:
        meter = open_meter(f"visa:{supply.resource}")
        assert math.isnan(meter.read()[0])
        supply.instrument.answers["MEAS:POW?"] = "1"
        assert meter.read() == [1000.0]
        assert supply.instrument.heard.count("*CLS") == 1, "it was in step, so nothing had to be brought in step"
        meter.close()


@pytest.mark.parametrize(
    "answer", ["ERR", "", "1.0;2.0", "1.0,2.0", "1_000", "nan", "inf", "1.0 V", "1.0 mW", "0x10", "POW 1.0", "1.0 W W"]
)
def test_garbage_is_nan_and_the_next_answer_is_right(answer):
    with OnSocket({"MEAS:POW?": "1"}) as supply:
        meter = open_meter(f"visa:{supply.resource}")
        supply.instrument.answers["MEAS:POW?"] = answer
        assert math.isnan(meter.read()[0])
        supply.instrument.answers["MEAS:POW?"] = "2"
        assert meter.read() == [2000.0]
        assert supply.instrument.heard.count("*CLS") == 2, "its error queue is emptied"
        meter.close()


def test_only_what_failed_is_nan():
    with OnSocket({"MEAS:VOLT?": "5", "MEAS:CURR?": "1"}) as supply:
        meter = open_meter(f"visa:{supply.resource}?voltage=MEAS:VOLT?&current=MEAS:CURR?")
        supply.instrument.answers["MEAS:CURR?"] = "OVLD"
        voltage_mv, current_ma, power_mw = meter.read()
        assert voltage_mv == 5000.0
        assert math.isnan(current_ma)
        assert math.isnan(power_mw)
        meter.close()


def test_a_late_answer_is_not_taken_for_the_next_one():
    with OnSocket({"MEAS:POW?": "1"}) as supply:
        meter = open_meter(f"visa:{supply.resource}?timeout=1")
        supply.instrument.answers["MEAS:POW?"] = Late("7")
        assert math.isnan(meter.read()[0])
        supply.instrument.answers["MEAS:POW?"] = "2"
        assert meter.read() == [2000.0]
        meter.close()


def test_lines_that_nobody_asked_for_do_not_shift_later_answers():
    with OnSocket({"MEAS:POW?": "1"}) as supply:
        meter = open_meter(f"visa:{supply.resource}")
        supply.instrument.answers["MEAS:POW?"] = "3\nOK\nREADY"
        assert meter.read() == [3000.0]
        supply.instrument.answers["MEAS:POW?"] = "4"
        assert math.isnan(meter.read()[0])
        assert meter.read() == [4000.0]
        meter.close()


FAULTS = {
    "answer": str,
    "late": lambda n: Late(str(n)),
    "garbage": lambda n: f"?{n}?",
    "silence": lambda n: None,
    "more": lambda n: f"{n}\nOK",
}


@examples(1 / 5)
@given(st.lists(st.sampled_from(sorted(FAULTS)), min_size=1, max_size=6))
def test_a_value_is_always_that_of_its_own_question(faults):
    """The nth question is answered by n, in time or not, alone or not: a reading is n or NaN."""
    asked = itertools.count(1)
    with OnSocket({"MEAS:POW?": lambda: str(next(asked))}) as supply:
        meter = open_meter(f"visa:{supply.resource}?power=MEAS:POW?&timeout=2")
        meter._link._instrument.timeout = 60  # ms, now that it is open
        for fault in faults:
            supply.instrument.answers["MEAS:POW?"] = lambda fault=fault: FAULTS[fault](next(asked))
            try:
                (value,) = meter.read()
            except OSError:
                break
            assert math.isnan(value) or value == 1e3 * supply.instrument.heard.count("MEAS:POW?")
        meter.close()


# Lost instruments


def test_a_connection_that_ends_is_an_oserror():
    with OnSocket({"MEAS:POW?": "1"}) as supply:
        meter = open_meter(f"visa:{supply.resource}?{SHORT}")
        supply.switch_off()
        with pytest.raises(OSError, match=r"TCPIP.*was lost: .*(reset|pipe)"):
            for _ in range(3):
                assert math.isnan(meter.read()[0])
        meter.close()


def test_hanging_up_in_the_middle_of_a_reading():
    with OnSocket({"MEAS:VOLT?": "5", "MEAS:CURR?": "1"}) as supply:
        meter = open_meter(f"visa:{supply.resource}?voltage=MEAS:VOLT?&current=MEAS:CURR?&{SHORT}")
        supply.instrument.answers["MEAS:CURR?"] = HANG_UP
        with pytest.raises(OSError, match="was lost"):
            for _ in range(3):
                meter.read()
        meter.close()


def test_silence_is_nan_and_then_an_oserror_and_ends():
    with OnSocket({"MEAS:POW?": "1"}) as supply:
        meter = open_meter(f"visa:{supply.resource}?timeout=0.5")
        supply.instrument.answers.update({"MEAS:POW?": None, "*IDN?": None})
        assert [math.isnan(meter.read()[0]) for _ in range(3)] == [True, True, True]
        with pytest.raises(OSError, match="does not answer any more"):
            meter.read()
        supply.instrument.answers.update({"MEAS:POW?": "2", "*IDN?": IDENTITY})
        assert meter.read() == [2000.0]
        supply.instrument.answers.update({"MEAS:POW?": None, "*IDN?": None})
        assert [math.isnan(meter.read()[0]) for _ in range(3)] == [True, True, True], "it counts from the start again"
        meter.close()


# Opening


def test_nobody_listens_there():
    with OnSocket({}) as supply:
        resource = supply.resource
    with pytest.raises(MeterError, match=r"refused.*Check the address"):
        open_meter(f"visa:{resource}")


def test_no_answer_to_idn():
    with OnSocket({"*IDN?": None}) as supply, pytest.raises(MeterError, match=r"did not answer \*IDN\? within 0\.3 s"):
        open_meter(f"visa:{supply.resource}?timeout=0.3")


def test_the_error_queue_says_why_there_is_no_answer():
    with OnSocket({}) as supply, pytest.raises(MeterError) as raised:
        open_meter(f"visa:{supply.resource}?{SHORT}")
    text = str(raised.value)
    assert text.startswith("ACME PSU-1 does not measure power: no answer to MEAS:POW? (-113")
    assert "no answer to MEAS:VOLT?" in text
    assert "voltage=QUERY" in text


def test_a_query_that_gives_no_number_is_refused():
    with (
        OnSocket({"MEAS:TEMP?": "warm"}) as supply,
        pytest.raises(MeterError, match=r"MEAS:TEMP\? was answered by 'warm', not by a number in W"),
    ):
        open_meter(f"visa:{supply.resource}?power=MEAS:TEMP?")


def test_a_query_with_several_lines_is_refused():
    with OnSocket({"MEAS:ALL?": "5.0\n0.4\n2.0"}) as supply:
        with pytest.raises(MeterError, match=r"MEAS:ALL\? was answered by 3 lines") as raised:
            open_meter(f"visa:{supply.resource}?power=MEAS:ALL?")
        assert supply.was_left.wait(30), "what was opened is closed"
        assert raised.tb is not None, "and not only because nobody refers to it any more"


def test_a_command_of_init_that_is_refused():
    with OnSocket({"MEAS:POW?": "1"}) as supply, pytest.raises(MeterError, match=r"refused the command 'NPLC 9'.*Undefined header"):
        open_meter(f"visa:{supply.resource}?init=NPLC 9")


def test_an_instrument_without_an_error_queue_can_be_used():
    with OnSocket({"MEAS:POW?": "1", "SYST:ERR?": None, "NPLC 1": None}) as supply:
        meter = open_meter(f"visa:{supply.resource}?init=NPLC 1&timeout=0.5")
        assert meter.read() == [1000.0]
        meter.close()


def test_an_instrument_that_floods_its_error_queue_is_not_read_for_ever():
    with OnSocket({"MEAS:POW?": "1", "SYST:ERR?": '-350,"Queue overflow"', "NPLC 1": None}) as supply:
        with pytest.raises(MeterError, match="Queue overflow"):
            open_meter(f"visa:{supply.resource}?init=NPLC 1")
        assert supply.instrument.heard.count("SYST:ERR?") == 10


def test_what_an_instrument_says_is_shown_safely():
    with OnSocket({"*IDN?": "EVIL\x1b[31m,\x07" + "x" * 200 + ",0,0", "MEAS:POW?": "1"}) as supply:
        meter = open_meter(f"visa:{supply.resource}")
        assert meter.channels[0].title.isprintable()
        assert len(meter.channels[0].title) < 100
        meter.close()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("", "no VISA resource"),
        ("192.168.1.20", "no VISA resource"),
        ("TCPIP::1.2.3.4::INSTR?volts=V?", "no option 'volts'"),
        ("TCPIP::1.2.3.4::INSTR?voltage=V?", "one of voltage and current"),
        ("TCPIP::1.2.3.4::INSTR?power=", "is empty"),
        ("TCPIP::1.2.3.4::INSTR?power", "is empty"),
        ("TCPIP::1.2.3.4::INSTR?power=MEAS:POW", "ends in '?'"),
        ("TCPIP::1.2.3.4::INSTR?power=MEAS:POW?%0A*RST", "ends in '?'"),
        ("TCPIP::1.2.3.4::INSTR?power=A?&power=B?", "given twice"),
        ("TCPIP::1.2.3.4::INSTR?rate=0", "from 0.001 to 1000"),
        ("TCPIP::1.2.3.4::INSTR?rate=nan", "from 0.001 to 1000"),
        ("TCPIP::1.2.3.4::INSTR?rate=fast", "from 0.001 to 1000"),
        ("TCPIP::1.2.3.4::INSTR?timeout=inf", "from 0.001 to 60"),
        ("TCPIP::1.2.3.4::INSTR?init=MEAS:POW?", "not queries"),
        ("TCPIP::1.2.3.4::INSTR?init=ÄN", "in ASCII"),
    ],
)
def test_specs_that_make_no_sense(address, words):
    with pytest.raises(UsageError) as raised:
        open_meter(f"visa:{address}")
    assert words in str(raised.value)


def test_baud_is_for_serial_lines():
    with OnSocket({}) as supply:
        with pytest.raises(UsageError, match="no serial line") as raised:
            open_meter(f"visa:{supply.resource}?baud=9600")
        assert supply.was_left.wait(30), "what was opened is closed"
        assert raised.tb is not None, "and not only because nobody refers to it any more"


@pytest.mark.parametrize("resource", ["NO::SUCH::THING", "GPIB0::5::INSTR"])
def test_resources_that_cannot_be_opened(resource):
    with pytest.raises(MeterError, match=r"cannot be opened.*pyvisa-info"):
        open_meter(f"visa:{resource}")


# Laws


@given(
    st.floats(allow_nan=False, allow_infinity=False, min_value=-1e30, max_value=1e30),
    st.sampled_from(["{!r}", "{:+.16E}"]),
    st.sampled_from(["", "W", " w"]),
)
def test_numbers_are_read_as_they_were_written(number, form, unit):
    assert number_in(form.format(number) + unit, "W") == number


@given(st.text(max_size=12) | st.from_regex(r"[-+.eE0-9 WVA]{0,12}", fullmatch=True))
def test_any_answer_is_a_number_or_none_or_nothing(text):
    value = number_in(text, "W")
    assert value is None or math.isnan(value) or abs(value) < 9.9e37


@given(st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip))
def test_options_carry_any_value(value):
    place, options = split_options(f"A::B?power={quote(value)}&rate=1", ("power", "rate"), "visa")
    assert (place, plain(options["power"]), options["rate"]) == ("A::B", value.strip(), "1")


@given(st.text(st.characters(codec="ascii", exclude_characters="&%"), min_size=1).filter(str.strip))
def test_scpi_needs_no_quoting(query):
    assert plain(split_options(f"A::B?power={query}", ("power",), "visa")[1]["power"]) == query.strip()
