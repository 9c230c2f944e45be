"""A machine in virtual time: its clocks, its heat, what its files and commands say of it, and what disturbs it."""

from __future__ import annotations

import fnmatch
import math
import random
from collections.abc import Callable, Sequence
from functools import cache

from edgenas_agent.system import System

from edgenas.testing.simulated_heat import Heat, Thermometer
from edgenas.testing.simulated_noise import Noise, NoiseSource

CORES = 4
#: Bits of a Raspberry Pi's throttled word: the clock is held down, and the firmware throttles.
_CAPPED, _THROTTLED, _OCCURRED = 1 << 1, 1 << 2, 16


class Machine:
    """Time goes by only in :meth:`work` and :meth:`rest`.

    Args:
        heat: How it warms up.
        noise: Of its runs.
        rng: All its chance.
        stolen: Share of the wall time in which somebody else has the core, at least 0 and below 1.
        slice_ms: For so long at a time, in the mean.
        drift_per_hour: Its latency grows by this share of the first one in an hour.
        full_khz: Full clock.

    Attributes:
        now_ns: Virtual time since the simulation began, nanoseconds.
        cpu_ns: Processor time of the measuring process.
        boot: Number of the boot, from 0.
        slowed: Everything takes so many times as long.
        alarm_ns: Time at which ``on_alarm`` is called, in the middle of whatever goes on.
        on_alarm: Has to move ``alarm_ns`` and may raise, which ends what goes on.
        stolen_ns: Time in which somebody else had the core of a run.
        interrupted: How often somebody else took it.
    """

    def __init__(
        self,
        heat: Heat,
        noise: Noise,
        rng: random.Random,
        *,
        stolen: float = 0.0,
        slice_ms: float = 4.0,
        drift_per_hour: float = 0.0,
        full_khz: int = 1_800_000,
    ) -> None:
        self.heat = Thermometer(heat)
        self.full_khz = full_khz
        self.now_ns = 0
        self.cpu_ns = 0
        self.stolen_ns = 0
        self.interrupted = 0
        self.boot = 0
        self.slowed = 1.0
        self.alarm_ns: float = math.inf
        self.on_alarm: Callable[[], None] = lambda: None
        self._noise = NoiseSource(noise, rng)
        self._rng = rng
        self._drift_per_ns = drift_per_hour / 3600e9
        self._slice_ns = slice_ms * 1e6
        # Somebody else takes the core after so much processor time of ours, in the mean.
        self._between_ns = self._slice_ns * (1 - stolen) / stolen if stolen else math.inf
        self._until_stolen_ns = rng.expovariate(1 / self._between_ns) if stolen else math.inf

    @property
    def now_s(self) -> float:
        return self.now_ns / 1e9

    def level(self) -> float:
        """How many times its first latency a network takes now, jitter and heat apart."""
        return (1 + self._drift_per_ns * self.now_ns) * self.slowed

    def work(self, latency_ns: float, threads: int = 1) -> None:
        """One run of a network that takes so long on the machine as it was at first, undisturbed and at full clock."""
        own_ns = latency_ns * self._noise.factor(self.now_ns / 1e9) * self.level() / self.heat.clock
        wall_ns = own_ns
        self._until_stolen_ns -= own_ns
        while self._until_stolen_ns <= 0:
            wall_ns += self._rng.expovariate(1 / self._slice_ns)
            self.interrupted += 1
            self._until_stolen_ns += self._rng.expovariate(1 / self._between_ns)
        self._pass(max(1, round(wall_ns)), busy=True)
        self.stolen_ns += round(wall_ns - own_ns)
        self.cpu_ns += max(1, round(own_ns)) * threads

    def rest(self, seconds: float) -> None:
        """Let time go by without work."""
        self._pass(round(seconds * 1e9), busy=False)

    def restart(self) -> None:
        """Begin another boot."""
        self.boot += 1
        self.heat.restart()

    def _pass(self, wall_ns: int, busy: bool) -> None:
        while self.now_ns + wall_ns >= self.alarm_ns:
            before_ns = max(0, int(self.alarm_ns) - self.now_ns)
            self._spend(before_ns, busy)
            wall_ns -= before_ns
            self.on_alarm()
        self._spend(wall_ns, busy)

    def _spend(self, wall_ns: int, busy: bool) -> None:
        self.now_ns += wall_ns
        self.heat.spend(wall_ns / 1e9, busy)


class MachineFiles(System):
    """A simulated machine as the agent sees it: the files and commands of a Raspberry Pi.

    Args:
        machine: That is shown.
        model: As the device tree has it.
    """

    def __init__(self, machine: Machine, model: str) -> None:
        super().__init__("/nowhere-simulated")
        self._files: dict[str, Callable[[], str]] = {
            "/proc/device-tree/model": lambda: model,
            "/sys/class/thermal/thermal_zone0/type": lambda: "cpu-thermal",
            "/sys/class/thermal/thermal_zone0/temp": lambda: str(round(machine.heat.temperature_c * 1000)),
            "/proc/loadavg": lambda: "1.00 1.00 1.00 2/150 1000",
            "/proc/meminfo": lambda: "MemTotal: 3884096 kB\nMemAvailable: 3000000 kB",
        }
        for core in range(CORES):
            folder = f"/sys/devices/system/cpu/cpu{core}/cpufreq"
            self._files[f"{folder}/scaling_governor"] = lambda: "performance"
            self._files[f"{folder}/cpuinfo_max_freq"] = lambda: str(machine.full_khz)
            self._files[f"{folder}/scaling_max_freq"] = lambda: str(machine.full_khz)
            self._files[f"{folder}/scaling_cur_freq"] = lambda: str(round(machine.full_khz * machine.heat.clock))
        self._machine = machine
        self._names = tuple(self._files)

    def text(self, name: str) -> str | None:
        read = self._files.get("/" + name.lstrip("/"))
        return None if read is None else read()

    def glob(self, pattern: str) -> list[str]:
        return list(_matching(self._names, pattern.strip("/")))

    def command(self, words: Sequence[str]) -> str | None:
        if list(words) != ["vcgencmd", "get_throttled"]:
            return None
        heat = self._machine.heat
        flags = (_CAPPED | _THROTTLED) * (heat.hot | heat.was_hot << _OCCURRED)
        return f"throttled=0x{flags:x}"

    def find(self, program: str) -> str | None:
        return "/usr/bin/vcgencmd" if program == "vcgencmd" else None


@cache
def _matching(files: tuple[str, ...], pattern: str) -> tuple[str, ...]:
    """Files and folders that match; all simulated machines have the same ones."""
    wanted = pattern.split("/")
    found = set()
    for file in files:
        parts = file.strip("/").split("/")[: len(wanted)]
        if len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted)):
            found.add("/".join(parts))
    return tuple(sorted(found, key=lambda name: (len(name), name)))
