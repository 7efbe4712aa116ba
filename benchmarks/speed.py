"""One total-body scan, file to file: seconds, peak memory, and how well the machine is used.

    python benchmarks/speed.py [--shape 192,288,520] [--steps 1]

Makes a body-shaped scan of 1.65 mm voxels, runs `petdiff denoise` on it in a process of its own,
and prints the stages. Then it times the network alone, slab by slab, and the machine's own 3-D
convolutions at the network's widths. The limit is the time in which these convolutions would do the
network's arithmetic on the body's voxels and nothing else; the ratios to it are printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch.utils.flop_counter import FlopCounterMode

from petdiff.device import resolve_precision
from petdiff.methods.model import load_model
from petdiff.networks.slabwise import SlabwiseUNet
from petdiff.networks.unet import UNet

TILE = (192, 192, 96)  # voxels
PLANES = 24  # of a slab of the network alone


@dataclass(frozen=True)
class Run:
    """One run of `petdiff denoise`: seconds by the clock, peak memory, voxels of the body."""

    file_to_file_s: float
    stages_s: dict[str, float]
    peak_gib: float
    body_voxels: float
    precision: str


def body_scan(shape: tuple[int, int, int]) -> np.ndarray:
    """Return a noisy elliptical trunk with hot organs, as large in its field as a total body."""
    rng = np.random.default_rng(0)
    i, j, k = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    taper = 0.75 + 0.2 * np.cos(3 * k)
    radius = (i[:, None, None] / 0.8) ** 2 + (j[None, :, None] / 0.65) ** 2
    body = (radius / taper**2 < 1).astype(np.float32)
    organs = 1 + 3 * (gaussian_filter(rng.standard_normal(shape, np.float32), 8) > 0.004)
    noise = gaussian_filter(rng.standard_normal(shape, np.float32), 1.0) * 4
    return (body * organs * np.clip(1 + noise, 0, None) + 0.01 * np.abs(noise)).astype(np.float32)


def run_whole(scan: np.ndarray, steps: int) -> Run:
    """Run the command on a scan of 1.65 mm voxels, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "scan.nii.gz"), Path(folder, "out")
        nib.save(nib.Nifti1Image(scan, np.diag([1.65, 1.65, 1.65, 1])), path)
        command = [sys.executable, "-m", "petdiff", "denoise", str(path), "-o", str(out)]
        start = time.perf_counter()
        subprocess.run([*command, "--steps", str(steps), "--quiet"], check=True, stdout=-3)
        wall = time.perf_counter() - start
        record = json.loads((out / "run.json").read_text())
    return Run(
        file_to_file_s=wall,
        stages_s=record["seconds"],
        peak_gib=record["peak_memory_bytes"]["main"] / 2**30,
        body_voxels=scan.size * (1 - record["denoising"]["air_share"]),
        precision=record["denoising"]["precision"],
    )


def network_rate(dtype: torch.dtype) -> tuple[float, float]:
    """FLOP/s of the default network on one volume, slab by slab, and its FLOP per voxel."""
    network = load_model("flow3d").network.to(dtype=dtype, memory_format=torch.channels_last_3d)
    assert isinstance(network, UNet)
    x = torch.randn(1, network.architecture.in_channels, *TILE, dtype=dtype)
    level = torch.ones(1)

    def walk() -> None:
        slabwise, slabs = SlabwiseUNet(network, level), x.split(PLANES, dim=2)
        for n, slab in enumerate(slabs, start=1):
            slabwise(slab, last=n == len(slabs))

    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            network(x, level)
        seconds = _best(walk)
    return counter.get_total_flops() / seconds, counter.get_total_flops() / x[0, 0].numel()


def convolution_rate(dtype: torch.dtype) -> float:
    """FLOP/s of bare 3 × 3 × 3 convolutions at the widths and sizes of the network's levels."""
    flops, seconds = 0.0, 0.0
    for level, width in enumerate((48, 96, 128), start=1):
        side = [n >> level for n in TILE]
        x = torch.randn(1, width, *side, dtype=dtype).to(memory_format=torch.channels_last_3d)
        w = torch.randn(width, width, 3, 3, 3, dtype=dtype)
        w = w.to(memory_format=torch.channels_last_3d)
        repeats = 4**level  # as long at each level, so that none is timed by its start-up
        with torch.inference_mode():
            seconds += _best(lambda x=x, w=w: torch.conv3d(x, w, padding=1)) * repeats  # type: ignore[misc]
        flops += 2 * 27 * width**2 * x[0, 0].numel() * repeats
    return flops / seconds


def _best(call: object, repeats: int = 3) -> float:
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()  # type: ignore[operator]
        times.append(time.perf_counter() - start)
    return min(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="192,288,520")
    parser.add_argument("--steps", type=int, default=1)
    options = parser.parse_args()
    i, j, k = map(int, options.shape.split(","))
    run = run_whole(body_scan((i, j, k)), options.steps)
    wall, body = run.file_to_file_s, run.body_voxels
    print(f"file to file   {wall:6.1f} s, peak memory {run.peak_gib:.2f} GiB")
    print("stages        ", json.dumps(run.stages_s))
    dtype = resolve_precision("auto", torch.device("cpu"))
    rate, per_voxel = network_rate(dtype)
    ceiling = convolution_rate(dtype)
    print(
        f"network        {rate / 1e9:6.0f} GFLOP/s, {per_voxel / 1e3:.0f} kFLOP per voxel, {dtype}"
    )
    print(f"convolutions   {ceiling / 1e9:6.0f} GFLOP/s")
    limit = body * per_voxel * options.steps / ceiling
    print(f"limit          {limit:6.1f} s for {body / 1e6:.1f} million voxels of the body")
    print(f"ratios         {wall / limit:6.2f} file to file, {ceiling / rate:.2f} network alone")


if __name__ == "__main__":
    main()
