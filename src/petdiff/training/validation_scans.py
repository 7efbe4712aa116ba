"""The simulated scans for validation, which are the same in every run."""

from __future__ import annotations

from petdiff.data.array_store import Store
from petdiff.progress import ProgressCallback
from petdiff.simulation.study import simulate

# Seeds below those of training, so that these patients are not in the training data. Voxels are
# large and body parts short, so that simulation and denoising are fast:
# (seed, scanner, tracer, extent).
_PATIENTS = (
    (101, "quadra", "fdg", "abdomen"),
    (102, "vision600", "psma", "pelvis"),
    (103, "uexplorer", "dotatate", "thorax"),
    (104, "discovery-mi", "fapi", "head-neck"),
)
_VOXEL_MM = 6.0
_DOSE_FACTORS = (4.0, 20.0, 100.0)


def store_simulated_scans(
    store: Store, count: int, tick: ProgressCallback | None = None
) -> list[str]:
    """Simulate the first `count` held-out patients, unless the store has them; returns the names.

    tick  called with the number of finished patients and of all
    """
    names = []
    chosen = _PATIENTS[:count]
    for n, (seed, scanner, tracer, extent) in enumerate(chosen):
        name = f"patient-{seed:05d}"
        if name not in store:
            study = simulate(
                seed,
                scanner=scanner,
                tracer=tracer,
                dose_factors=_DOSE_FACTORS,
                voxel_mm=_VOXEL_MM,
                extent=extent,
            )
            lows = {f"low_{factor:g}": factor for factor in study.lows}
            arrays = {"full": study.full.suv}
            arrays |= {f"low_{factor:g}": low.suv for factor, low in study.lows.items()}
            store.put(name, arrays, {"lows": lows, "affine": study.full.affine.tolist()})
        names.append(name)
        if tick is not None:
            tick(n + 1, len(chosen))
    return names
