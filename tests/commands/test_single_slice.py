"""One slice of a scan, as public test sets hold it: read, denoised and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from petdiff.cli import run
from petdiff.io import read
from support.dicom_factory import pet_slices, save, tracer
from support.model_files import fresh_model_file

SLOPE = 7.3
BODY = np.s_[12:-12, 12:-12, 0]


def truth() -> NDArray[np.float64]:
    rate = np.full((1, 64, 72), 2.0)
    rate[:, 8:-8, 8:-8] = 300
    return rate


def one_slice(dtype: Any, **attributes: Any) -> list[Dataset]:
    """A slice whose header says that there are 109 of them."""
    pixels = np.random.default_rng(0).poisson(truth()).astype(dtype)
    return pet_slices(pixels, slopes=[SLOPE], NumberOfSlices=109, **attributes)


def without_dose(k: int, ds: Dataset) -> None:
    for keyword in ("RadionuclideTotalDose", "RadionuclideHalfLife"):
        delattr(tracer(ds), keyword)


def rms(values: NDArray[Any]) -> float:
    return float(np.sqrt(np.square(values).mean()))


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, JPEGLSLossless, JPEG2000Lossless, RLELossless]
)
@pytest.mark.parametrize("dtype", [np.int16, np.uint16])
def test_a_slice_in_any_compression_is_denoised_in_its_own_unit(
    tmp_path: Path, syntax: UID, dtype: Any
) -> None:
    slices = one_slice(dtype, PatientWeight=None, edit=without_dose)
    stored = slices[0].pixel_array[..., None].transpose(1, 0, 2) * SLOPE
    if syntax.is_compressed:
        if not get_decoder(syntax).is_available:
            pytest.skip(f"no decoder for {syntax.name}: pip install 'petdiff[dicom]'")
        slices[0].compress(syntax, generate_instance_uid=False)
    file = save(slices, tmp_path / "scan") / "03.dcm"
    image = read(file)
    assert (image.shape, image.unit_name) == ((72, 64, 1), "Bq/ml")
    np.testing.assert_allclose(image.values, stored, rtol=1e-6)
    out = tmp_path / "out"
    assert run(["denoise", str(file), "-o", str(out), "--quiet"]) == 0
    denoised = read(out / "denoised")
    clean = truth()[0].T[..., None] * SLOPE
    error, before = rms((denoised.values - clean)[BODY]), rms((image.values - clean)[BODY])
    assert error < 0.8 * before
    # Scans of four slices and more keep it to 0.3 %; one slice has no neighbours to share it with.
    assert denoised.values[BODY].mean() == pytest.approx(image.values[BODY].mean(), rel=0.03)


def test_a_slice_that_is_not_attenuation_corrected_is_denoised(tmp_path: Path) -> None:
    slices = one_slice(np.int16, CorrectedImage=["NORM", "DTIM"], DecayCorrection="NONE")
    file = save(slices, tmp_path / "scan") / "03.dcm"
    assert run(["denoise", str(file), "-o", str(tmp_path / "out"), "--quiet"]) == 0
    assert "not attenuation corrected" in read(tmp_path / "out" / "denoised").no_suv_reason


def test_a_model_on_suv_takes_a_slice_that_has_it(tmp_path: Path) -> None:
    file = save(one_slice(np.int16), tmp_path / "scan") / "03.dcm"
    out, model = tmp_path / "out", str(fresh_model_file(tmp_path, "logunet"))
    assert run(["denoise", str(file), "-o", str(out), "--quiet", "--model", model]) == 0
    assert read(out / "denoised").in_suv
