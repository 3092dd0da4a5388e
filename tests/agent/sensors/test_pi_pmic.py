"""The power chip of a Raspberry Pi 5, asked with a command that a recorded board brings along."""

from __future__ import annotations

import errno
import math

import pytest

from edgeprof.agent.sensors import pi_pmic, vcgencmd
from tests.agent.sensors.trees import PI_5, PMIC, command, plant

ANSWER = f"test \"$1\" = pmic_read_adc || exit 9\ncat <<'END'\n{PMIC}END\n"


@pytest.fixture
def root(tmp_path):
    command(tmp_path, ANSWER)
    return plant(tmp_path, PI_5)


def test_rails(root):
    found = pi_pmic.discover(root)
    (sensor,) = found.sensors
    values = dict(zip([channel.name for channel in sensor.channels], sensor.read(), strict=True))
    assert values == {
        "pi_pmic/3V7_WL_SW_mw": 3.70562 * 0.0907608 * 1000,
        "pi_pmic/3V3_SYS_mw": 3.313695 * 0.08880966 * 1000,
        "pi_pmic/1V8_SYS_mw": 1.805126 * 0.1776192 * 1000,
        "pi_pmic/DDR_VDD2_mw": 1.104395 * 0.21765 * 1000,
        "pi_pmic/DDR_VDDQ_mw": 0.6014646 * 0.063726 * 1000,
        "pi_pmic/1V1_SYS_mw": 1.108424 * 0.1824978 * 1000,
        "pi_pmic/0V8_SW_mw": 0.802563 * 0.383541 * 1000,
        "pi_pmic/VDD_CORE_mw": 0.869412 * 5.9811 * 1000,
        "pi_pmic/3V3_DAC_mw": 3.312573 * 0.00006105 * 1000,
        "pi_pmic/3V3_ADC_mw": 3.307383 * 0.00042735 * 1000,
        "pi_pmic/0V8_AON_mw": 0.799194 * 0.00323565 * 1000,
        "pi_pmic/HDMI_mw": 5.1132 * 0.023199 * 1000,
        "pi_pmic/EXT5V_v": 5.11857,
    }
    assert sensor.totals == {"module": [name for name in values if name.endswith("_mw")]}
    assert sum(values[name] for name in sensor.totals["module"]) == pytest.approx(7062.902254681, abs=1e-8)  # summed with awk
    assert sensor.rate_hz == 10
    assert not found.problems


def test_a_rail_that_drops_out(root, tmp_path):
    (sensor,) = pi_pmic.discover(root).sensors
    text = PMIC.replace("VDD_CORE_A current(7)=5.98110000A\n", "").replace("HDMI_A current(22)=0.0", "HDMI_A current(22)=-0.0")
    command(tmp_path, f"cat <<'END'\n{text}END\n")
    values = dict(zip([channel.name for channel in sensor.channels], sensor.read(), strict=True))
    assert math.isnan(values["pi_pmic/VDD_CORE_mw"])
    assert math.isnan(values["pi_pmic/HDMI_mw"])
    assert sum(math.isnan(value) for value in values.values()) == 2


@pytest.mark.parametrize("model", ["Raspberry Pi 500 Rev 1.0", "Raspberry Pi Compute Module 5 Rev 1.0"])
def test_models_that_have_it(model, root, tmp_path):
    (tmp_path / "proc/device-tree/model").write_text(model + "\0")
    assert pi_pmic.discover(root).sensors


@pytest.mark.parametrize("model", ["Raspberry Pi 4 Model B Rev 1.5", "Raspberry Pi Compute Module 4 Rev 1.1", "Radxa ROCK 5B", ""])
def test_the_command_is_not_run_elsewhere(model, root, tmp_path):
    command(tmp_path, f"touch {tmp_path}/was-run\n{ANSWER}")
    (tmp_path / "proc/device-tree/model").write_text(model)
    found = pi_pmic.discover(root)
    assert list(found.sensors) == list(found.problems) == []
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    "script",
    ["echo 'VCHI initialization failed'; exit 255",
     "echo \"Can't open device file: /dev/vcio_gencmd\" >&2; echo 'Try creating a device file with: sudo mknod /dev/vcio_gencmd c 100 0'"],
)  # fmt: skip
def test_permission(script, root, tmp_path):
    command(tmp_path, script)
    found = pi_pmic.discover(root)
    assert list(found.sensors) == []
    ((name, sentence),) = found.problems
    assert name == "pi_pmic-permission"
    assert "sudo usermod -aG video $USER" in sentence


@pytest.mark.parametrize(
    ("script", "words"),
    [("echo 'error=1 error_msg=\"Command not registered\"'", "Command not registered"), ("exit 3", "said nothing"),
     ("echo broken; exit 1", "broken"), ("echo throttled=0x0", "without a rail"), ("head -c 100000 /dev/urandom", "")],
)  # fmt: skip
def test_answers_that_are_none(script, words, root, tmp_path):
    command(tmp_path, script)
    found = pi_pmic.discover(root)
    assert list(found.sensors) == []
    ((name, sentence),) = found.problems
    assert name == "pi_pmic-failed"
    assert words in sentence


def test_a_command_that_hangs(root, tmp_path):
    command(tmp_path, "exec sleep 60")
    with pytest.raises(OSError, match="did not answer within 1 s") as caught:
        vcgencmd.find(root).ask("pmic_read_adc")
    assert caught.value.errno == errno.ETIMEDOUT


def test_a_command_that_fails_later(root, tmp_path):
    (sensor,) = pi_pmic.discover(root).sensors
    (tmp_path / "usr/bin/vcgencmd").unlink()
    with pytest.raises(FileNotFoundError):
        sensor.read()


@pytest.mark.parametrize("spoil", ["absent", "not executable", "no program"])
def test_no_command(spoil, root, tmp_path):
    path = tmp_path / "usr/bin/vcgencmd"
    if spoil == "absent":
        path.unlink()
    elif spoil == "not executable":
        path.chmod(0o644)
    else:
        path.write_bytes(b"\x7fELF nothing")
    found = pi_pmic.discover(root)
    assert list(found.sensors) == []
    ((name, sentence),) = found.problems
    assert name == ("pi_pmic-command" if spoil == "absent" else "pi_pmic-failed")
    assert ("sudo apt install raspi-utils" in sentence) == (spoil == "absent")


def test_a_recorded_board_never_asks_this_one(tmp_path, monkeypatch):
    """On PATH it is looked for only when the root is the real one."""
    command(tmp_path / "here", ANSWER)
    monkeypatch.setenv("PATH", str(tmp_path / "here/usr/bin"), prepend=":")
    assert vcgencmd.find("/").path == str(tmp_path / "here/usr/bin/vcgencmd")
    assert vcgencmd.find(plant(tmp_path / "recorded", PI_5)) is None
