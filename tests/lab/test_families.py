"""Board families: the shipped files, and files that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgenas.errors import TargetError
from edgenas.lab import families, family
from edgenas.lab.board_families import load_family


def test_the_shipped_families_load_and_name_sources_that_the_agent_has() -> None:
    from edgenas_agent import conditions, runtimes

    known = families()
    assert {"generic", "local", "raspberry-pi", "jetson", "android-termux"} <= set(known)
    sources = set(conditions.names())
    for each in known.values():
        assert set(each.conditions) <= sources
        assert set(each.runtimes) <= set(runtimes.names())
        assert each.runtime in each.runtimes
        assert {"runtime", "space"} <= set(each.fix)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("description = 3", "description"),
        ('description = "x"\nrunner = "y"', "runner"),
        ('description = "x"\nroot = "relative"', "root"),
        ('description = "x"\npython = []', "python"),
        ('description = "x"\nmax_temperature_c = "hot"', "max_temperature_c"),
        ('description = "x"\n[fix]\ncoffee = "brew"', "fix"),
        ('description = "x"\nname = "other"', "name"),
        ("runtime = 'onnxruntime'", "description"),
    ],
)
def test_a_wrong_file_is_named_with_its_field(tmp_path: Path, text: str, field: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(TargetError) as caught:
        families(tmp_path)
    assert str(path) in caught.value.message
    assert f"field {field}" in caught.value.message


def test_what_is_no_toml_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("a = [")
    with pytest.raises(TargetError, match=r"mine\.toml"):
        load_family(tmp_path / "mine.toml")


def test_an_unknown_family_lists_the_known_ones() -> None:
    with pytest.raises(TargetError) as caught:
        family("toaster")
    assert "raspberry-pi" in caught.value.hint
