"""Artifacts without weights: the same bytes everywhere, ordinary numbers in the gaps, and no harm from any recipe."""

from __future__ import annotations

import contextlib
import hashlib
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from edgenas_agent import filling
from edgenas_agent.filling import MAGIC, Range, RecipeError, fill, write_recipe
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.agent.client import FAULTY, QUICK, Agent
from tests.agent.test_bundle import pythons

LIMIT = 1 << 30
VIEWS = {"float32": "<f4", "float16": "<f2", "float64": "<f8", "int8": "<i1", "uint8": "<u1", "int32": "<i4"}
DATA = bytes(range(256)) * 40
RANGES = [
    Range(3, 4000, "float32", -5),
    Range(4003, 400, "float32", 2, True),
    Range(4500, 2, "float16", -3),
    Range(5001, 801, "int8"),
    Range(6000, 80, "float64", 100),
    Range(7000, 81, "uint8"),
    Range(8000, 240, "int32"),
    Range(9000, 60, "bfloat16", -126),
]


def filled(recipe: bytes, limit: int = LIMIT) -> bytes:
    return b"".join(fill(recipe, limit))


def recipe(size: int, table: list[tuple[int, int, int, int]], kept: bytes, count: int | None = None) -> bytes:
    """A recipe that says anything at all."""
    head = struct.pack("<I", len(table) if count is None else count)
    content = head + b"".join(struct.pack("<IIBb", *entry) for entry in table) + kept
    return MAGIC + struct.pack("<Q", size) + zlib.compress(content)


@st.composite
def files(draw: st.DrawFn) -> tuple[bytes, list[Range]]:
    ranges, position = [], 0
    for _ in range(draw(st.integers(0, 12))):
        kind = draw(st.sampled_from(filling.TYPES))
        low, high = filling.exponents(kind)
        position += draw(st.integers(0, 40))
        length = draw(st.integers(1, 60)) * filling.item_bytes(kind)
        positive = kind not in ("int8", "uint8", "int32") and draw(st.booleans())
        ranges.append(Range(position, length, kind, draw(st.integers(low, high)), positive))
        position += length
    size = position + draw(st.integers(0, 40))
    return draw(st.binary(min_size=size, max_size=size)), ranges


@given(files())
@settings(max_examples=150, deadline=None)
def test_what_is_kept_comes_back_and_what_is_filled_is_of_the_size_that_was_asked_for(file):
    data, ranges = file
    result = filled(write_recipe(data, ranges))
    assert len(result) == len(data)
    end = 0
    for part in ranges:
        assert result[end : part.offset] == data[end : part.offset]
        end = part.offset + part.length
        piece = result[part.offset : end]
        if part.type in ("float32", "float16", "float64"):
            values = np.frombuffer(piece, VIEWS[part.type]).astype(np.float64)
            assert (np.abs(values) >= 2.0**part.exponent).all()
            assert (np.abs(values) < 2.0 ** (part.exponent + 1)).all()
            assert not part.positive or (values > 0).all()
        elif part.type == "bfloat16":
            wide = np.frombuffer(piece, "<u2").astype(np.uint32) << 16
            assert (np.floor(np.log2(np.abs(wide.view(np.float32)).astype(np.float64))) == part.exponent).all()
        else:
            whole = np.frombuffer(piece, VIEWS[part.type]).astype(np.int64) - (128 if part.type == "uint8" else 0)
            assert set(np.unique(np.abs(whole))) <= set(range(1, 65))
    assert result[end:] == data[end:]


def test_numbers_are_ordinary_random_ones():
    values = np.frombuffer(filled(write_recipe(bytes(2_000_000), [Range(0, 2_000_000, "float32", -4)])), "<f4")
    assert len(np.unique(values)) > 120_000  # the pool is repeated
    assert abs(float(values.mean())) < 0.001
    assert float(values.std()) == pytest.approx((7 / 3) ** 0.5 / 16, rel=0.005)
    signs = np.sign(values)
    assert abs(float((signs[1:] * signs[:-1]).mean())) < 0.01


def test_the_bytes_are_those_of_version_1():
    """Hosts and agents of different releases must agree; a change takes another version in ``MAGIC``."""
    found = hashlib.sha256(filled(write_recipe(DATA, RANGES))).hexdigest()
    assert found == "b9d8bb3c1cf0ebc29d22824f4fae71d1c0c051f0d13d503046725f23a5027306"


@pytest.mark.parametrize(
    "ranges",
    [
        [Range(0, 8, "float32", 0), Range(4, 8, "float32", 0)],
        [Range(8, 8, "float32", 0), Range(0, 8, "float32", 0)],
        [Range(-4, 8, "float32", 0)],
        [Range(0, len(DATA) + 4, "float32", 0)],
        [Range(0, 6, "float32", 0)],
        [Range(0, 0, "float32", 0)],
        [Range(0, 8, "float32", -127)],
        [Range(0, 8, "float32", 128)],
        [Range(0, 8, "float16", 16)],
        [Range(0, 8, "float64", 128)],
        [Range(0, 8, "int8", 1)],
        [Range(0, 8, "int8", 0, True)],
        [Range(0, 8, "int64", 0)],
        [Range(4 * i, 4, "float32", i) for i in range(filling.MAX_PATTERNS + 1)],
    ],
)
def test_a_range_that_cannot_be_is_not_written(ranges):
    with pytest.raises(RecipeError):
        write_recipe(DATA, ranges)


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"PK\x03\x04" + bytes(100),
        MAGIC,
        MAGIC[:-1] + b"\x02" + struct.pack("<Q", 0) + zlib.compress(bytes(4)),
        MAGIC + struct.pack("<Q", 0) + b"not zlib at all",
        recipe(16, [(0, 20, 0, 0)], b""),
        recipe(16, [(2**32 - 1, 2**32 - 4, 0, 0)], b""),
        recipe(16, [(0, 8, 0, 0), (2**32 - 8, 8, 0, 0)], b""),
        recipe(16, [(0, 8, 7, 0)], b"12345678"),
        recipe(16, [(0, 8, 0, -127)], b"12345678"),
        recipe(16, [(0, 8, 0x84, 0)], b"12345678"),
        recipe(16, [(0, 8, 0, 0)], b"1234567"),
        recipe(16, [(0, 8, 0, 0)], b"123456789"),
        recipe(16, [(0, 8, 0, 0)], b"12345678") + b"more",
        recipe(16, [(0, 8, 0, 0)], b"12345678")[:-1],
        recipe(16, [(0, 8, 0, 0)], b"12345678", count=2),
        recipe(16, [(0, 8, 0, 0)], b"12345678", count=2**32 - 1),
        recipe(2**64 - 1, [], b""),
        recipe(LIMIT + 1, [], b""),
        recipe(10**6, [(0, 4, 0, i % 100) for i in range(70)], bytes(10**6 - 280)),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(wrong):
    with pytest.raises(RecipeError):
        filled(wrong)


@given(st.integers(0, 10**6), st.integers(0, 255), st.integers(0, 10**6))
@settings(max_examples=150, deadline=None)
def test_a_bent_recipe_gives_the_typed_error_or_a_file_of_its_size(place, value, cut):
    good = write_recipe(DATA, RANGES)
    bent = bytearray(good)
    bent[place % len(bent)] = value
    for changed in (bytes(bent), good[: cut % len(good)]):
        with contextlib.suppress(RecipeError):
            assert len(filled(changed, 1 << 20)) <= 1 << 20


def test_a_recipe_that_swells_takes_no_memory():
    swollen = recipe(8, [], bytes(1 << 26))
    endless = recipe(LIMIT, [(0, LIMIT - 4, 0, 0)], b"1234")
    tracemalloc.start()
    try:
        with pytest.raises(RecipeError):
            filled(swollen)
        for _, _piece in zip(range(200), fill(endless, LIMIT), strict=False):
            pass
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    with Agent(tmp_path_factory.mktemp("board")) as running:
        yield running


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.13"])
def test_a_board_with_another_python_fills_in_the_same_bytes(tmp_path, version):
    found = pythons(version)
    if not found:
        pytest.skip(f"python{version} is not here")
    made = write_recipe(DATA, RANGES)
    data = filled(made)
    sha256 = hashlib.sha256(data).hexdigest()
    with Agent(tmp_path, python=found[0]) as agent:
        assert agent.hello["python"].startswith(version)
        assert agent.result("fill", made, sha256=sha256, suffix=".onnx", size=len(data))["sha256"] == sha256
        assert (agent.root / "cache" / f"{sha256}.onnx").read_bytes() == data
        assert agent.result("has", sha256=[sha256])["missing"] == []
        assert agent.temporary() == []


def test_what_is_not_the_announced_file_is_not_kept(agent):
    made = write_recipe(DATA, RANGES)
    sha256 = hashlib.sha256(filled(made)).hexdigest()
    good = {"sha256": sha256, "suffix": ".onnx", "size": len(DATA)}
    for body, fields, kind in [
        (made, {"sha256": "0" * 64}, "digest_mismatch"),
        (made, {"size": len(DATA) + 1}, "digest_mismatch"),
        (made, {"size": len(DATA) - 1}, "bad_request"),
        (made, {"size": 2**62}, "bad_request"),
        (made, {"size": -1}, "bad_request"),
        (made, {"sha256": "../../../etc/passwd"}, "bad_request"),
        (made, {"suffix": "/../x"}, "bad_request"),
        (made[:-4], {}, "bad_request"),
        (b"", {}, "bad_request"),
        (recipe(len(DATA), [(0, 2**31, 0, 0)], b""), {}, "bad_request"),
        (recipe(len(DATA), [], bytes(len(DATA))), {}, "digest_mismatch"),
    ]:
        assert agent.error("fill", body, **{**good, **fields})["kind"] == kind
    assert agent.result("has", sha256=[sha256])["missing"] == [sha256]
    assert agent.temporary() == []


def test_a_host_can_cancel_a_long_filling(agent):
    size = 1 << 29
    number = agent.send("fill", recipe(size, [(0, size, 0, 0)], b""), sha256="0" * 64, suffix=".onnx", size=size)
    cancel = agent.send("cancel")
    replies = {frame.header["id"]: frame.header for frame in (agent.next(), agent.next())}
    assert replies[cancel]["ok"]
    assert replies[number]["error"]["kind"] == "cancelled"
    assert agent.temporary() == []


def test_an_upload_goes_on_around_a_filling(agent):
    data = b"an upload in two pieces"
    pieces = agent.upload(data, chunk=12)
    number = next(pieces)
    made = write_recipe(DATA, RANGES[:2])
    agent.result("fill", made, sha256=hashlib.sha256(filled(made)).hexdigest(), suffix=".onnx", size=len(DATA))
    agent._number = number
    assert list(pieces) == [number]
    assert agent.reply(number).header["sha256"] == hashlib.sha256(data).hexdigest()


def test_the_agent_stays_small(agent):
    size = 64 << 20
    made = recipe(size, [(0, size // 16, kind, 0) for kind in range(7) for _ in (0, 1)], bytes(size // 8))
    sha256 = hashlib.sha256(filled(made)).hexdigest()
    agent.result("fill", made, sha256=sha256, suffix=".onnx", size=size)
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    peak_kb = int(status.partition("VmHWM:")[2].split()[0])
    assert peak_kb < 40 * 1024


def test_a_waiting_recipe_is_filled_in_before_the_job_in_front_of_it_is_answered(tmp_path):
    """The worker of the job loads meanwhile; while it times, nothing is done."""
    data = bytes(3_000_000)
    recipe = filling.write_recipe(data, [filling.Range(0, 2_000_000, "float32", 0, False)])
    filled = b"".join(filling.fill(recipe, len(data)))
    sha256 = hashlib.sha256(filled).hexdigest()
    spec = [{"name": "x", "dtype": "float32", "shape": [1, 2]}]
    asked = {"suffix": ".faulty", "runtime": "faulty", "deadline_s": 60, "protocol": QUICK, "inputs": spec}
    with Agent(tmp_path, *FAULTY) as agent:
        artifact = agent.put(b"run slow", ".faulty")
        first = agent.send("measure", bytes(8), artifact=artifact, **asked)
        second = agent.send("measure", bytes(8), artifact=artifact, **asked)
        waiting = agent.send("fill", recipe, sha256=sha256, size=len(data), suffix=".onnx")
        wrong = agent.send("fill", b"no recipe", sha256="0" * 64, size=10, suffix=".onnx")
        order = []
        while len(order) < 4:
            header = agent.next().header
            if header.get("event") != "progress":
                order.append(header)
        assert [header["id"] for header in order] == [first, waiting, second, wrong]
        assert [header["ok"] for header in order] == [True, True, True, False]
        assert agent.result("has", sha256=[sha256])["missing"] == []
