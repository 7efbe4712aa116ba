"""A run records its own peak memory and the versions of the packages."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from petdiff.records import PeakMemory, package_versions


@pytest.mark.skipif(sys.platform != "linux", reason="the count of Linux")
def test_peak_memory_is_not_that_of_the_process_that_started_this_one() -> None:
    held = np.ones(300 << 20, np.uint8)  # written to, so that it is in memory
    assert (PeakMemory.now().main or 0) > held.nbytes
    code = "from petdiff.records import PeakMemory; print(PeakMemory.now().main)"
    started = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert 1 << 20 < int(started.stdout) < held.nbytes


def test_a_change_of_recorded_versions_has_no_effect_on_later_records() -> None:
    package_versions()["numpy"] = "changed"
    assert package_versions()["numpy"] == np.__version__
