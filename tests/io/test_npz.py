"""The published .npz: one array of numbers, read piece by piece; anything else is refused."""

from __future__ import annotations

import io
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from petdiff.errors import InputRefused
from petdiff.io import read, write
from petdiff.io.npz import FULL, holds_pair, read_npz


def values(shape: tuple[int, ...] = (5, 4, 3)) -> np.ndarray:
    return np.random.default_rng(0).normal(1, 2, shape).astype(np.float32)


def member(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("arr_0.npy", content)
    return path


def declaring(shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    buffer = io.BytesIO()
    described = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, described)
    return buffer.getvalue()


def test_suv_on_an_assumed_grid(tmp_path: Path) -> None:
    np.savez(tmp_path / "scan.npz", values().astype(np.float64))
    image = read(tmp_path / "scan.npz")
    np.testing.assert_array_equal(image.values, values())
    assert image.spacing_mm == pytest.approx((1.65, 1.65, 1.65))
    assert "assumed" in image.facts["warnings"][0]
    write(replace(image), tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(read(tmp_path / "out.nii.gz").values, values())


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<i2", "<f8", "|u1"])
@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_any_layout_in_any_piece(
    tmp_path: Path, dtype: str, fortran: bool, save: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("petdiff.io.npz._PIECE_BYTES", 37)
    pair = (10 + 9 * values((2, 5, 4, 3))).clip(0, 200).astype(dtype)
    save(tmp_path / "pair.npz", np.asfortranarray(pair) if fortran else pair)
    assert holds_pair(tmp_path / "pair.npz")
    np.testing.assert_array_equal(read(tmp_path / "pair.npz").values, pair[0])
    full = read_npz(tmp_path / "pair.npz", None, None, FULL).scan()
    np.testing.assert_array_equal(full.values, pair[1])
    assert full.values.flags.c_contiguous
    assert full.values.flags.writeable


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ({"other": np.ones((2, 2, 2))}, "other, not arr_0"),
        ({}, "nothing, not arr_0"),
        ({"arr_0": np.ones((2, 2))}, "3-D"),
        ({"arr_0": np.ones((2, 2, 0))}, "3-D"),
        ({"arr_0": np.array([[["a"]]])}, "numbers"),
        ({"arr_0": np.array([[[{}]]])}, "could run code"),  # objects would be unpickled
        ({"arr_0": np.full((2, 2, 2), np.nan)}, "NaN"),
        ({"arr_0": np.ones((2, 2, 2), np.complex64)}, "numbers"),
    ],
)
def test_something_else_is_refused(tmp_path: Path, arrays: Any, named: str) -> None:
    np.savez(tmp_path / "scan.npz", **arrays)
    with pytest.raises(InputRefused, match=named):
        read(tmp_path / "scan.npz")


@pytest.mark.parametrize(
    "content",
    [
        declaring((1290, 1290, 1290)) + bytes(400),
        declaring((100, 100, 100)) + bytes(400),
        declaring((10, 10, 1)) + bytes(399),
        declaring((10, 10, 1)) + bytes(401),
        declaring((-5, -5, -5)) + bytes(500),
        declaring((10, 10, 1), "<f4").replace(b"<f4", b"<zz") + bytes(400),
        declaring((10, 10, 1), "<f4").replace(b"'shape'", b"((((((("),
        b"\x93NUMPY\x01\x00",
        b"\x93NUMPY\x09\x00" + bytes(100),
        b"",
        bytes(200),
    ],
)
def test_damaged_members_are_refused(tmp_path: Path, content: bytes) -> None:
    path = member(tmp_path / "scan.npz", content)
    with pytest.raises(InputRefused, match=r"scan\.npz"):
        read(path)
    with suppress(InputRefused):  # it looks at the header alone
        assert not holds_pair(path)


def test_damage_anywhere_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "whole.npz", values((9, 8, 7)))
    content = (tmp_path / "whole.npz").read_bytes()
    path = tmp_path / "scan.npz"
    for position in range(0, len(content) - 30, 23):
        path.write_bytes(content[:position] + b"\xff\x00\x7f" + content[position + 3 :])
        with suppress(InputRefused):
            np.testing.assert_array_equal(read(path).values, values((9, 8, 7)))
    for length in range(0, len(content), 41):
        path.write_bytes(content[:length])
        with pytest.raises(InputRefused, match=r"scan\.npz"):
            read(path)
