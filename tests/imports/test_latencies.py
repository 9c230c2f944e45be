"""``edgenas data import``: every faulty line is named, and what other tools write is understood."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from edgenas.cli.app import run
from edgenas.errors import DataError, MissingExtra
from edgenas.imports import Layout, read_latencies, read_layout
from edgenas.spaces import Choice, SearchSpace
from edgenas.store import RecordedBoard, Store, open_store

SPACE = SearchSpace(
    [Choice("d0", (1, 2)), Choice("ks0", (3, 5)), Choice("ks1", (3, 5), {"d0": [2]}), Choice("r", (8, 16))], "small"
)
#: Lines 2 to 4 are sound, all others are not.
FAULTY = """d0,ks,r,pi4,nano_us
1,3-0,8,1.5,900
2,3-5,8,2.5,1500
2,5-3,16,3.5,2500
1,3-5,8,1.5,900
2,3-7,8,2.5,1500
,3-5,8,2.5,1500
2,5-5,8,0,1500
2,5-5,16,-2,
2,3-3,16,fast,inf
"""


@pytest.fixture
def space_file(tmp_path: Path) -> str:
    path = tmp_path / "space.toml"
    path.write_text(SPACE.to_toml())
    return str(path)


def _written(folder: Path, text: str) -> Path:
    path = folder / "latencies.csv"
    path.write_text(text)
    return path


def test_every_faulty_line_is_named_and_units_are_believed(tmp_path: Path) -> None:
    table = read_latencies(_written(tmp_path, FAULTY), SPACE)
    assert {(f.line, f.message.partition(" ")[2] or f.message) for f in table.faults} == {
        (5, "configuration of line 2 again"), (6, "= '7' is none of 3, 5"), (7, "is missing"),
        (8, "= 0 is zero"), (9, "= -2 is negative"), (9, "is missing"), (10, "= 'fast' is no number"),
        (10, "= inf is not finite"),
    }  # fmt: skip
    assert table.columns == {"pi4": ("pi4", "ms"), "nano_us": ("nano_us", "us")}
    np.testing.assert_allclose(table.boards["nano_us"][:4], [0.9, 1.5, 2.5, 1.5])
    assert np.isnan(table.boards["pi4"][3:]).all()
    assert SPACE.decode_many(table.codes)[1] == {"d0": 2, "ks0": 3, "ks1": 5, "r": 8}


def test_dictionaries_as_dynast_writes_them_and_encodings(tmp_path: Path) -> None:
    config = "{'wid': None, 'd': [2], 'ks': [5, 3], 'r': [16]}"
    text = f'Sub-network,Date,Model Parameters,Latency (ms),MACs,Top-1 Acc (%)\n"{config}",2023-02-17,4,14.4,2,90\n'
    table = read_latencies(_written(tmp_path, text), SPACE, Layout({"xeon": ""}))
    assert table.columns == {"xeon": ("Latency (ms)", "ms")}
    assert SPACE.decode_many(table.codes) == [{"d0": 2, "ks0": 5, "ks1": 3, "r": 16}]
    coded = read_latencies(_written(tmp_path, "encoding,pi4\n1-1-0-1,14.4\n"), SPACE)
    assert coded.codes.tolist() == table.codes.tolist()


def test_a_thousandfold_is_warned_of_and_nonsense_refused(tmp_path: Path) -> None:
    rows = [f"2,3-{k},{r},{ms}" for k, r, ms in ((3, 8, 2.0), (3, 16, 3.0), (5, 8, 2500), (5, 16, 3.5))]
    table = read_latencies(_written(tmp_path, "\n".join(["d0,ks,r,pi4", *rows])), SPACE)
    assert any("line 4: pi4 is about a thousand times slower" in warning for warning in table.warnings)
    with pytest.raises(DataError, match="no column for the choice r"):
        read_latencies(_written(tmp_path, "d0,ks,pi4\n2,3-3,1\n"), SPACE)
    with pytest.raises(DataError, match="unit"):
        read_latencies(_written(tmp_path, FAULTY), SPACE, Layout(unit="hours"))
    (tmp_path / "wrong.toml").write_text("board = 3\n")
    with pytest.raises(DataError, match="unknown field 'board'"):
        read_layout(tmp_path / "wrong.toml")


def test_a_decimal_comma_is_a_fault_and_numbers_of_rows_are_no_board(tmp_path: Path) -> None:
    text = ",d0,ks,r,pi4\n0,2,3-5,8,2.5\n1,2,5-3,16,3,5\n2,1,3,8,1.5,\n"
    table = read_latencies(_written(tmp_path, text), SPACE)
    assert list(table.boards) == ["pi4"]
    assert [(f.line, f.message.partition(":")[0]) for f in table.faults] == [(3, "has 6 cells, more than the head")]
    assert len(table.codes) == 2


def test_parquet_is_read_as_csv_is(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'edgenas[parquet]'")
    from pyarrow import parquet  # type: ignore[import-not-found,unused-ignore]

    rows = [line.split(",") for line in FAULTY.splitlines()]
    columns = {name: [row[place] or None for row in rows[1:]] for place, name in enumerate(rows[0])}
    path = tmp_path / "latencies.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    found, same = read_latencies(path, SPACE), read_latencies(_written(tmp_path, FAULTY), SPACE)
    assert [(f.line + 1, f.board) for f in found.faults] == [(f.line, f.board) for f in same.faults]
    assert found.codes.tolist() == same.codes.tolist()
    numbers = pyarrow.table({"encoding": ["1-1-0-1", "0-0-0-0"], "pi4": [14.4, 2.5], "nano_us": [900, None]})
    parquet.write_table(numbers, path)
    table = read_latencies(path, SPACE)
    np.testing.assert_allclose(table.boards["nano_us"], [0.9, np.nan])
    path.write_bytes(b"PAR1")
    with pytest.raises(DataError, match="Parquet"):
        read_latencies(path, SPACE)


def test_without_pyarrow_parquet_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra) as told:
        read_latencies(tmp_path / "latencies.parquet", SPACE)
    assert "edgenas[parquet]" in str(told.value.hint)


def test_import_from_the_command_line(
    tmp_path: Path, space_file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path / "home"))
    path = tmp_path / "latencies.csv.gz"
    path.write_bytes(gzip.compress(FAULTY.encode()))
    command = ["data", "import", str(path), "--space", space_file]
    assert run(command) == 1
    told = capsys.readouterr().err
    assert "line 9: pi4 = -2 is negative" in told
    assert "nothing was imported" in told
    assert run([*command, "--skip-faulty", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["boards"] == {"pi4": 3, "nano_us": 4}
    assert first["new"] == ["pi4", "nano_us"]
    assert run([*command, "--skip-faulty"]) == 0
    assert "as before" in capsys.readouterr().out
    other = _written(tmp_path, FAULTY.replace("3.5,2500", "4500.5,2500"))
    assert run(["data", "import", str(other), "--space", space_file, "--skip-faulty"]) == 2
    assert "--replace" in capsys.readouterr().err
    assert run(["data", "import", str(other), "--space", space_file, "--skip-faulty", "--replace"]) == 0
    capsys.readouterr()
    assert run(["data", "list"]) == 0
    assert "nano_us" in capsys.readouterr().out
    assert run(["data", "remove", "pi4"]) == 0
    assert run(["data", "remove", "pi4"]) == 2


def test_recorded_boards_come_back_exactly() -> None:
    codes = SPACE.encode_many(list(SPACE.enumerate()))
    board = RecordedBoard("pi4", SPACE, codes, np.linspace(1.0, 2.0, len(codes)), {"file": "x"})
    with open_store(":memory:") as store:
        assert store.add_recorded_boards([board]) == ["pi4"]
        assert store.add_recorded_boards([board]) == []
        found = store.recorded_boards(SPACE.hash)[0]
        np.testing.assert_array_equal(found.codes, codes)
        np.testing.assert_array_equal(found.latency_ms, board.latency_ms)
        assert (found.space, found.source) == (SPACE, {"file": "x"})
        assert _names(store, "0" * 64) == []


def _names(store: Store, space_hash: str) -> list[str]:
    return [board.name for board in store.recorded_boards(space_hash)]
