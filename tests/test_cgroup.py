"""A container uses the threads and the memory that its control group allows."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from petdiff import cgroup, device
from petdiff.training.run import spare_cores

Group = Callable[..., None]


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Group:
    """Return a function that writes the files of this process's control group."""
    monkeypatch.setattr(cgroup, "GROUP", tmp_path)

    def write(**files: str) -> None:
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_DOT_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")

    return write


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu_DOT_max": "200000 100000"}, 2),
        ({"cpu_DOT_max": "150000 100000"}, 2),
        ({"cpu_DOT_max": "10000 100000"}, 1),
        ({"cpu_DOT_max": "max 100000"}, None),
        ({"cpu_DOT_max": "damaged"}, None),
        ({"cpu__cpu_DOT_cfs_quota_us": "400000", "cpu__cpu_DOT_cfs_period_us": "100000"}, 4),
        ({"cpu__cpu_DOT_cfs_quota_us": "-1", "cpu__cpu_DOT_cfs_period_us": "100000"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_cores_by_the_quota(group: Group, files: dict[str, str], cores: int | None) -> None:
    group(**files)
    assert cgroup.allowed_cores() == cores


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="of Linux")
@pytest.mark.parametrize(
    ("affinity", "quota", "cores"), [(8, "max", 8), (8, "200000", 2), (2, "800000", 2)]
)
def test_usable_cores_are_those_of_affinity_and_quota(
    group: Group, monkeypatch: pytest.MonkeyPatch, affinity: int, quota: str, cores: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)))
    group(cpu_DOT_max=f"{quota} 100000")
    assert cgroup.usable_cores() == cores


def test_workers_of_training_are_as_many_as_usable_cores_but_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("petdiff.training.run.usable_cores", lambda: 8)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert spare_cores() == 7
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert spare_cores() == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert spare_cores() == 1


def test_threads_are_as_many_as_cores_that_may_be_used(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    group(cpu_DOT_max="200000 100000")
    environment: dict[str, str] = {}
    cgroup.prepare_threads(environment)
    assert environment == {"OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": cgroup.SPINS}
    chosen = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "active"}
    cgroup.prepare_threads(chosen)
    assert chosen == {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "active"}
    for quota in ("max 100000", "6400000 100000", "12800000 100000"):
        group(cpu_DOT_max=quota)
        environment = {}
        cgroup.prepare_threads(environment)
        assert "OMP_NUM_THREADS" not in environment


@pytest.mark.parametrize(
    ("files", "left"),
    [
        (
            {
                "memory_DOT_max": "4000",
                "memory_DOT_current": "3000",
                "memory_DOT_stat": "anon 1500\ninactive_file 500\nodd",
            },
            1500,
        ),
        ({"memory_DOT_max": "4000", "memory_DOT_current": "5000"}, 0),
        ({"memory_DOT_max": "max", "memory_DOT_current": "3000"}, None),
        (
            {
                "memory__memory_DOT_limit_in_bytes": "4000",
                "memory__memory_DOT_usage_in_bytes": "1000",
                "memory__memory_DOT_stat": "inactive_file 9\ntotal_inactive_file 100",
            },
            3100,
        ),
        (
            {
                "memory__memory_DOT_limit_in_bytes": str((1 << 63) - 4096),
                "memory__memory_DOT_usage_in_bytes": "1000",
            },
            None,
        ),
        ({}, None),
    ],
    ids=str,
)
def test_memory_up_to_the_limit(group: Group, files: dict[str, str], left: int | None) -> None:
    group(**files)
    assert cgroup.memory_left() == left


def test_tiles_take_no_more_than_half_of_what_the_container_has_left(
    group: Group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = tmp_path / "meminfo"
    facts.write_text("MemAvailable: 64000000 kB\n")
    monkeypatch.setattr(device, "_MEMORY_FACTS", facts)
    group(memory_DOT_max="2000000000", memory_DOT_current="1000000000")
    assert device.memory_budget(device.torch.device("cpu")) == 500_000_000
