"""What a board draws, from trees as Jetsons of two generations, laptops and x86 servers show them."""

from __future__ import annotations

import pytest
from edgenas_agent.power import Meter
from edgenas_agent.system import System

HWMON = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
SECOND = "sys/bus/i2c/drivers/ina3221/1-0041/hwmon/hwmon4"
IIO = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"


@pytest.fixture
def board(tmp_path):
    def board(**folders: dict[str, object]) -> Meter:
        for folder, files in folders.items():
            for name, value in files.items():
                path = tmp_path / folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"{value}\n")
        return Meter(System(str(tmp_path)))

    return board


def hwmon(*rails: tuple[str, int, int]) -> dict[str, object]:
    """Label, millivolt and milliampere of each channel."""
    files: dict[str, object] = {}
    for number, (label, millivolt, milliampere) in enumerate(rails, 1):
        files |= {f"in{number}_label": label, f"in{number}_input": millivolt, f"curr{number}_input": milliampere}
    return files


def test_an_orin_nano_is_its_input_rail_and_not_the_sum_with_what_that_feeds(board):
    rails = (("VDD_IN", 5024, 1319), ("VDD_CPU_GPU_CV", 5008, 245), ("VDD_SOC", 5008, 475), ("NC", 9, 9))
    meter = board(**{HWMON: hwmon(*rails) | {"in7_label": "sum of shunt voltages", "in7_input": 999}})
    assert meter.rail == "VDD_IN"
    assert meter.unread == ""
    assert meter.read_mw() == pytest.approx(5.024 * 1.319 * 1000)


def test_an_agx_orin_is_the_sum_of_its_three_inputs(board):
    meter = board(**{
        HWMON: hwmon(("VDD_GPU_SOC", 20000, 300), ("VDD_CPU_CV", 20000, 100), ("VIN_SYS_5V0", 5000, 900)),
        SECOND: hwmon(("NC", 1, 1), ("VDDQ_VDD2_1V8AO", 5000, 200)),
    })  # fmt: skip
    assert meter.rail == "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0"
    assert meter.read_mw() == pytest.approx(6000 + 2000 + 4500)


def test_a_nano_under_jetpack_4_tells_milliwatt_of_the_rail_of_that_name_wherever_it_stands(board):
    meter = board(**{IIO: {"rail_name_0": "POM_5V_GPU", "in_power0_input": 41, "rail_name_1": "POM_5V_IN",
                           "in_power1_input": 2003, "rail_name_2": "POM_5V_CPU", "in_power2_input": 320}})  # fmt: skip
    assert (meter.rail, meter.read_mw()) == ("POM_5V_IN", 2003)


def test_a_carrier_whose_rails_are_not_known_gives_no_number_that_would_be_wrong(board):
    meter = board(**{HWMON: hwmon(("VDD_SOMETHING", 5000, 100), ("NC", 1, 1))})
    assert (meter.rail, meter.read_mw()) == ("", None)
    assert "VDD_SOMETHING" in meter.unread
    assert "NC" not in meter.unread


def test_a_rail_that_stops_answering_is_unknown_and_not_zero(board, tmp_path):
    meter = board(**{HWMON: hwmon(("VDD_IN", 5000, 1000))})
    assert meter.read_mw() == 5000
    (tmp_path / HWMON / "curr1_input").unlink()
    assert meter.read_mw() is None
    assert board().rail == ""


def battery(status: str, current: int, **more: object) -> dict[str, object]:
    return {"type": "Battery", "status": status, "voltage_now": 11_400_000, "current_now": current, **more}


@pytest.mark.parametrize("current", [1_500_000, -1_500_000])
def test_a_battery_that_is_emptied_gives_the_power_of_the_board(board, current):
    meter = board(**{"sys/class/power_supply/BAT0": battery("Discharging", current),
                     "sys/class/power_supply/mouse": battery("Discharging", 100_000, scope="Device"),
                     "sys/class/power_supply/AC": {"type": "Mains", "online": 0}})  # fmt: skip
    assert meter.rail == "battery"
    assert meter.read_mw() == pytest.approx(11.4 * 1.5 * 1000)


def test_a_battery_that_is_charged_meanwhile_tells_nothing_from_then_on(board):
    meter = board(**{"sys/class/power_supply/BAT0": battery("Discharging", 0, power_now=9_000_000)})
    assert meter.read_mw() == 9000
    board(**{"sys/class/power_supply/BAT0": {"status": "Charging"}})
    assert meter.read_mw() is None


def test_two_batteries_are_added_while_none_is_charged(board):
    meter = board(**{"sys/class/power_supply/BAT0": battery("Discharging", 0, power_now=9_000_000),
                     "sys/class/power_supply/BAT1": battery("Discharging", 0, power_now=2_000_000)})  # fmt: skip
    assert meter.read_mw() == 11_000
    board(**{"sys/class/power_supply/BAT1": {"status": "Full"}})
    assert meter.read_mw() == 9000
    board(**{"sys/class/power_supply/BAT1": {"status": "Charging"}})
    assert meter.read_mw() is None


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (battery("Full", 0), "emptied"),
        (battery("Charging", 1_500_000), "emptied"),
        (battery("Discharging", 350), "impossible"),  # some phones count in milliampere: never a guess
        ({"type": "Battery", "status": "Discharging"}, "tells no current"),
    ],
)
def test_a_battery_that_says_nothing_of_the_board_is_not_used(board, files, why):
    meter = board(**{"sys/class/power_supply/BAT0": files})
    assert (meter.rail, meter.read_mw()) == ("", None)
    assert why in meter.unread


def test_rapl_counts_the_packages_once_and_its_counter_starts_again(tmp_path, board):
    zones = {"intel-rapl:0": "package-0", "intel-rapl:0:0": "core", "intel-rapl:1": "package-1", "intel-rapl:2": "psys",
             "intel-rapl-mmio:0": "package-0"}  # fmt: skip

    def count(package_0: int, package_1: int) -> None:
        for zone, name in zones.items():
            energy = {"package-0": package_0, "package-1": package_1}.get(name, package_0)
            files = {"name": name, "energy_uj": energy, "max_energy_range_uj": 99_999_999}
            board(**{f"sys/class/powercap/{zone}": files})

    count(90_000_000, 1_000_000)
    times = iter([0, 2_000_000_000, 4_000_000_000])
    meter = Meter(System(str(tmp_path)), lambda: next(times))
    count(4_000_000, 3_000_000)  # the first came round: 14 J, the second 2 J, in 2 s
    assert meter.rail == "processor (RAPL)"
    assert meter.read_mw() == pytest.approx(8000)
    count(5_000_000, 4_000_000)
    assert meter.read_mw() == pytest.approx(1000)


def test_rapl_that_only_root_may_read_says_so(board):
    assert "root" in board(**{"sys/class/powercap/intel-rapl:0": {"name": "package-0"}}).unread


def test_a_board_without_any_meter_says_so_and_the_real_machine_does_not_break(board):
    assert "INA3221" in board().unread
    meter = Meter()
    power_mw = meter.read_mw()
    assert bool(meter.rail) != bool(meter.unread)
    assert power_mw is None or power_mw >= 0
