from __future__ import annotations

from pathlib import Path

import pytest

from edge.contract.messages import Health
from edge.device.health import HealthReader


def board(root: Path, files: dict[str, str], firmware: str = "") -> HealthReader:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return HealthReader(root, root=root, ask_firmware=lambda: firmware)


def test_a_board_that_tells_nothing_leaves_every_field_absent(tmp_path: Path) -> None:
    reader = HealthReader(tmp_path / "gone", root=tmp_path, ask_firmware=lambda: "")
    assert reader.read() == Health()


def test_the_hottest_believable_zone_is_the_temperature(tmp_path: Path) -> None:
    zones = {
        "sys/class/thermal/thermal_zone0/temp": "48312\n",
        "sys/class/thermal/thermal_zone1/temp": "61000\n",
        "sys/class/thermal/thermal_zone2/temp": "-256000\n",  # a zone that is powered down, as on Jetsons
        "sys/class/thermal/thermal_zone3/temp": "",
    }
    assert board(tmp_path, zones).read().temp_c == 61.0


@pytest.mark.parametrize(
    ("bits", "undervoltage", "throttled"),
    [
        ("0\n", False, False),
        ("1", True, False),
        ("4", False, True),
        ("8", False, True),
        ("50005", True, True),
        ("50000", False, False),  # only since boot, not now
    ],
)
@pytest.mark.parametrize("folder", ["soc/soc:firmware", "soc@107c000000/soc@107c000000:firmware", "axi/soc/x:firmware"])
def test_the_firmwares_bits_are_read_wherever_the_kernel_shows_them(
    tmp_path: Path, folder: str, bits: str, undervoltage: bool, throttled: bool
) -> None:
    found = board(tmp_path, {f"sys/devices/platform/{folder}/get_throttled": bits}).read()
    assert (found.undervoltage, found.throttled) == (undervoltage, throttled)


@pytest.mark.parametrize(("alarm", "undervoltage"), [("0\n", False), ("1\n", True), ("", None)])
def test_the_voltage_driver_is_asked_where_the_firmware_file_is_absent(
    tmp_path: Path, alarm: str, undervoltage: bool | None
) -> None:
    files = {
        "sys/class/hwmon/hwmon0/name": "cpu_thermal\n",
        "sys/class/hwmon/hwmon1/name": "rpi_volt\n",
        "sys/class/hwmon/hwmon1/in0_lcrit_alarm": alarm,
    }
    found = board(tmp_path, files).read()
    assert (found.undervoltage, found.throttled) == (undervoltage, None)


def test_the_firmwares_program_is_asked_last(tmp_path: Path) -> None:
    found = board(tmp_path, {}, firmware="throttled=0x5\n").read()
    assert (found.undervoltage, found.throttled) == (True, True)


def test_a_program_that_is_absent_is_asked_once(tmp_path: Path) -> None:
    asked = []

    def ask() -> str:
        asked.append(1)
        return ""

    reader = HealthReader(tmp_path, root=tmp_path, ask_firmware=ask)
    reader.read()
    reader.read()
    assert len(asked) == 1


def test_load_memory_uptime_and_disk_come_from_proc_and_the_data_folder(tmp_path: Path) -> None:
    files = {
        "proc/loadavg": "0.52 0.58 0.59 1/467 12345\n",
        "proc/uptime": "1234.56 4000.00\n",
        "proc/self/statm": "100000 25000 5000 1 0 20000 0\n",
    }
    found = board(tmp_path, files).read()
    assert (found.load_1m, found.uptime_s) == (0.52, 1234.56)
    assert found.rss_mb is not None
    assert found.rss_mb >= 102.4
    assert found.disk_free_mb is not None
    assert found.disk_free_mb > 0


def test_nonsense_in_a_file_is_an_absent_field(tmp_path: Path) -> None:
    files = {
        "proc/loadavg": "\x00\xff",
        "proc/self/statm": "1",
        "sys/class/thermal/thermal_zone0/temp": "warm",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "maybe",
    }
    found = board(tmp_path, files).read()
    assert (found.load_1m, found.rss_mb, found.temp_c, found.throttled) == (None, None, None, None)


def test_this_machine_tells_its_memory(tmp_path: Path) -> None:
    found = HealthReader(tmp_path).read()
    assert found.rss_mb is not None
    assert found.rss_mb > 1
