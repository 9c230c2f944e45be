"""Tables that others wrote: rows from CSV and Parquet files, configurations in them, and latencies of boards."""

from __future__ import annotations

from edgenas.imports.configs import ConfigColumns
from edgenas.imports.latencies import ImportedTable, Layout, read_latencies, read_layout, unlike
from edgenas.imports.rows import Rows, read_rows

__all__ = [
    "ConfigColumns", "ImportedTable", "Layout", "Rows", "read_latencies", "read_layout", "read_rows", "unlike",
]  # fmt: skip
