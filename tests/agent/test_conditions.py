"""What boards show of themselves, from trees of files and commands as the real ones have them."""

from __future__ import annotations

import shutil

import pytest
from edgenas_agent import board, conditions
from edgenas_agent.system import System

from tests.shared import shared


class Tree:
    """A board's file system, as far as the agent looks at it."""

    def __init__(self, folder):
        self.folder = folder
        self.system = System(str(folder))

    def file(self, name: str, text: str) -> None:
        path = self.folder / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def command(self, name: str, prints: str, code: int = 0) -> None:
        self.file(f"/usr/bin/{name}", f"#!/bin/sh\ncat <<'END'\n{prints}\nEND\nexit {code}\n")
        (self.folder / "usr/bin" / name).chmod(0o755)

    def linux(self, governor: str = "ondemand", cores: int = 2) -> None:
        for core in range(cores):
            folder = f"/sys/devices/system/cpu/cpu{core}/cpufreq"
            self.file(f"{folder}/scaling_cur_freq", f"{1_500_000 + core}\n")
            self.file(f"{folder}/cpuinfo_max_freq", "1800000\n")
            self.file(f"{folder}/scaling_max_freq", "1600000\n")
            self.file(f"{folder}/scaling_governor", f"{governor}\n")
        self.file("/sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
        self.file("/sys/class/thermal/thermal_zone0/temp", "39700\n")
        self.file("/proc/loadavg", "0.52 0.40 0.30 1/200 1234\n")
        self.file("/proc/meminfo", "MemTotal:        3884092 kB\nMemAvailable:    3000000 kB\n")
        self.file("/proc/pressure/cpu", "some avg10=14.59 avg60=3.00 avg300=1.00 total=1\n")

    def read(self, *wanted: str):
        return conditions.read({"conditions": list(wanted)}, self.system)


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.delenv("ANDROID_ROOT", raising=False)
    return Tree(tmp_path)


def test_a_plain_linux_board_says_what_linux_knows(tree):
    tree.linux("performance", cores=12)
    tree.file("/sys/class/thermal/thermal_zone1/type", "cpu-thermal\n")
    tree.file("/sys/class/thermal/thermal_zone1/temp", "-256000\n")
    found = tree.read()
    assert found["temperature_c"] == {"cpu-thermal": 39.7}
    assert list(found["frequency_khz"])[-1] == "cpu11"
    assert found["frequency_limit_khz"]["cpu0"] < found["frequency_max_khz"]["cpu0"]
    assert set(found["governor"].values()) == {"performance"}
    assert found["load"] == [0.52, 0.40, 0.30]
    assert found["memory_available_bytes"] == 3_000_000 * 1024
    assert found["pressure"] == {"cpu": 14.59}
    assert "throttle" not in found
    assert list(found["unread"]) == ["temperature of cpu-thermal"]


def test_throttling_shows_in_cooling_devices_and_x86_counters(tree):
    tree.linux()
    for number, (kind, state) in enumerate([("cpufreq-cpu0", 2), ("pwm-fan", 3), ("Processor", 0)]):
        tree.file(f"/sys/class/thermal/cooling_device{number}/type", kind)
        tree.file(f"/sys/class/thermal/cooling_device{number}/cur_state", str(state))
    for cpu, count in ((0, 3), (1, 4)):
        tree.file(f"/sys/devices/system/cpu/cpu{cpu}/thermal_throttle/core_throttle_count", str(count))
    assert tree.read()["throttle"] == {"active": ["cpufreq-cpu0 at step 2"], "count": 7}


@pytest.mark.parametrize(
    ("sample", "throttle"),
    [
        ("ok", {"active": [], "occurred": [], "flags": "0x0"}),
        (
            "undervolt",
            {"active": ["undervoltage", "throttled"], "occurred": ["undervoltage", "throttled"], "flags": "0x50005"},
        ),
    ],
)
def test_a_raspberry_pi_tells_its_throttle_flags(tree, sample, throttle):
    tree.linux()
    tree.file("/proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0")
    tree.command("vcgencmd", shared("lab", "samples", f"pi_vcgencmd_get_throttled_{sample}.txt").read_text().strip())
    found = tree.read()
    assert found["throttle"] == throttle
    assert "unread" not in found


def test_a_raspberry_pi_tells_its_firmwares_own_clock_temperature_and_voltage(tree):
    tree.linux()
    tree.file("/proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0")
    tree.file("/usr/bin/vcgencmd", '#!/bin/sh\ncat "$(dirname "$0")/$1.txt"\n')
    (tree.folder / "usr/bin/vcgencmd").chmod(0o755)
    for name, sample in {"get_throttled": "get_throttled_ok", "measure_temp": "measure_temp",
                         "measure_volts": "measure_volts"}.items():  # fmt: skip
        tree.file(f"/usr/bin/{name}.txt", shared("lab", "samples", f"pi_vcgencmd_{sample}.txt").read_text())
    tree.file("/usr/bin/measure_clock.txt", "frequency(48)=1500398464\n")
    found = tree.read()
    assert found["temperature_c"] == {"cpu-thermal": 39.7, "firmware": 39.7}
    assert found["voltage_v"] == {"core": 1.2}
    assert found["frequency_khz"]["firmware"] == 1_500_398


def test_a_raspberry_pi_that_throttled_before_says_so_for_as_long_as_it_runs(tree):
    tree.linux()
    tree.file("/proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    tree.file("/sys/class/thermal/cooling_device0/type", "cpufreq-cpu0")
    tree.file("/sys/class/thermal/cooling_device0/cur_state", "1")
    tree.command("vcgencmd", "throttled=0x80000")
    assert tree.read()["throttle"] == {
        "active": ["cpufreq-cpu0 at step 1"], "occurred": ["soft temperature limit"], "flags": "0x80000",
    }  # fmt: skip


def test_a_raspberry_pi_without_its_command_is_asked_by_the_kernels_files(tree):
    tree.linux()
    tree.file("/proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0")
    tree.file("/sys/class/hwmon/hwmon1/name", "rpi_volt")
    tree.file("/sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1")
    found = tree.read()
    assert found["throttle"] == {"active": ["undervoltage"]}
    assert "throttle flags" in found["unread"]
    tree.file("/sys/devices/platform/soc/soc:firmware/get_throttled", "20002\n")
    found = tree.read()
    assert found["throttle"] == {"active": ["frequency capped"], "occurred": ["frequency capped"], "flags": "0x20002"}
    assert "unread" not in found


def test_a_raspberry_pi_without_its_command_says_so(tree):
    tree.linux()
    assert "video" in tree.read("raspberry-pi")["unread"]["throttle flags"]
    tree.file("/proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    tree.command("vcgencmd", "VCHI initialization failed", 255)
    assert "video" in tree.read()["unread"]["throttle flags"]


@pytest.mark.parametrize(
    ("sample", "power"),
    [("jetson_nano", {"mode": "MAXN", "mode_id": 0}), ("jetson_orin_nano", {"mode": "25W", "mode_id": 1})],
)
def test_a_jetson_tells_its_power_mode_and_its_graphics_processor(tree, sample, power):
    tree.linux("schedutil")
    tree.file("/etc/nv_tegra_release", shared("lab", "samples", "jetson_nano_nv_tegra_release.txt").read_text())
    tree.command("nvpmodel", shared("lab", "samples", f"{sample}_nvpmodel_q.txt").read_text().strip())
    for name, text in {
        "cur_freq": "306000000", "min_freq": "306000000", "max_freq": "612000000", "governor": "nvhost_podgov",
        "available_frequencies": "306000000 612000000 918000000",
    }.items():  # fmt: skip
        tree.file(f"/sys/class/devfreq/17000000.gpu/{name}", text)
    tree.file("/sys/class/devfreq/d8820000.emc/cur_freq", "1")
    tree.file("/sys/devices/platform/gpu.0/load", "427")
    found = tree.read()
    assert found["power"] == power
    assert found["jetson"] == {"release": "R32.7.1", "board": "t210ref"}
    assert [found[f"frequency_{key}"]["gpu"] for key in ("khz", "floor_khz", "limit_khz", "max_khz")] == [
        306_000, 306_000, 612_000, 918_000,
    ]  # fmt: skip
    assert found["gpu"] == {"load_percent": 42.7, "governor": "nvhost_podgov"}
    assert set(found["governor"].values()) == {"schedutil"}
    assert "unread" not in found


def test_a_jetson_whose_nvpmodel_answers_root_alone_is_asked_by_its_files(tree):
    tree.linux()
    tree.file("/proc/device-tree/compatible", "nvidia,p3767-0005\0nvidia,tegra234\0")
    assert "sudo" in tree.read()["unread"]["power mode"]
    tree.command("nvpmodel", "Error", 1)
    tree.file("/var/lib/nvpmodel/status", "pmode:0002 fmode:quiet\n")
    tree.file("/etc/nvpmodel.conf", "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n")
    found = tree.read()
    assert found["power"] == {"mode": "MAXN_SUPER", "mode_id": 2}
    assert "power mode" not in found["unread"]


def test_jetson_clocks_says_whether_the_clocks_are_held_and_otherwise_that_it_wants_root(tree):
    tree.linux()
    tree.command("jetson_clocks", "", 1)
    assert "root" in tree.read()["unread"]["jetson_clocks"]
    text = shared("lab", "samples", "jetson_orin_nano_jetson_clocks_show.txt").read_text()
    tree.command("jetson_clocks", text)
    assert tree.read()["clocks"] == {"locked": False, "emc_khz": 665_600, "emc_max_khz": 3_199_000}
    assert "emc_khz" not in conditions.read({}, tree.system, brief=True).get("clocks", {})


def test_a_jetsons_switched_off_cores_and_dead_sensors_are_told_apart_from_what_cannot_be_read(tree):
    tree.linux(cores=4)
    tree.file("/sys/devices/system/cpu/offline", "2-3\n")
    shutil.rmtree(tree.folder / "sys/devices/system/cpu/cpu3/cpufreq")  # as newer kernels do
    for number, (name, value) in enumerate([("GPU-therm", "-256000"), ("PMIC-Die", "100000"), ("CPU-therm", "48500")]):
        tree.file(f"/sys/class/thermal/thermal_zone{number}/type", name)
        tree.file(f"/sys/class/thermal/thermal_zone{number}/temp", value)
    found = tree.read()
    assert found["offline"] == ["cpu2", "cpu3"]
    assert list(found["frequency_khz"]) == ["cpu0", "cpu1"]
    assert found["temperature_c"] == {"CPU-therm": 48.5}
    assert list(found["unread"]) == ["temperature of GPU-therm", "temperature of PMIC-Die"]


def test_clocks_are_locked_only_where_none_can_move(tree):
    tree.linux()
    for core in range(2):
        tree.file(f"/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_min_freq", "1600000")
    assert tree.read()["clocks"] == {"locked": True}
    tree.file("/sys/devices/system/cpu/cpu1/cpufreq/scaling_min_freq", "600000")
    assert tree.read()["clocks"] == {"locked": False}


def test_over_currents_of_a_jetson_count_as_events(tree):
    tree.linux()
    tree.file("/sys/class/hwmon/hwmon2/oc1_event_cnt", "2\n")
    tree.file("/sys/class/hwmon/hwmon2/oc3_event_cnt", "5\n")
    assert tree.read()["throttle"] == {"count": 7}


def test_the_power_of_a_rail_is_a_reading_like_others(tree):
    tree.linux()
    folder = "/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"
    for name, value in {"in1_label": "VDD_IN", "in1_input": "5000", "curr1_input": "1201"}.items():
        tree.file(f"{folder}/{name}", value)
    assert tree.read()["power"] == {"rail": "VDD_IN", "mw": 6005.0}
    (tree.folder / folder[1:] / "curr1_input").unlink()
    assert "VDD_IN" in tree.read()["unread"]["power"]


def test_an_android_phone_tells_battery_and_thermal_status(tree):
    tree.file("/system/build.prop", "")
    assert {"battery", "thermal status", "temperature", "frequency"} <= tree.read()["unread"].keys()
    tree.file("/usr/bin/dumpsys", '#!/bin/sh\ncat "$(dirname "$0")/$1.txt"\n')
    (tree.folder / "usr/bin/dumpsys").chmod(0o755)
    for name in ("battery", "thermalservice"):
        tree.file(f"/usr/bin/{name}.txt", shared("lab", "samples", f"android_dumpsys_{name}.txt").read_text())
    found = tree.read()
    assert found["power"] == {"battery_percent": 100, "status": "full", "on_mains": True}
    assert found["temperature_c"] == {"battery": 27.4, "soc0": 42.5, "skin": 41.0}
    assert found["throttle"] == {"active": ["thermal status 1 (light)", "soc0 at light"]}


def test_termux_tells_the_battery_where_dumpsys_is_denied(tree):
    tree.file("/system/build.prop", "")
    tree.command("termux-battery-status", '{"percentage": 71, "status": "DISCHARGING", "temperature": 31.2}')
    found = tree.read()
    assert found["power"] == {"battery_percent": 71, "status": "discharging"}
    assert found["temperature_c"] == {"battery": 31.2}


def test_a_laptop_tells_its_battery(tree):
    tree.linux()
    for name, fields in {
        "BAT0": {"type": "Battery", "capacity": "55", "status": "Discharging"},
        "AC": {"type": "Mains", "online": "0"},
        "mouse": {"type": "Battery", "scope": "Device", "capacity": "5"},
    }.items():
        for field, text in fields.items():
            tree.file(f"/sys/class/power_supply/{name}/{field}", text + "\n")
    assert tree.read()["power"] == {"battery_percent": 55, "status": "discharging", "on_mains": False}


def test_garbage_in_any_file_is_unread_and_never_a_crash(tree):
    tree.linux()
    tree.file("/proc/device-tree/model", "Raspberry Pi \xff\x1b[2J")
    tree.file("/system/build.prop", "")
    for name in ("vcgencmd", "nvpmodel", "dumpsys", "termux-battery-status"):
        tree.command(name, "{ level: x\n  level: many\n  temperature: hot")
    tree.file("/proc/loadavg", "a b c")
    tree.file("/sys/class/thermal/thermal_zone0/temp", "hot")
    found = tree.read()
    assert {"load", "battery", "thermal status", "throttle flags", "power mode", "temperature"} <= found[
        "unread"
    ].keys()


def test_a_board_is_named_by_device_tree_then_by_mainboard_then_by_processor(tree):
    tree.file("/proc/cpuinfo", "processor : 0\nmodel name : Some CPU @ 2 GHz\n\n" * 2)
    tree.linux()
    tree.file("/sys/class/dmi/id/product_name", "To be filled by O.E.M.\n")
    assert board.read(tree.system)["model"] == "Some CPU @ 2 GHz"
    tree.file("/sys/class/dmi/id/product_name", "NUC\n")
    assert board.read(tree.system)["model"] == "NUC"
    tree.file("/proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0")
    described = board.read(tree.system)
    assert described["model"] == "Raspberry Pi 4 Model B Rev 1.4"
    assert described["memory_bytes"] == 3884092 * 1024


def test_two_boards_of_one_model_are_told_apart_without_their_numbers(tree):
    assert board.read(tree.system)["unit"] == ""
    tree.file("/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
    by_system = board.read(tree.system)["unit"]
    tree.file("/proc/device-tree/serial-number", "0000000000000000\0")
    assert board.read(tree.system)["unit"] == by_system
    tree.file("/proc/device-tree/serial-number", "10000000deadbeef\0")
    by_chip = board.read(tree.system)["unit"]
    assert by_chip != by_system
    assert "deadbeef" not in by_chip
    assert board.read(tree.system)["unit"] == by_chip


def test_arm_cores_have_their_names():
    cores = "".join(
        f"processor : {n}\nmodel name : ARMv8 Processor rev 3 (v8l)\nCPU implementer : 0x41\nCPU part : {part}\n\n"
        for n, part in enumerate(["0xd08", "0xd08", "0xd03", "0xabc"])
    )
    assert board.cpu_name(cores) == "Cortex-A72 + Cortex-A53 + 0x41/0xabc"
