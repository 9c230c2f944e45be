"""Data sets from every source, their splits, and the messages for bad ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgenas.data import Dataset, from_arrays, load_dataset
from edgenas.errors import DataError

RNG = np.random.default_rng(0)


def arrays(count: int = 40, classes: int = 2) -> dict[str, Any]:
    return {"images": RNG.integers(0, 255, (count, 6, 6), dtype=np.uint8), "labels": np.arange(count) % classes}


def test_digits_are_split_evenly_and_always_the_same() -> None:
    digits = load_dataset("digits")
    assert {split: digits.size(split) for split in digits.images} == {"train": 1079, "valid": 359, "test": 359}
    assert digits.fingerprint == load_dataset("digits").fingerprint == "4b3fd5dc97145653"
    for split in ("valid", "test"):
        counts = np.bincount(digits.labels[split], minlength=10)
        assert counts.min() >= 34
        assert counts.max() <= 37
    images, labels = digits.batch("train", range(digits.size("train")), 8)
    assert images.shape == (1079, 1, 8, 8)
    assert images.dtype == torch.float32
    assert abs(float(images.mean())) < 1e-4
    assert abs(float(images.std()) - 1) < 1e-3
    assert labels.dtype == torch.int64
    seen = {
        tuple(image.flatten().tolist()) for split in digits.images for image in digits.batch(split, range(359), 8)[0]
    }
    assert len(seen) == 3 * 359, "no image is in two splits"


def test_batches_cover_a_split_in_order_and_a_limit_samples_all_of_it() -> None:
    digits = load_dataset("digits")
    whole = torch.cat([labels for _, labels in digits.batches("valid", 8, 100)])
    assert whole.tolist() == digits.labels["valid"].tolist()
    ordered = from_arrays("ordered", {"images": np.zeros((100, 4, 4)), "labels": np.repeat(np.arange(10), 10)})
    some = [labels for _, labels in ordered.batches("train", 4, 8, limit=20)]
    assert [len(labels) for labels in some] == [8, 8, 4]
    assert len(set(torch.cat(some).tolist())) >= 7
    assert digits.batch("test", [3], 20)[0].shape == (1, 1, 20, 20)
    with pytest.raises(DataError, match="no split 'dev'"):
        digits.size("dev")


def test_npz_files_with_and_without_splits(tmp_path: Path) -> None:
    np.savez(tmp_path / "plain.npz", **arrays())
    plain = load_dataset(str(tmp_path / "plain.npz"))
    assert [plain.size(split) for split in ("train", "valid", "test")] == [24, 8, 8]
    colour = np.zeros((10, 5, 7, 3), dtype=np.uint8)
    labels = np.arange(10) % 2
    np.savez(
        tmp_path / "split.npz",
        train_images=colour,
        train_labels=labels,
        valid_images=colour[:4],
        valid_labels=labels[:4],
        test_images=colour[:2],
        test_labels=labels[:2],
    )
    split = load_dataset(str(tmp_path / "split.npz"))
    assert [split.size(name) for name in ("train", "valid", "test")] == [10, 4, 2]
    assert split.batch("test", [0], 6)[0].shape == (1, 3, 6, 6)


def test_image_folders(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for split, count in (("train", 10), ("val", 3)):
        for label, name in enumerate(("cat", "dog")):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                image.fromarray(np.full((12, 16, 3), 40 + 100 * label, dtype=np.uint8)).save(folder / f"{i}.png")
    data = load_dataset(str(tmp_path))
    assert [data.size(split) for split in ("train", "valid", "test")] == [16, 6, 4]
    images, labels = data.batch("valid", [0, 5], 8)
    assert images.shape == (2, 3, 8, 8)
    assert labels.tolist() == [0, 1]
    torch.testing.assert_close(images[1, 0, 4, 4], torch.tensor((140 / 255 - 0.485) / 0.229))
    flat = load_dataset(str(tmp_path / "train"))
    assert [flat.size(split) for split in ("train", "valid", "test")] == [12, 4, 4]
    (tmp_path / "train" / "cat" / "0.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"0\.png"):
        list(load_dataset(str(tmp_path)).batches("train", 8, 64))
    (tmp_path / "val" / "bird").mkdir()
    with pytest.raises(DataError, match="same class folders"):
        load_dataset(str(tmp_path))


def test_a_function_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_images.py").write_text(
        "import numpy as np\n"
        "def pair(): return np.zeros((20, 4, 4), np.float32), np.arange(20) % 2\n"
        "def broken(): raise OSError('camera is off')\n"
        "def number(): return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    data = load_dataset("my_images:pair")
    assert isinstance(data, Dataset)
    assert data.name == "my_images:pair"
    for function, message in (
        ("broken", "camera is off"),
        ("number", "returned int"),
        ("absent", "no attribute 'absent'"),
    ):
        with pytest.raises(DataError, match=message):
            load_dataset(f"my_images:{function}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": None}, "'train_labels' is missing"),
        ({"labels": np.zeros(3, int)}, "40 whole numbers from 0 up; it has shape"),
        ({"labels": np.zeros(40)}, "whole numbers"),
        ({"labels": np.zeros(40, int)}, "at least two classes"),
        ({"labels": np.arange(40) % 2 * 2}, "images of every class"),
        ({"labels": np.arange(40) % 20}, "too few images to cut the split"),
        ({"images": np.zeros((40, 2, 6, 6))}, r"has shape \(40, 2, 6, 6\)"),
        ({"images": np.full((40, 6, 6), np.inf)}, "not finite"),
        ({"images": np.array(["a"] * 40)[:, None, None]}, "must be numbers"),
        ({"classes": 2}, "unknown array 'classes'"),
        ({"valid_images": np.zeros((4, 6, 6))}, "'valid_labels' is missing"),
        ({"valid_images": np.zeros((4, 6, 6)), "valid_labels": np.full(4, 7)}, "label 7, which train does not have"),
    ],
)
def test_malformed_arrays_are_named(change: dict[str, Any], message: str) -> None:
    given = {key: value for key, value in {**arrays(), **change}.items() if value is not None}
    with pytest.raises(DataError, match=message):
        from_arrays("mine.npz", given)


def test_what_is_no_data_set_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"no zip")
    np.savez(tmp_path / "objects.npz", images=np.array([{}], dtype=object), labels=np.zeros(1, int))
    for source, message in (
        (tmp_path / "bad.npz", r"bad\.npz"),
        (tmp_path / "objects.npz", r"objects\.npz"),
        (tmp_path, "at least two classes"),
        ("mnist", "no data set 'mnist'"),
        ("absent_module:function", "absent_module"),
    ):
        with pytest.raises(DataError, match=message):
            load_dataset(str(source))
