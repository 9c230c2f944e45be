"""Tables as files: what is written is read back, and what is not a table is refused with its line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgenas.errors import DataError, UsageError
from edgenas.pipeline.networks import layer_types
from edgenas.pipeline.stored_tables import as_blocks
from edgenas.report.tables import render_table
from edgenas.tables import Entry, LatencyTable, Slopes
from edgenas.tables.files import format_of, read_table, table_bytes
from tests.tables.networks import NAME, OPTIONS, small

NET = small()
LARGEST = NET.space.extremes()[1]


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    layers = [layer for c in NET.space.sample_many(30, 0) for layer in layer_types(NET, c)]
    entries = {layer.key: Entry(layer, layer.macs * 1e-6 + 0.001, 0.0001, 2) for layer in layers}
    return LatencyTable(
        "pi4-small", "pi4", NAME, OPTIONS, NET.space, entries, constant_ms=0.05,
        slopes=Slopes((), np.array([[1000.0, 0.0, 0.0]])), held_out={"mape": 3.0}, way="onnxruntime",
    )  # fmt: skip


@pytest.mark.parametrize("form", ["json", "csv"])
def test_what_is_written_is_read_back(table: LatencyTable, form: str, tmp_path: Path) -> None:
    path = tmp_path / f"table.{form}"
    path.write_bytes(table_bytes(table, form))
    again = read_table(path, format_of(path), replace(table, entries={}))
    assert again.entries == table.entries
    layers = layer_types(NET, LARGEST)
    assert again.predict(layers) == table.predict(layers)


def test_blocks_with_the_keys_of_once_for_all(table: LatencyTable, tmp_path: Path) -> None:
    blocks = as_blocks(table)
    path = tmp_path / "table.yaml"
    path.write_bytes(table_bytes(blocks, "ofa"))
    again = read_table(path, format_of(path), replace(table, entries={}))
    assert again.grain == "block"
    assert {key: entry.ms for key, entry in again.entries.items()} == {k: e.ms for k, e in blocks.entries.items()}
    whole = table.predict(layer_types(NET, LARGEST))[0]
    assert again.predict(layer_types(NET, LARGEST, "block"))[0] == pytest.approx(whole, rel=0.02)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.csv", "key,ms\nx,1.0\ny,fast\n", "line 3"),
        ("a.csv", "key,ms\nx,-1.0\n", "line 2"),
        ("a.csv", "kind,ms\nx,1.0\n", "line 2"),
        ("a.yaml", "x:\n  mean: 1.0\n- y\n", "line 3"),
        ("a.yaml", "x:\n  count: 3\n", "line 1"),
        ("a.json", "[1", "JSON"),
    ],
)
def test_what_is_no_table_is_refused_with_its_line(
    table: LatencyTable, name: str, text: str, told: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises((DataError, UsageError), match=told):
        read_table(path, format_of(path), table)


def test_a_layer_that_is_not_in_the_table_makes_the_answer_unsure(table: LatencyTable) -> None:
    layers = layer_types(NET, LARGEST)
    longest = max(table.entries.values(), key=lambda entry: entry.ms).type.key
    fewer = replace(table, entries={key: entry for key, entry in table.entries.items() if key != longest})
    assert [layer.key for layer in fewer.unknown(layers)] in ([longest], [])
    small_again = [layer for layer in layers if layer.key == longest] or [table.entries[longest].type]
    assert fewer.predict(small_again)[1] > 2 * table.predict(small_again)[1]


def test_a_picture_of_two_tables(table: LatencyTable) -> None:
    other = replace(table, name="<b>nano</b>", target="nano")
    page = render_table(table, layer_types(NET, LARGEST), "largest", other)
    assert "<b>nano</b>" not in page
    assert "Entries of both tables" in page
    assert "http" not in page.partition("<body>")[2].partition('<script type="application/json"')[0]
