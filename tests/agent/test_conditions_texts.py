"""What boards print, as it was recorded and in the forms that differ from version to version."""

from __future__ import annotations

import pytest
from edgenas_agent.conditions import android, frequency, jetson, jetson_clocks, raspberry_pi

from tests.shared import shared


def sample(name: str) -> str:
    return shared("lab", "samples", f"{name}.txt").read_text()


@pytest.mark.parametrize("bit", range(4))
def test_each_bit_of_a_throttled_word_has_its_meaning_now_and_since_the_start(bit):
    name = ("undervoltage", "frequency capped", "throttled", "soft temperature limit")[bit]
    assert raspberry_pi.flags(1 << bit) == {"active": [name], "occurred": []}
    assert raspberry_pi.flags(1 << bit + 16) == {"active": [], "occurred": [name]}


@pytest.mark.parametrize(
    ("said", "word"),
    [("throttled=0x50005\n", 0x50005), ("throttled=0x0", 0), ("0x50005", 0x50005), ("50005\n", 0x50005), ("0", 0),
     ("throttled=", None), ("VCHI initialization failed", None), ("throttled=0x5 0x5", None), ("", None), (None, None)],
)  # fmt: skip
def test_a_throttled_word_is_read_whole_or_not_at_all(said, word):
    assert raspberry_pi.throttled_word(said) == word


def test_the_firmwares_numbers():
    assert raspberry_pi.value(sample("pi_vcgencmd_measure_temp"), "temp", "'C") == 39.7
    assert raspberry_pi.value(sample("pi_vcgencmd_measure_volts"), "volt", "V") == 1.2
    assert raspberry_pi.value("frequency(48)=1800457088", "frequency", "") == 1_800_457_088
    for said in (None, "", "temp=N/A", "volt=1.2.3V", 'error=2 error_msg="Invalid arguments"'):
        assert raspberry_pi.value(said, "temp", "'C") is None
        assert raspberry_pi.value(said, "volt", "V") is None


@pytest.mark.parametrize(
    ("text", "numbers"), [("0-3", [0, 1, 2, 3]), ("2", [2]), ("0,2-3", [0, 2, 3]), ("", []), ("1-2, 5", [1, 2, 5])]
)
def test_lists_of_cores(text, numbers):
    assert frequency.cores(text) == numbers


@pytest.mark.parametrize(
    ("said", "mode"),
    [
        ("NVPM WARN: fan mode is not set!\nNV Power Mode: MAXN\n0\n", {"mode": "MAXN", "mode_id": 0}),
        ("NV Power Mode: MAXN_SUPER\n2", {"mode": "MAXN_SUPER", "mode_id": 2}),
        ("NV Fan Mode:quiet\nNV Power Mode: MODE_15W_6CORE\n2\n", {"mode": "MODE_15W_6CORE", "mode_id": 2}),
        ("NV Power Mode: 15W\n", {"mode": "15W"}),
        ("NVPM ERROR: Error opening /sys\n0\n", {}),
        (None, {}),
    ],
)
def test_the_power_mode_and_its_number_which_differs_from_board_to_board(said, mode):
    assert jetson.power_mode(said) == mode


def test_the_recorded_power_modes():
    assert jetson.power_mode(sample("jetson_nano_nvpmodel_q")) == {"mode": "MAXN", "mode_id": 0}
    assert jetson.power_mode(sample("jetson_orin_nano_nvpmodel_q")) == {"mode": "25W", "mode_id": 1}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64, DATE: Tue Aug  1 2023",
         {"release": "R35.4.1", "board": "t186ref"}),
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n# KERNEL_VARIANT: oot\n",
         {"release": "R36.4.3", "board": "generic"}),
        ("# R32 (release), REVISION: 7.1", {"release": "R32.7.1"}),
        ("", {}), (None, {}),
    ],
)  # fmt: skip
def test_releases_of_three_jetpacks(text, found):
    assert jetson.release(text) == found


def test_jetson_clocks_of_an_old_and_a_new_release():
    nano = jetson_clocks.parse(sample("jetson_nano_jetson_clocks_show"))
    assert list(nano) == ["cpu0", "cpu1", "cpu2", "cpu3", "gpu", "emc"]
    assert nano["cpu2"] == jetson_clocks.Clock(1_036_800, 102_000, 1_479_000)
    assert nano["gpu"] == jetson_clocks.Clock(76_800, 76_800, 921_600)
    orin = jetson_clocks.parse(sample("jetson_orin_nano_jetson_clocks_show"))
    assert len(orin) == 8
    assert orin["cpu5"] == jetson_clocks.Clock(1_267_200, 729_600, 1_344_000)
    assert orin["emc"].limit_khz == 3_199_000
    assert not jetson_clocks.locked(nano)
    assert not jetson_clocks.locked(orin)


LOCKED = """SOC family:tegra234  Machine:Orin
Online CPUs: 0-1, Offline CPUs: 3
cpu0:  Online=1 Governor=schedutil MinFreq=1344000 MaxFreq=1344000 CurrentFreq=1344000 IdleStates: WFI=0 c7=0
cpu1: Governor=schedutil MinFreq=1344000 MaxFreq=1344000 CurrentFreq=1344000 IdleStates: WFI=0 c7=0
cpu2: Online=0 Governor=schedutil MinFreq=729600 MaxFreq=1344000 CurrentFreq=729600 IdleStates: WFI=0 c7=0
cpu3: Governor=schedutil MinFreq=729600 MaxFreq=1344000 CurrentFreq=729600 IdleStates: WFI=0 c7=0
GPU MinFreq=918000000 MaxFreq=918000000 CurrentFreq=918000000
EMC MinFreq=204000000 MaxFreq=3199000000 CurrentFreq=665600000 FreqOverride=0
"""


def test_clocks_are_held_where_all_that_runs_stands_at_one_step():
    assert jetson_clocks.locked(jetson_clocks.parse(LOCKED))
    slow = LOCKED.replace("CurrentFreq=918000000", "CurrentFreq=306000000")
    assert not jetson_clocks.locked(jetson_clocks.parse(slow))
    assert not jetson_clocks.locked(jetson_clocks.parse(LOCKED.replace("Online=0", "Online=1")))
    assert not jetson_clocks.locked(jetson_clocks.parse(LOCKED.replace("Offline CPUs: 3", "Offline CPUs: ")))
    assert not jetson_clocks.locked(jetson_clocks.parse(sample("jetson_clocks_not_root_stderr")))


MIUI = """Current Battery Service state:
  AC powered: false
  USB powered: false
  Wireless powered: true
  Max charging current: 0
  status: 3
  health: 2
  present: true
  level: 57
  scale: 100
  voltage: 3911
  temperature: 318
  technology: Li-poly
  batteryMiscEvent: 0
  mSavedBatteryAsoc: -1
  LED Charging: true
  current now: -412
  level: 99
BatteryInfoBackUp
  status: 5
EventLog Battery:
06-21 10:00:00.000  level: 3 temperature: 999
  level: 4
"""


def test_the_batteries_of_phones_whatever_their_makers_add():
    assert android.battery(sample("android_dumpsys_battery")) == {
        "battery_percent": 100, "status": "full", "on_mains": True, "temperature_c": 27.4,
    }  # fmt: skip
    assert android.battery(MIUI) == {
        "battery_percent": 57, "status": "discharging", "on_mains": True, "temperature_c": 31.8,
    }  # fmt: skip
    assert android.battery(MIUI.replace("  temperature: 318\n", "").replace("Wireless powered: true", "x"))[
        "on_mains"
    ] is False  # fmt: skip
    assert android.battery("  level: 40\n  scale: 80\n") == {"battery_percent": 50, "status": "unknown"}
    for text in (None, "", "Can't find service: battery", "  level: many\n  temperature: hot"):
        assert android.battery(text) == {}


def test_the_batteries_of_phones_by_termux():
    text = '{"health": "GOOD", "percentage": 71, "plugged": "UNPLUGGED", "status": "NOT_CHARGING", "temperature": 31.2}'
    assert android.termux_battery(text) == {
        "battery_percent": 71, "status": "not charging", "on_mains": False, "temperature_c": 31.2,
    }  # fmt: skip
    assert android.termux_battery(text.replace("UNPLUGGED", "PLUGGED_AC"))["on_mains"] is True
    for text in (None, "", "[]", "{", "Termux:API is not yet available on Google Play"):
        assert android.termux_battery(text) == {}


def test_the_thermal_service_of_a_phone():
    found = android.thermal(sample("android_dumpsys_thermalservice"))
    assert found == android.Thermal(1, {"soc0": 42.5, "skin": 41.0}, ["soc0 at light"])


SILENT_HAL = """IsStatusOverride: false
Thermal Status: 0
Cached temperatures:
	Temperature{mValue=30.8, mType=3, mName=skin, mStatus=0}
	Temperature{mValue=-1.0E-1, mType=-1, mName=odd, mStatus=3}
HAL Ready: false
"""


def test_what_was_last_heard_stands_in_where_the_hardware_does_not_answer():
    assert android.thermal(SILENT_HAL) == android.Thermal(0, {"skin": 30.8, "odd": -0.1}, ["odd at severe"])
    denied = "Permission Denial: can't dump ThermalManagerService from pid: 1, uid: 10123"
    assert android.thermal(denied) == android.Thermal(None, {}, [])


def test_a_phone_that_never_leaves_status_0_is_seen_to_slow_down_by_its_cooling_devices():
    text = """Thermal Status: 0
Current temperatures from HAL:
	Temperature{mValue=61.0, mType=0, mName=AP, mStatus=0}
Current cooling devices from HAL:
	CoolingDevice{mValue=3, mType=2, mName=thermal-cpufreq-0}
	CoolingDevice{mValue=0, mType=3, mName=thermal-devfreq-0}
	CoolingDevice{mValue=7, mType=1, mName=battery}
Temperature static thresholds from HAL:
	TemperatureThreshold{mType=0, mName=AP, mHotThrottlingThresholds=[NaN], mVrThrottlingThreshold=NaN}
"""
    assert android.thermal(text) == android.Thermal(0, {"AP": 61.0}, ["thermal-cpufreq-0 at step 3"])
