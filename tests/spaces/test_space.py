"""Search spaces: forms of a configuration, dependencies, counting, drawing, files."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgenas.errors import SpaceError
from edgenas.spaces import Choice, SearchSpace

OPTIONS: list[tuple[Any, ...]] = [(3, 5, 7), (0.25, 0.5), ("relu", 'quo"te\x7f\n', "ü"), (False, True), (1,)]


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Small spaces with needs among choices: chains, several needs, needs that name later choices."""
    count = draw(st.integers(1, 6))
    picked = [draw(st.sampled_from(OPTIONS)) for _ in range(count)]
    choices = []
    for i in range(count):
        needs = {}
        for j in draw(st.lists(st.integers(0, count - 1), max_size=2, unique=True)):
            if j < i:
                needs[f"c{j}"] = draw(st.lists(st.sampled_from(picked[j]), min_size=1, max_size=2, unique=True))
        choices.append(Choice(f"c{i}", picked[i], needs))
    return SearchSpace(draw(st.permutations(choices)), "small")


@st.composite
def space_and_configs(draw: st.DrawFn) -> tuple[SearchSpace, list[dict[str, Any]]]:
    space = draw(spaces())
    drawn = [
        {choice.name: draw(st.sampled_from(list(choice.options))) for choice in space.choices}
        for _ in range(draw(st.integers(1, 6)))
    ]
    return space, drawn


def everything(space: SearchSpace) -> list[dict[str, Any]]:
    return [
        dict(zip(space.names, values, strict=True))
        for values in itertools.product(*(choice.options for choice in space.choices))
    ]


def active_by_definition(space: SearchSpace, config: dict[str, Any], name: str) -> bool:
    choice = next(choice for choice in space.choices if choice.name == name)
    return all(config[o] in vs and active_by_definition(space, config, o) for o, vs in choice.needs.items())


def ofa_space() -> SearchSpace:
    choices = []
    for stage, block in itertools.product(range(5), range(4)):
        needs = {f"d{stage}": [d for d in (2, 3, 4) if d > block]} if block >= 2 else {}
        choices += [Choice(f"{kind}{4 * stage + block}", o, needs) for kind, o in (("ks", (3, 5, 7)), ("e", (3, 4, 6)))]
    return SearchSpace([*choices, *(Choice(f"d{s}", (2, 3, 4)) for s in range(5)), Choice("r", (224,))], "ofa")


@settings(max_examples=60, deadline=None)
@given(space_and_configs())
def test_canonical_form_is_a_fixed_point_and_survives_encoding(case: tuple[SearchSpace, list[dict[str, Any]]]) -> None:
    space, configs = case
    for config in configs:
        canonical = space.canonical(config)
        assert space.canonical(canonical) == canonical
        assert space.decode(space.encode(config)) == canonical
        assert space.key(config) == space.key(canonical)
        assert space.active(config) == space.active(canonical)
        assert space.active(config) == tuple(active_by_definition(space, config, name) for name in space.names)
        active = {
            choice.name: config[choice.name]
            for choice, on in zip(space.choices, space.active(config), strict=True)
            if on
        }
        assert space.canonical(active) == canonical, "choices that do not count may be left out"
    assert space.decode_many(space.encode_many(configs)) == [space.canonical(config) for config in configs]


@settings(max_examples=60, deadline=None)
@given(space_and_configs())
def test_same_meaning_is_same_features_same_key_and_distance_zero(
    case: tuple[SearchSpace, list[dict[str, Any]]],
) -> None:
    space, configs = case
    features = space.features(configs)
    assert features.shape == (len(configs), len(space.feature_names))
    np.testing.assert_array_equal(features, space.features(space.encode_many(configs)))
    np.testing.assert_array_equal(features.sum(axis=1), [sum(space.active(config)) for config in configs])
    for (i, a), (j, b) in itertools.combinations(enumerate(configs), 2):
        same = space.canonical(a) == space.canonical(b)
        assert same == bool((features[i] == features[j]).all())
        assert same == (space.key(a) == space.key(b))
        assert same == (space.distance(a, b) == 0)


@settings(max_examples=60, deadline=None)
@given(spaces())
def test_size_and_enumeration_are_exact(space: SearchSpace) -> None:
    distinct = {space.key(config) for config in everything(space)}
    listed = [space.key(config) for config in space.enumerate()]
    assert space.size == len(distinct) == len(listed)
    assert set(listed) == distinct
    assert space.encodings == len(everything(space))


@settings(max_examples=40, deadline=None)
@given(spaces(), st.integers(1, 40), st.integers(0, 5))
def test_drawn_configurations_are_distinct_and_none_is_missed(space: SearchSpace, count: int, seed: int) -> None:
    excluded = {space.key(config) for config in itertools.islice(space.enumerate(), 3)}
    drawn = space.sample_many(count, seed, exclude=excluded)
    keys = [space.key(config) for config in drawn]
    assert len(set(keys)) == len(keys)
    assert not set(keys) & excluded
    assert len(keys) == min(count, space.size - len(excluded))
    assert drawn == space.sample_many(count, seed, exclude=excluded)


def test_drawing_finds_the_rare_half_of_a_lopsided_space() -> None:
    chain = [Choice("b0", (0, 1))] + [Choice(f"b{i}", (0, 1), {f"b{i - 1}": [1]}) for i in range(1, 60)]
    space = SearchSpace(chain)
    assert space.size == 61
    wide = SearchSpace([*chain[:30], *(Choice(f"w{i}", (0, 1), {"b29": [1]}) for i in range(20))])
    assert wide.size == 30 + 2**20
    assert len({wide.key(config) for config in wide.sample_many(500, 0)}) == 500


def test_ofa_space_has_the_published_size_and_grouped_form() -> None:
    space = ofa_space()
    assert space.size == 7371**5
    config = space.sample(3)
    grouped = space.group(config)
    assert set(grouped) == {"ks", "e", "d", "r"}
    assert [len(grouped[name]) for name in ("ks", "e", "d")] == [20, 20, 5]  # type: ignore[arg-type]
    assert space.expand(grouped) == config
    assert space.key(grouped) == space.key(config)
    with pytest.raises(SpaceError, match=r"20 values.*not 3"):
        space.validate({**grouped, "ks": [3, 5, 7]})
    with pytest.raises(SpaceError, match="given twice"):
        space.validate({**grouped, "ks4": 3})


def test_100k_configurations_go_through_arrays() -> None:
    space = ofa_space()
    options = [len(choice.options) for choice in space.choices]
    codes = np.random.default_rng(0).integers(0, options, (100_000, len(options)))
    canonical = space.canonical_codes(codes)
    np.testing.assert_array_equal(space.canonical_codes(canonical), canonical)
    np.testing.assert_array_equal(space.features_of_codes(codes), space.features_of_codes(canonical))
    assert space.encode(space.decode(codes[0])).tolist() == canonical[0].tolist()


def test_extremes_are_the_first_and_the_last_options() -> None:
    smallest, largest = ofa_space().extremes()
    assert {smallest["d0"], smallest["ks0"], largest["d4"], largest["ks19"]} == {2, 3, 4, 7}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"ks0": 4, "act": "relu", "d0": 1}, "ks0: 4 is not one of its options"),
        ({"ks0": True, "act": "relu", "d0": 1}, "ks0: True"),
        ({"ks0": 3.0, "act": "relu", "d0": 1}, "ks0: 3.0"),
        ({"ks0": 3, "d0": 1}, "lacks choice act"),
        ({"ks0": 3, "act": "relu", "d0": 2}, "lacks choice e1"),
        ({"ks0": 3, "act": "relu", "d0": 1, "depth": 2}, "no choice 'depth'"),
        ({"ks0": 3, "act": "relu", "d": 1}, "give a list of values, not 1"),
        (["ks0", 3], "maps choice names to values; got list"),
    ],
)
def test_a_configuration_outside_the_space_is_named(config: Any, message: str) -> None:
    space = SearchSpace(
        [
            Choice("ks0", (3, 5)),
            Choice("act", ("relu", "h_swish")),
            Choice("d0", (1, 2)),
            Choice("e1", (3, 4), {"d0": [2]}),
        ]
    )
    with pytest.raises(SpaceError) as caught:
        space.validate(config)
    assert message in caught.value.message
    assert caught.value.hint
    space.validate({"ks0": np.int64(3), "act": "relu", "d0": 1})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Choice("ks 0", (3,)), "'ks 0' is not valid"),
        (lambda: Choice("ks0", ()), "ks0: options are empty"),
        (lambda: Choice("ks0", (3, 3)), "repeat a value"),
        (lambda: Choice("ks0", (3, "5")), "mix kinds"),
        (lambda: Choice("ks0", (1.0, float("nan"))), "not a finite number"),
        (lambda: Choice("ks0", "357"), "must be a list"),
        (lambda: SearchSpace([]), "at least one choice"),
        (lambda: SearchSpace([Choice("a", (1,)), Choice("a", (2,))]), "the name a"),
        (lambda: SearchSpace([Choice("a", (1,), {"b": [1]})]), "needs 'b', which is no other choice"),
        (lambda: SearchSpace([Choice("a", (1,)), Choice("b", (1,), {"a": [2]})]), "b needs a = 2"),
        (lambda: SearchSpace([Choice("a", (1,), {"b": [1]}), Choice("b", (1,), {"a": [1]})]), "circle: a, b"),
    ],
)
def test_a_malformed_space_is_refused(build: Any, message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        build()
    assert message in caught.value.message


@settings(max_examples=40, deadline=None)
@given(spaces())
def test_toml_and_json_forms_give_the_same_space(tmp_path_factory: pytest.TempPathFactory, space: SearchSpace) -> None:
    path = tmp_path_factory.mktemp("space") / "space.toml"
    path.write_text(space.to_toml(), encoding="utf-8")
    for copy in (SearchSpace.from_toml(path), SearchSpace.from_dict(space.to_dict())):
        assert copy == space
        assert copy.hash == space.hash
        assert copy.name == space.name


def test_hash_is_the_same_on_every_computer_and_ignores_the_name() -> None:
    choices = [Choice("ks0", (3, 5, 7)), Choice("e0", (3, 4), {"ks0": [5]})]
    assert SearchSpace(choices).hash == SearchSpace(choices, "other").hash
    assert SearchSpace(choices).hash.startswith("7c20d12f")
    assert SearchSpace(choices).key({"ks0": 3, "e0": 4}) == "e38fa02775f12ba9"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("choices = [", "Cannot read the search space"),
        ("name = 'x'", "needs the list `choices`"),
        ("[[choices]]\nname = 'a'", r"choices\[0\] needs the fields"),
        ("[[choices]]\nname = 'a'\noptions = [1]\nneed = {}", "unknown field 'need'"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(SpaceError, match=message) as caught:
        SearchSpace.from_toml(path)
    assert "bad.toml" in caught.value.message
    with pytest.raises(SpaceError, match=r"absent\.toml"):
        SearchSpace.from_toml(tmp_path / "absent.toml")


def test_values_that_mean_the_same_are_accepted_and_become_the_option(tmp_path: Path) -> None:
    space = SearchSpace([Choice("w", (0, 2), same=((1, 0),)), Choice("k", (3, 5))], "aliases")
    assert space.canonical({"w": 1, "k": 3}) == {"w": 0, "k": 3}
    assert space.size == 4
    assert space.key({"w": 1, "k": 5}) == space.key({"w": 0, "k": 5})
    assert SearchSpace.from_dict(space.to_dict()) == space
    (tmp_path / "space.toml").write_text(space.to_toml())
    assert SearchSpace.from_toml(tmp_path / "space.toml") == space
    with pytest.raises(SpaceError, match="Choice w: 3"):
        space.validate({"w": 3, "k": 3})
    with pytest.raises(SpaceError, match="same names 7"):
        Choice("w", (0, 2), same=((1, 7),))
    with pytest.raises(SpaceError, match="repeat a value"):
        Choice("w", (0, 2), same=((2, 0),))
