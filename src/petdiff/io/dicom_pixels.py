"""Read the values of DICOM slices in their stored unit.

The sizes in the header are compared with the file before memory is allocated.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import RLELossless

from petdiff.errors import InputRefused
from petdiff.io.codestream import codestream_size
from petdiff.io.dicom_facts import number_or_none
from petdiff.io.dicom_file import DamagedFile, DicomFile, lenient_pydicom, read_file, refusing

# Decoders that the extra `dicom` installs; the others have licences that prevent this.
_BY_EXTRA = ("JPEG 2000", "JPEG-LS", "High-Throughput")
_MAX_PIXELS = 1 << 24  # of one slice; PET has 880 × 880 at most


class PixelReader:
    """Reads the values of slices, and keeps the last multi-frame file in memory.

    padded  number of pixels that were no part of an image, and were taken as air
    """

    def __init__(self) -> None:
        self._cached: tuple[DicomFile, Dataset] | None = None
        self.padded = 0

    def values(self, file: DicomFile, header: Dataset, frame: int | None) -> NDArray[np.float64]:
        """Return a slice's values in its stored unit, float64 [row, column].

        header  the slice's attributes, of which RescaleSlope and RescaleIntercept are used
        frame   index of the slice within a multi-frame file; None for a file of one slice

        Padding below 0 is taken as air (0). Padding above is not: a wrong PixelPaddingValue may be
        the number of the hottest pixel.

        Raises InputRefused for values that are not finite and pixels that cannot be decoded.
        """
        name = file.entry.name if frame is None else f"{file.entry.name}, frame {frame + 1}"
        dataset = self._dataset(file, keep=frame is not None)
        with lenient_pydicom(), refusing(f"{name}: PixelData (7FE0,0010) cannot be decoded"):
            slope = _scale(name, header, "RescaleSlope", None)
            intercept = _scale(name, header, "RescaleIntercept", 0.0)
            pixels = _pixels(name, dataset, frame)
        if slope == 0 and pixels.any():
            raise InputRefused(f"{name}: RescaleSlope (0028,1053) is 0, and its pixels are not")
        values = pixels.astype(np.float64) * slope + intercept
        padding = _padding(dataset, pixels)
        if padding is not None:
            air = padding & (values < 0)
            self.padded += int(air.sum())
            values[air] = 0
        if not np.isfinite(values).all():
            raise InputRefused(f"{name} holds NaN or infinite values, which no scan has")
        return values

    def _dataset(self, file: DicomFile, *, keep: bool) -> Dataset:
        if self._cached is not None and self._cached[0] is file:
            return self._cached[1]
        self._cached = None
        dataset = _with_pixels(file)
        if keep:
            self._cached = file, dataset
        return dataset


def _with_pixels(file: DicomFile) -> Dataset:
    read = read_file(file.entry, pixels=True)
    if read is None or "PixelData" not in read.dataset:
        raise DamagedFile(f"{file.entry.name} has no PixelData (7FE0,0010): truncated?")
    return read.dataset


def same_pixels(first: DicomFile, second: DicomFile) -> bool:
    """Return whether two files of the same format have the same values."""
    if int(number_or_none(first.dataset, "NumberOfFrames") or 1) > 1:
        return bool(_with_pixels(first).PixelData == _with_pixels(second).PixelData)
    one, other = (PixelReader().values(file, file.dataset, None) for file in (first, second))
    return np.array_equal(one, other)


def _scale(name: str, header: Dataset, keyword: str, otherwise: float | None) -> float:
    value = header.get(keyword)
    number = otherwise if value is None else number_or_none(header, keyword)
    if number is None:
        found = "absent" if value is None else f"{value!r}, not a number"
        raise InputRefused(f"{name}: {keyword} is {found}")
    return number


def _pixels(name: str, dataset: Dataset, frame: int | None) -> NDArray[np.number]:
    """Return the pixels as stored [row, column]."""
    count = 1 if frame is None else int(dataset.NumberOfFrames)
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_compressed and dataset["PixelData"].is_undefined_length:
        raise InputRefused(
            f"{name}: PixelData (7FE0,0010) is compressed, and no file header with "
            "TransferSyntaxUID (0002,0010) says how: get it again with its header"
        )
    _require_planes(name, dataset, count)
    if syntax.is_compressed:
        if not get_decoder(syntax).is_available:
            raise InputRefused(_no_decoder(name, syntax.name))
        _require_size(name, dataset, frame or 0, count)
    # pylibjpeg-rle is faster, but prints a trace to stderr for damaged data.
    plugin = "pydicom" if syntax == RLELossless else ""
    pixels = pixel_array(dataset, index=frame, decoding_plugin=plugin)
    if pixels.shape != (dataset.Rows, dataset.Columns):
        raise DamagedFile(f"{name}: PixelData (7FE0,0010) holds {pixels.shape} pixels")
    return pixels


def _padding(dataset: Dataset, pixels: NDArray[np.number]) -> NDArray[np.bool_] | None:
    """Return the pixels that are no part of the image; None without PixelPaddingValue."""
    first = number_or_none(dataset, "PixelPaddingValue")
    if first is None:
        return None
    last = number_or_none(dataset, "PixelPaddingRangeLimit")
    bounds = [first, first if last is None else last]
    if pixels.dtype.kind == "i":  # some files state them as unsigned numbers
        bits = 8 * pixels.dtype.itemsize
        bounds = [value - (1 << bits) if value >= 1 << (bits - 1) else value for value in bounds]
    return (pixels >= min(bounds)) & (pixels <= max(bounds))


def _require_planes(name: str, dataset: Dataset, count: int) -> None:
    """Raise InputRefused unless the file declares and contains `count` planes of numbers."""
    samples = number_or_none(dataset, "SamplesPerPixel")
    if samples not in (None, 1):
        raise InputRefused(
            f"{name}: SamplesPerPixel (0028,0002) is {samples:g}: a colour picture, no PET slice"
        )
    photometric = str(dataset.get("PhotometricInterpretation"))
    if not photometric.startswith("MONOCHROME"):
        raise InputRefused(
            f"{name}: PhotometricInterpretation (0028,0004) is {photometric!r}, not MONOCHROME"
        )
    rows, columns, bits = (
        int(number_or_none(dataset, keyword) or 0)
        for keyword in ("Rows", "Columns", "BitsAllocated")
    )
    declared, size = count * rows * columns * bits // 8, len(dataset.PixelData)
    if not 0 < rows * columns <= _MAX_PIXELS:
        raise InputRefused(f"{name}: Rows × Columns is {rows} × {columns}, which no slice has")
    if not dataset.file_meta.TransferSyntaxUID.is_compressed and size < declared:
        planes = f"{count} frames of " if count > 1 else ""
        raise DamagedFile(
            f"{name}: PixelData (7FE0,0010) has {size} bytes, and {planes}{rows} × {columns} "
            f"pixels of {bits} bits take {declared}: truncated?"
        )


def _require_size(name: str, dataset: Dataset, frame: int, count: int) -> None:
    """Raise InputRefused if a compressed image has another size than the header."""
    size = codestream_size(get_frame(dataset.PixelData, frame, number_of_frames=count))
    if size not in (None, (dataset.Rows, dataset.Columns)):
        raise DamagedFile(
            f"{name}: PixelData (7FE0,0010) holds a picture of {size}, and Rows × Columns is "
            f"{dataset.Rows} × {dataset.Columns}"
        )


def _no_decoder(name: str, syntax: str) -> str:
    remedy = (
        "pip install 'petdiff[dicom]'"
        if syntax.startswith(_BY_EXTRA)
        else "unpack the files with dcmtk's dcmdjpeg or gdcmconv --raw"
    )
    return f"{name} is compressed by {syntax} (0002,0010): {remedy}"
