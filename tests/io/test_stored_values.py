"""The declarations of a header are compared with the file before memory is allocated."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from petdiff.errors import InputRefused
from petdiff.io import read
from petdiff.io.labels import read_label_volume
from petdiff.io.stored_values import StoredValues, read_label_values, read_scan_values


def header(shape: tuple[int, int, int], dtype: type = np.float32) -> bytes:
    made = nib.Nifti1Header()
    made.set_data_shape(shape)
    made.set_data_dtype(dtype)
    made.set_sform(np.diag([2.0, 2, 2, 1]), code=1)
    made["vox_offset"] = 352
    return bytes(made.binaryblock) + bytes(4)


@pytest.mark.parametrize("shape", [(1290, 1290, 1290), (32767, 32767, 32767), (2000, 2000, 500)])
@pytest.mark.parametrize("packed", [True, False])
def test_a_small_file_that_declares_gigabytes(
    tmp_path: Path, shape: tuple[int, int, int], packed: bool
) -> None:
    content = header(shape)
    path = tmp_path / ("scan.nii.gz" if packed else "scan.nii")
    path.write_bytes(gzip.compress(content + bytes(1000)) if packed else content)
    for reader in (read, read_label_volume):
        with pytest.raises(InputRefused, match="declares"):
            reader(path)


@pytest.mark.parametrize(("slope", "intercept"), [(1, 3), (0.5, 0), (0.5, -2)])
def test_a_value_is_its_number_times_the_slope_plus_the_intercept(
    tmp_path: Path, slope: float, intercept: float
) -> None:
    numbers = (4 + 2 * np.arange(24, dtype="<i2")).reshape((2, 3, 4), order="F")
    path = tmp_path / "values"
    path.write_bytes(bytes(10) + numbers.tobytes(order="F"))
    stored = StoredValues(path, "values", 10, (2, 3, 4), numbers.dtype, slope, intercept)
    values, warnings = read_scan_values(stored)
    np.testing.assert_array_equal(values, numbers * slope + intercept)
    np.testing.assert_array_equal(read_label_values(stored), numbers * slope + intercept)
    assert warnings == []


def test_a_bomb_that_really_inflates_is_refused(tmp_path: Path) -> None:
    """70 million voxels of zeros in 68 KiB (a tenth of the size that would hurt)."""
    path = tmp_path / "scan.nii.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(header((700, 400, 250), np.uint8))
        for _ in range(250):
            file.write(bytes(700 * 400))
    with pytest.raises(InputRefused, match=r"no scan compresses so well.*gunzip"):
        read(path)
    # A mask of a few lesions is as empty as that, and no bomb at this size.
    assert read_label_volume(path).labels.shape == (700, 400, 250)


def test_memory_is_taken_as_values_come(tmp_path: Path) -> None:
    """A file that declares 60 million voxels and holds a thousand costs no 240 MiB."""
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(gzip.compress(header((600, 400, 250)) + bytes(4000)))
    code = (
        "from petdiff.errors import InputRefused\n"
        "from petdiff.records import PeakMemory\n"
        "import petdiff.io.nifti\n"
        "before = PeakMemory.now().main\n"
        "try:\n"
        f"    petdiff.io.read({str(path)!r})\n"
        "except InputRefused as problem:\n"
        "    assert 'truncated' in str(problem), problem\n"
        "    print(PeakMemory.now().main - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100 << 20


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64, ">i4"])
def test_large_files_are_read_in_pieces(
    tmp_path: Path, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("petdiff.io.stored_values._PIECE_BYTES", 1001)
    data = np.random.default_rng(0).integers(0, 100, (17, 13, 11)).astype(dtype)
    for suffix in (".nii", ".nii.gz"):
        nib.save(nib.Nifti1Image(data, np.diag([2.0, 2, 2, 1])), tmp_path / f"scan{suffix}")
        np.testing.assert_array_equal(read(tmp_path / f"scan{suffix}").values, data)
