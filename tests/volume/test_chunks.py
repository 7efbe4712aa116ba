import pytest
import torch

from petdiff.volume.chunks import halve, largest_read, tiles


@pytest.mark.parametrize("core", [(8, 8, 8), (16, 24, 48), (64, 64, 64)])
def test_cores_cover_every_voxel_once(core: tuple[int, int, int]) -> None:
    count = torch.zeros(32, 24, 48)
    for tile in tiles((32, 24, 48), core, halo=8, multiple=8):
        count[tile.core] += 1
    assert (count == 1).all()


def test_inner_is_the_core_seen_from_the_tile() -> None:
    volume = torch.arange(32 * 16 * 24).reshape(32, 16, 24)
    for tile in tiles((32, 16, 24), (8, 16, 8), halo=8, multiple=8):
        assert torch.equal(volume[tile.read][tile.inner], volume[tile.core])


def test_a_halo_is_read_except_beyond_the_faces() -> None:
    reads = [tile.read[0] for tile in tiles((40, 8, 8), (8, 8, 8), halo=16, multiple=8)]
    assert [(r.start, r.stop) for r in reads] == [(0, 24), (0, 32), (0, 40), (8, 40), (16, 40)]


def test_largest_read_is_the_largest_tile() -> None:
    cut = tiles((64, 40, 24), (16, 24, 8), halo=8, multiple=8)
    sizes = [torch.empty(64, 40, 24)[tile.read].numel() for tile in cut]
    assert largest_read((64, 40, 24), (16, 24, 8), 8, 8) == max(sizes)


def test_halving_ends_at_one_multiple() -> None:
    core: tuple[int, int, int] | None = (64, 40, 16)
    seen = []
    while core is not None:
        seen.append(core)
        core = halve(core, 8)
    assert seen[1] == (32, 40, 16)
    assert seen[-1] == (8, 8, 8)


def test_shapes_off_the_grid_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        list(tiles((12, 8, 8), (8, 8, 8), halo=8, multiple=8))
