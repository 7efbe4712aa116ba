"""DICOM masks: segmentations that highdicom wrote, contours of circles, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.datadict import tag_for_keyword
from scipy.spatial.transform import Rotation

from petdiff.errors import InputRefused, UsageError
from petdiff.image import PETImage
from petdiff.io import read_static
from petdiff.measurement.files import read_regions
from support.dicom_factory import pet_slices, save
from support.dicom_masks import write_contours, write_segmentation

AXIAL, SAGITTAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = (0.96, 0.28, 0.0, -0.168, 0.576, 0.8)


@pytest.fixture(
    scope="module", params=[AXIAL, SAGITTAL, OBLIQUE], ids=["axial", "sagittal", "oblique"]
)
def slices(request: pytest.FixtureRequest) -> list[Dataset]:
    pixels = np.random.default_rng(1).integers(0, 3000, (12, 26, 28), dtype=np.int16)
    return pet_slices(pixels, orientation=request.param)


@pytest.fixture(scope="module")
def scan(slices: list[Dataset], tmp_path_factory: pytest.TempPathFactory) -> PETImage:
    return read_static(save(slices, tmp_path_factory.mktemp("PT")))


def masks() -> dict[str, np.ndarray]:
    """Two masks [slice, row, column] that overlap."""
    both = np.zeros((2, 12, 26, 28), bool)
    both[0, 2:5, 3:9, 10:12] = True
    both[1, 4:8, 5:10, 9:14] = True
    return {"tumour": both[0], "my liver": both[1]}


def placed(region: object, scan: PETImage) -> np.ndarray:
    whole = np.zeros(scan.shape)
    whole[region.mask.box] = region.mask.weights  # type: ignore[attr-defined]
    return whole


def thirds(scan: PETImage) -> PETImage:
    """Return the scan with each voxel divided in three along each axis."""
    return PETImage(
        scan.values.repeat(3, 0).repeat(3, 1).repeat(3, 2),
        scan.affine
        @ [[1 / 3, 0, 0, -1 / 3], [0, 1 / 3, 0, -1 / 3], [0, 0, 1 / 3, -1 / 3], [0, 0, 0, 1]],
    )


def test_segments_lie_where_highdicom_put_them(
    slices: list[Dataset], scan: PETImage, tmp_path: Path
) -> None:
    path = write_segmentation(tmp_path / "seg.dcm", slices, masks(), organs=["my liver"])
    regions = read_regions(path, scan)
    assert [(one.name, one.kind) for one in regions] == [
        ("tumour", "lesion"),
        ("my liver", "organ"),
    ]
    rescaled = np.stack([one.pixel_array * float(one.RescaleSlope) for one in slices])
    for one, mask in zip(regions, masks().values(), strict=True):
        assert one.voxels == mask.sum()
        assert one.volume_ml == pytest.approx(mask.sum() * 2 * 3 * 4 / 1000)
        # Which voxels these are, whatever the axes: their stored values are those of the mask.
        stored = scan.values * np.asarray(scan.stored_per_value)
        within = np.sort(stored[placed(one, scan) > 0])
        np.testing.assert_allclose(within, np.sort(rescaled[mask]), rtol=1e-5)


def test_a_fractional_segmentation_counts_from_one_half(
    slices: list[Dataset], scan: PETImage, tmp_path: Path
) -> None:
    soft = np.zeros((12, 26, 28), np.float32)
    soft[3:6, 4:8, 4:8], soft[6, 4:8, 4:8] = 0.9, 0.2
    path = write_segmentation(tmp_path / "seg.dcm", slices, {"soft": soft}, fractional=True)
    assert read_regions(path, scan)[0].voxels == 48


def test_a_segmentation_on_another_grid_is_resampled_on_request(
    slices: list[Dataset], scan: PETImage, tmp_path: Path
) -> None:
    path = write_segmentation(tmp_path / "seg.dcm", slices, masks())
    whole = [placed(one, scan) for one in read_regions(path, scan)]
    coarse = PETImage(scan.values[::2, ::2], scan.affine @ np.diag([2.0, 2, 1, 1]))
    with pytest.raises(InputRefused, match="`resample`"):
        read_regions(path, coarse)
    for one, fine in zip(read_regions(path, coarse, resample=True), whole, strict=True):
        np.testing.assert_array_equal(placed(one, coarse), fine[::2, ::2])


def test_a_resampled_segmentation_keeps_the_volume_of_its_outermost_slices(
    slices: list[Dataset], scan: PETImage, tmp_path: Path
) -> None:
    """A SEG holds the slices with a segment only, so that the segment reaches to its ends."""
    path = write_segmentation(tmp_path / "seg.dcm", slices, masks())
    fine = thirds(scan)
    for one, mask in zip(read_regions(path, fine, resample=True), masks().values(), strict=True):
        assert one.voxels == 27 * mask.sum()


def test_a_mask_of_another_examination_is_refused(
    slices: list[Dataset], scan: PETImage, tmp_path: Path
) -> None:
    other = pet_slices(np.zeros((12, 26, 28), np.int16))
    for path in (
        write_segmentation(tmp_path / "seg.dcm", other, masks()),
        write_contours(tmp_path / "rt.dcm", {"a": ("GTV", [])}, other[0].FrameOfReferenceUID),
    ):
        with pytest.raises(InputRefused, match="frame of reference"):
            read_regions(path, scan)


@pytest.mark.parametrize("listed", [["own", "other"], ["other", "own"], ["own"], []])
def test_contours_in_another_frame_of_reference_are_left_out(
    slices: list[Dataset],
    scan: PETImage,
    tmp_path: Path,
    listed: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each structure states its frame; the list of frames is optional."""
    uids = {"own": str(slices[0].FrameOfReferenceUID), "other": "1.2.3"}
    structures = {"a": ("GTV", outlines(scan, 12.0)), "b": ("GTV", outlines(scan, 9.0))}
    path = write_contours(tmp_path / "rt.dcm", structures, uids["own"])
    dataset = dcmread(path)
    dataset.ReferencedFrameOfReferenceSequence = [Dataset() for _ in listed]
    for item, which in zip(dataset.ReferencedFrameOfReferenceSequence, listed, strict=True):
        item.FrameOfReferenceUID = uids[which]
    dataset.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = uids["other"]
    dataset.save_as(path)
    assert [one.name for one in read_regions(path, scan)] == ["b"]
    assert "a has another frame of reference" in caplog.text
    [_, b] = dataset.StructureSetROISequence
    if listed[1:]:
        del b.ReferencedFrameOfReferenceUID  # it may be in either
    else:
        b.ReferencedFrameOfReferenceUID = uids["other"]
    dataset.save_as(path)
    with pytest.raises(InputRefused, match="frame of reference"):
        read_regions(path, scan)


def test_without_highdicom_a_segmentation_names_the_extra(
    slices: list[Dataset], scan: PETImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_segmentation(tmp_path / "seg.dcm", slices, masks())
    monkeypatch.setitem(sys.modules, "highdicom.seg", None)
    with pytest.raises(UsageError, match=r"petdiff\[regions\]"):
        read_regions(path, scan)


def outlines(scan: PETImage, radius_mm: float, hole_mm: float = 0.0) -> list[np.ndarray]:
    """Contours of a cylinder with a hole about the scan's centre: 4 slices, in mm, LPS."""
    centre = np.array([12.7, 14.2])
    angle = np.linspace(0, 2 * np.pi, 240, endpoint=False)
    found = []
    for k in range(4, 8):
        for radius in (radius_mm, hole_mm):
            if radius:
                i = centre[0] + radius * np.cos(angle) / scan.spacing_mm[0]
                j = centre[1] + radius * np.sin(angle) / scan.spacing_mm[1]
                index = np.stack([i, j, np.full(240, k), np.ones(240)])
                found.append((np.diag([-1.0, -1, 1, 1]) @ scan.affine @ index)[:3].T)
    return found


def test_contours_of_circles_have_their_analytic_volume(
    slices: list[Dataset], scan: PETImage, tmp_path: Path
) -> None:
    structures = {
        "GTV node": ("GTV", outlines(scan, 12.0)),
        "ring": ("ORGAN", outlines(scan, 12.0, 6.0)),
        "spleen": ("", outlines(scan, 7.0)),
    }
    path = write_contours(tmp_path / "rt.dcm", structures, slices[0].FrameOfReferenceUID)
    regions = read_regions(path, scan)
    assert [one.kind for one in regions] == ["lesion", "organ", "organ"]
    areas = [np.pi * 12**2, np.pi * (12**2 - 6**2), np.pi * 7**2]
    for one, area in zip(regions, areas, strict=True):
        assert one.volume_ml == pytest.approx(area * 4 * 4 / 1000, rel=0.01)
    middle = scan.affine @ [12.7, 14.2, 5.5, 1]
    np.testing.assert_allclose(regions[0].centre_mm(scan.affine), middle[:3], atol=0.1)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1)])
def test_nodes_in_one_slice_each_are_not_joined(
    slices: list[Dataset], scan: PETImage, tmp_path: Path, axes: tuple[int, int, int]
) -> None:
    """Nothing is drawn in the 12 mm between the two, whatever axis of the scan they are along."""
    step = np.diag([-1.0, -1, 1]) @ scan.affine[:3, 2]
    lowest = outlines(scan, 8.0)[0]  # of slice 4
    nodes = [lowest, lowest + 3 * step]
    path = write_contours(
        tmp_path / "rt.dcm", {"nodes": ("GTV", nodes)}, slices[0].FrameOfReferenceUID
    )
    stored = PETImage(scan.values.transpose(axes), scan.affine[:, [*axes, 3]])
    (region,) = read_regions(path, stored)
    assert region.volume_ml == pytest.approx(2 * np.pi * 8**2 * 4 / 1000, rel=0.01)
    assert not region.cut


@pytest.mark.parametrize("digits", [1, 3])
def test_contours_of_rounded_coordinates_keep_their_holes(
    slices: list[Dataset], scan: PETImage, tmp_path: Path, digits: int
) -> None:
    """Rounding moves the outlines of one oblique slice apart."""
    rounded = [np.round(one, digits) for one in outlines(scan, 12.0, 6.0)]
    path = write_contours(
        tmp_path / "rt.dcm", {"ring": ("GTV", rounded)}, slices[0].FrameOfReferenceUID
    )
    area = np.pi * (12**2 - 6**2)
    assert read_regions(path, scan)[0].volume_ml == pytest.approx(area * 4 * 4 / 1000, rel=0.02)


@pytest.mark.parametrize(
    ("crop", "share"),
    [
        ((slice(13, None), slice(None), slice(None)), 0.5 + 0.2 * 12 / (np.pi * 6**2)),
        ((..., slice(6, None)), 0.5),
    ],
    ids=["in plane", "along the stack"],
)
def test_a_structure_that_the_field_of_view_cuts_is_told(
    slices: list[Dataset], scan: PETImage, tmp_path: Path, crop: Any, share: float
) -> None:
    """About half of a cylinder: its radius is 6 voxels, and its axis is 0.2 voxels inside."""
    values = scan.values[crop]
    shift = np.eye(4)
    shift[:3, 3] = np.subtract(scan.shape, values.shape)
    path = write_contours(
        tmp_path / "rt.dcm", {"a": ("GTV", outlines(scan, 12.0))}, slices[0].FrameOfReferenceUID
    )
    (whole,), (part,) = (
        read_regions(path, one) for one in (scan, PETImage(values, scan.affine @ shift))
    )
    assert not whole.cut
    assert part.cut
    assert part.volume_ml == pytest.approx(share * whole.volume_ml, rel=0.02)
    assert part.mask.visible_fraction == pytest.approx(share, abs=0.01)


def test_a_segment_that_the_field_of_view_cuts_is_told(
    slices: list[Dataset], scan: PETImage, tmp_path: Path
) -> None:
    path = write_segmentation(tmp_path / "seg.dcm", slices, masks())
    assert not any(one.cut for one in read_regions(path, scan))
    shift = np.eye(4)
    shift[1, 3] = 6  # rows 0 to 5 are gone: half of the first, one of five of the second
    upper = PETImage(scan.values[:, 6:], scan.affine @ shift)
    fractions = [one.mask.visible_fraction for one in read_regions(path, upper)]
    assert fractions == pytest.approx([0.5, 0.8])


def test_a_segment_that_reaches_into_the_field_of_view_by_less_than_half_a_voxel_is_cut(
    slices: list[Dataset], scan: PETImage, tmp_path: Path
) -> None:
    """Its voxels are three times those of the scan, and the centres of all are outside."""
    path = write_segmentation(tmp_path / "seg.dcm", slices, masks())
    fine = thirds(scan)
    whole = read_regions(path, fine, resample=True)[0]
    last = int(placed(whole, fine).any(axis=(1, 2)).nonzero()[0].max())
    shift = np.eye(4)
    shift[0, 3] = last
    [part, *_] = read_regions(
        path, PETImage(fine.values[last:], fine.affine @ shift), resample=True
    )
    assert part.cut
    assert part.mask.visible_fraction == pytest.approx(part.voxels / whole.voxels)
    assert part.mask.volume_ml == pytest.approx(whole.volume_ml)


def test_contours_that_cannot_be_used_are_refused(scan: PETImage, tmp_path: Path) -> None:
    turn = Rotation.from_rotvec((0.3, -0.4, 0.5)).as_matrix()
    tilted = [one @ turn for one in outlines(scan, 9)]
    for name, geometry, contours, reason in (
        ("tilted", "CLOSED_PLANAR", tilted, "not parallel"),
        ("point", "POINT", outlines(scan, 9), "has no regions"),
        ("far", "CLOSED_PLANAR", [one + 900 for one in outlines(scan, 9)], "far is empty"),
        ("tiny", "CLOSED_PLANAR", outlines(scan, 0.4), "smaller than a voxel"),
    ):
        path = write_contours(tmp_path / f"{name}.dcm", {name: ("", contours)}, geometry=geometry)
        with pytest.raises(InputRefused, match=reason):
            read_regions(path, scan)


@pytest.mark.parametrize("keyword", ["ROINumber", "ReferencedROINumber", "ContourData"])
@pytest.mark.parametrize("how", ["absent", "empty", "text"])
def test_a_damaged_structure_set_is_refused_and_an_empty_contour_is_none(
    scan: PETImage, tmp_path: Path, keyword: str, how: str
) -> None:
    structures = {"a": ("GTV", outlines(scan, 12.0)), "b": ("GTV", outlines(scan, 9.0))}
    path = write_contours(tmp_path / "rt.dcm", structures)
    dataset = dcmread(path)
    contours = dataset.ROIContourSequence[0]
    owner = {
        "ROINumber": dataset.StructureSetROISequence[0],
        "ReferencedROINumber": contours,
        "ContourData": contours.ContourSequence[0],
    }[keyword]
    delattr(owner, keyword)
    if how == "text":
        owner.add_new(tag_for_keyword(keyword), "LO", "abcdefghij")
    elif how == "empty":
        setattr(owner, keyword, None)
    dataset.save_as(path)
    if keyword == "ContourData" and how != "text":
        assert [one.name for one in read_regions(path, scan)] == ["a", "b"]
    else:
        with pytest.raises(InputRefused, match="is a damaged structure set"):
            read_regions(path, scan)


def test_a_folder_must_hold_one_mask(slices: list[Dataset], scan: PETImage, tmp_path: Path) -> None:
    structures = {"a": ("GTV", outlines(scan, 12.0))}
    write_contours(tmp_path / "a.dcm", structures)
    assert read_regions(tmp_path, scan)[0].name == "a"
    write_contours(tmp_path / "b.dcm", structures)
    with pytest.raises(InputRefused, match="holds 2"):
        read_regions(tmp_path, scan)
    with pytest.raises(InputRefused, match="holds no DICOM segmentation"):
        read_regions(save(slices, tmp_path / "PT"), scan)
    with pytest.raises(UsageError, match="`names`"):
        read_regions(tmp_path / "a.dcm", scan, names="names.json")
