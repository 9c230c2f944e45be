"""Resting until a board is cool, on boards made of files and clocks that nobody has to wait for."""

from __future__ import annotations

import pytest
from edgenas_agent.rest import FALL_S, MARGIN_C, Rest, Thermometer

from tests.agent.test_conditions import Tree

FAMILY = {"max_temperature_c": 80.0, "sensors": []}


class Board(Tree):
    """Cools by some degrees in each second, down to its surroundings."""

    def __init__(self, folder, temperature_c: float, falls_c: float = 0.0, room_c: float = 20.0) -> None:
        super().__init__(folder)
        self.now_s = 0.0
        self._falls_c, self._room_c = falls_c, room_c
        self.heat(temperature_c)

    def heat(self, temperature_c: float) -> None:
        self.temperature_c = temperature_c
        self.file("/sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
        self.file("/sys/class/thermal/thermal_zone0/temp", f"{temperature_c * 1000:.0f}\n")

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.heat(max(self._room_c, self.temperature_c - self._falls_c * seconds))

    def rest(self, max_s: float, family=FAMILY) -> Rest:
        return Rest(Thermometer(family, self.system), max_s, lambda: self.now_s, self.sleep)


def test_a_cool_board_does_not_wait(tmp_path):
    board = Board(tmp_path, 55.0)
    rest = board.rest(60)
    rest.take()
    found = rest.result()
    assert (found["ended"], found["waited_s"], board.now_s) == ("cool", 0, 0)
    assert (found["zone"], found["from_c"], found["threshold_c"]) == ("cpu-thermal", 55.0, 80.0 - MARGIN_C)


def test_a_hot_board_waits_as_long_as_it_needs_and_says_how_long(tmp_path):
    board = Board(tmp_path, 78.0, falls_c=0.5)
    rest = board.rest(60)
    rest.take()
    found = rest.result()
    assert found["ended"] == "cooled"
    assert found["to_c"] <= 70.0
    assert found["waited_s"] == pytest.approx(16, abs=1)


def test_no_longer_than_allowed_and_not_where_it_does_not_help(tmp_path):
    board = Board(tmp_path / "a", 90.0, falls_c=0.1)
    rest = board.rest(10)
    rest.take()
    assert (rest.result()["ended"], rest.result()["waited_s"]) == ("limit", 10)
    board = Board(tmp_path / "b", 75.0, falls_c=0.1, room_c=73.0)
    rest = board.rest(600)
    rest.take()
    assert rest.result()["ended"] == "steady"
    assert rest.result()["waited_s"] < 20 + 2 * FALL_S


def test_where_no_temperature_can_be_read_there_is_no_rest_and_it_says_so(tmp_path):
    tree = Tree(tmp_path)
    rest = Rest(Thermometer(FAMILY, tree.system), 60, sleep=lambda seconds: pytest.fail("it rested"))
    rest.take()
    assert rest.result() == {"waited_s": 0.0, "ended": "unreadable", "rests": 1}
    assert Rest(Thermometer(FAMILY, tree.system), 60).result()["ended"] == "not asked"


def test_the_kernels_own_limit_counts_where_it_is_lower_and_only_the_familys_sensors_do(tmp_path):
    board = Board(tmp_path, 52.0, falls_c=1.0)
    board.file("/sys/class/thermal/thermal_zone0/trip_point_0_type", "active\n")
    board.file("/sys/class/thermal/thermal_zone0/trip_point_0_temp", "30000\n")
    board.file("/sys/class/thermal/thermal_zone0/trip_point_1_type", "passive\n")
    board.file("/sys/class/thermal/thermal_zone0/trip_point_1_temp", "60000\n")
    board.file("/sys/class/thermal/thermal_zone1/type", "modem\n")
    board.file("/sys/class/thermal/thermal_zone1/temp", "95000\n")
    rest = board.rest(60, {**FAMILY, "sensors": ["CPU"]})
    rest.take()
    assert rest.result()["threshold_c"] == 50.0
    assert rest.result()["ended"] == "cooled"


def test_a_board_that_gets_hot_on_the_way_rests_again_out_of_the_same_allowance(tmp_path):
    board = Board(tmp_path, 72.0, falls_c=1.0)
    rest = board.rest(5)
    rest.take()
    assert not rest.again()
    board.heat(80.0)
    assert rest.again()
    assert rest.result()["ended"] == "limit"
    assert rest.result()["waited_s"] == pytest.approx(5)
    board.heat(80.0)
    assert not rest.again()
    assert rest.result()["rests"] == 2
