"""``edgenas supernet evaluate`` and ``score``."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from edgenas.cli import output


@click.command("evaluate")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("configs", nargs=-1)
@click.option("--configs", "file", type=click.Path(path_type=Path), help="File with more of them, JSON.")
@click.option("--random", "count", default=0, type=click.IntRange(min=0), help="So many random ones more.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of the random ones.")
@click.option("--data", default="", help="[default: what it was trained on]")
@click.option("--split", default="valid", show_default=True, type=click.Choice(["train", "valid", "test"]))
@click.option("--metric", "metrics", multiple=True, help="top1, top5, f1, bleu, module:function.  [default: accuracy]")
@click.option("--calibration-images", default=512, show_default=True, type=click.IntRange(min=1), help="Batch norms.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(min=1), help="Of torch.")
@click.option("--together", default=8, show_default=True, type=click.IntRange(min=1), help="In one pass over the data.")
@click.option("--ray", default="", metavar="ADDRESS", help="Use this Ray cluster; `local` starts one here.")
@click.option("--csv", "csv_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the rows there too.")
@output.json_option
def evaluate(
    checkpoint: Path, configs: tuple[str, ...], file: Path | None, count: int, seed: int, data: str, split: str,
    metrics: tuple[str, ...], calibration_images: int, device: str, threads: int | None, together: int, ray: str,
    csv_file: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """Judge CONFIGS of a checkpoint on data, with calibrated batch norms.

    Each is JSON, a JSON file, `largest` or `smallest`. A configuration that fails is a row with its reason; the exit
    code is then 1.
    """
    from edgenas.pipeline.judging import judge_configs, settings_for

    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    wanted = _configs(str(checkpoint), configs, file, count, seed)
    settings = settings_for(checkpoint, data, split, metrics or ("accuracy",), device, calibration_images)
    rows: dict[int, dict[str, Any]] = {}
    for place, row in judge_configs(checkpoint, settings, wanted, ray=ray, together=together):
        rows[place] = row.to_dict()
        if len(wanted) > 1 and (len(rows) * 10 // len(wanted)) > ((len(rows) - 1) * 10 // len(wanted)):
            output.note(f"{len(rows)} of {len(wanted)} configurations")
    found = [rows[place] for place in range(len(wanted))]
    if csv_file is not None:
        _write_csv(csv_file, found)
    _show(found, as_json, single=len(configs) == 1 and len(wanted) == 1)
    return int(any("failure" in row for row in found))


@click.command("score")
@click.argument("supernet")
@click.argument("configs", nargs=-1)
@click.option("--configs", "file", type=click.Path(path_type=Path), help="File with more of them, JSON.")
@click.option("--random", "count", default=0, type=click.IntRange(min=0), help="So many random ones more.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of all that is random.")
@click.option("--score", "names", multiple=True, help="macs, params, activations, grad_norm, synflow, gradsign.  [all]")
@click.option("--data", default="", help="[default: what it was trained on, or random images]")
@click.option("--images", default=16, show_default=True, type=click.IntRange(min=1), help="In the batch.")
@click.option("--csv", "csv_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the rows there too.")
@output.json_option
def score(
    supernet: str, configs: tuple[str, ...], file: Path | None, count: int, seed: int, names: tuple[str, ...],
    data: str, images: int, csv_file: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Zero-cost scores of CONFIGS of SUPERNET, a checkpoint or a name."""
    from edgenas.pipeline.judging import score_configs

    wanted = _configs(supernet, configs, file, count, seed)
    found = score_configs(supernet, wanted, names, data=data, images=images, seed=seed)
    if csv_file is not None:
        _write_csv(csv_file, found)
    _show(found, as_json, single=len(configs) == 1 and len(wanted) == 1)


def _configs(supernet: str, texts: Sequence[str], file: Path | None, count: int, seed: int) -> list[dict[str, Any]]:
    """All that are asked for; those of a file are checked only when their turn comes."""
    from edgenas.cli.configuration import read_config
    from edgenas.pipeline.judging import read_configs, space_of

    if not texts and file is None and not count:
        raise click.UsageError("Name configurations: CONFIG, --configs FILE or --random N.")
    space = space_of(supernet)
    found = [read_config(text, space) for text in texts]
    if file is not None:
        found += read_configs(file)
    return found + [dict(config) for config in space.sample_many(count, seed)]


def _show(rows: Sequence[Mapping[str, Any]], as_json: bool, *, single: bool) -> None:
    from edgenas.cli.quantities import column, show_value

    if as_json:
        output.emit_json(rows[0] if single else list(rows))
        return
    names = _names(rows)
    if single and "failure" not in rows[0]:
        output.facts({column(name): show_value(name, rows[0][name]) for name in names})
        return
    failed = any("failure" in row for row in rows)
    columns = [*(column(name) for name in names), "configuration", *(["failure"] if failed else [])]
    table = []
    for row in rows:
        values = [show_value(name, row.get(name)) for name in names]
        failure = f"{row['failure']}: {row['message']}" if "failure" in row else ""
        table.append([*values, json.dumps(row["config"]), *([failure] if failed else [])])
    output.table(table, columns)


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    from edgenas.errors import HostError

    names = [*_names(rows), "failure", "message", "config"]
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, names, restval="")
            writer.writeheader()
            writer.writerows({**row, "config": json.dumps(row["config"])} for row in rows)
    except OSError as error:
        raise HostError(f"Cannot write {path}: {error.strerror}.", hint="Name another file with --csv.") from error


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of the values, in order."""
    return list(dict.fromkeys(name for row in rows for name in row if name not in ("config", "failure", "message")))
