"""What a cohort's rows say: means with intervals, paired tests, and claims judged by them.

Patients are the sample. One patient on four scanners is not four patients: values are averaged over
whatever of scanner, tracer and dose is summed up, patient by patient, and intervals and tests are
over these averages. They speak for patients like these, on these scanners.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from petdiff.data.pairs import UNSTATED
from petdiff.evaluation.cohort.definition import FULL_DOSE
from petdiff.evaluation.cohort.run import Done
from petdiff.evaluation.statistics import bootstrap, holm, paired

Values = NDArray[np.float64]
OVERALL = "overall"
SIGNIFICANT = 0.05
FEW = 15  # patients, below which a bootstrap's interval is too narrow and Student's is given


class Metric(NamedTuple):
    """A metric that methods are compared by.

    better  which way: +1 more, -1 less, 0 the nearer to zero
    """

    name: str
    title: str
    unit: str
    better: int


METRICS = (
    Metric("psnr_db", "PSNR", "dB", 1),
    Metric("ssim", "SSIM", "1", 1),
    Metric("nrmse", "NRMSE", "1", -1),
    Metric("lesion_suv_peak_bias", "Lesion SUVpeak, bias", "1", 0),
    Metric("lesion_suv_peak_error", "Lesion SUVpeak, absolute error", "1", -1),
    Metric("liver_cov", "Liver COV", "1", 0),
    Metric("nps_distance", "Noise texture, distance", "1", -1),
    Metric("seconds", "Time per scan", "s", -1),
)
# Shown, and not ranked: blurring has the lowest COV, and doing nothing takes the least time.
UNRANKED = ("liver_cov", "seconds")


class Condition(NamedTuple):
    scanner: str
    tracer: str
    dose: float


@dataclass(frozen=True, eq=False)
class Table:
    """The metrics of a cohort; NaN where one does not exist.

    values  by metric, [method, patient, condition]
    """

    methods: tuple[str, ...]
    patients: tuple[str, ...]
    conditions: tuple[Condition, ...]
    values: dict[str, Values]

    @cached_property
    def doses(self) -> tuple[float, ...]:
        return tuple(sorted({condition.dose for condition in self.conditions}))

    def of(self, metric: str, method: str, keep: Callable[[Condition], bool]) -> Values:
        """A value per patient: the mean over the conditions kept. NaN where there is none."""
        chosen = [n for n, condition in enumerate(self.conditions) if keep(condition)]
        return _nanmean(self.values[metric][self.methods.index(method)][:, chosen])


def tabulate(done: Sequence[Done], methods: Sequence[str]) -> Table:
    """The table of a cohort's units."""
    patients = tuple(dict.fromkeys(one.unit.patient for one in done))
    found: dict[tuple[str, str, str, Condition], list[float]] = {}
    for one in done:
        for row in one.rows:
            metric = _metric_of(row.metric, row.region)
            if metric is None or row.method == FULL_DOSE or row.value is None:
                continue
            condition = Condition(one.unit.scanner, one.unit.tracer, row.dose)
            key = (metric, row.method, one.unit.patient, condition)
            found.setdefault(key, []).append(row.value)
            if metric == "lesion_suv_peak_bias":
                error = ("lesion_suv_peak_error", row.method, one.unit.patient, condition)
                found.setdefault(error, []).append(abs(row.value))
    conditions = tuple(dict.fromkeys(key[3] for key in found))
    shape = (len(methods), len(patients), len(conditions))
    values = {metric.name: np.full(shape, np.nan) for metric in METRICS}
    for (metric, method, patient, condition), numbers in found.items():
        place = methods.index(method), patients.index(patient), conditions.index(condition)
        values[metric][place] = np.mean(numbers)
    return Table(tuple(methods), patients, conditions, values)


def summarise(table: Table, *, generator: np.random.Generator) -> dict[str, Any]:
    """Everything in numbers, JSON-able.

    means     by metric, dose ("overall" too) and method: n patients, mean, low, high (95 %, BCa
              bootstrap over patients; None for one patient)
    tests     by metric and dose, each pair of methods: difference of the means and its interval,
              Wilcoxon's p, and p after Holm's correction over all pairs of that metric and dose
    claims    see `claims`
    """
    slots = [(OVERALL, _any), *((f"{dose:g}", _at(dose)) for dose in table.doses)]
    means: dict[str, Any] = {}
    tests: dict[str, Any] = {}
    for metric in METRICS:
        means[metric.name], tests[metric.name] = {}, {}
        for slot, keep in slots:
            by_method = {m: table.of(metric.name, m, keep) for m in table.methods}
            means[metric.name][slot] = {
                method: _mean(values, generator) for method, values in by_method.items()
            }
            tests[metric.name][slot] = list(_tests(by_method, metric))
    return {
        "patients": len(table.patients),
        "conditions": len(table.conditions),
        "scans": int(np.isfinite(table.values["nrmse"][0]).sum()),
        "methods": list(table.methods),
        "metrics": {m.name: {"title": m.title, "unit": m.unit} for m in METRICS},
        "means": means,
        "tests": tests,
        "claims": claims(table),
    }


CLAIMS = (
    ("ddpm3d", ("ddpm2d", "unet3d", "gan3d")),
    ("flow3d", ("gaussian",)),
    ("flow3d", ("ddpm2d", "unet3d", "gan3d", "logunet", "ddpm3d")),
)


def claims(table: Table) -> list[dict[str, Any]]:
    """Whether a method beats others in every condition, by PSNR: counted, tested and said.

    A condition is a scanner with a tracer at a dose. One is won where the mean over patients is
    higher, and won significantly where Wilcoxon's p, after Holm's correction over all conditions
    and rivals of the claim, is below 0.05.
    """
    return [_claim(table, champion, rivals) for champion, rivals in CLAIMS]


def _claim(table: Table, champion: str, rivals: Sequence[str]) -> dict[str, Any]:
    missing = [name for name in (champion, *rivals) if name not in table.methods]
    title = f"{champion} against {_listed(rivals)}"
    if missing:
        said = f"Not judged: this cohort has no {_listed(missing)}."
        return {"title": title, "holds": None, "sentence": said, "rivals": []}
    gains = {rival: _gains(table, champion, rival) for rival in rivals}
    p = [_wilcoxon_p(column) for gain in gains.values() for column in gain.T]
    adjusted = iter(holm(p))
    counted = []
    for rival, gain in gains.items():
        by_condition = [
            {**condition._asdict(), "gain_db": float(gain_db), "p": float(next(adjusted))}
            for condition, gain_db in zip(table.conditions, _nanmean(gain.T), strict=True)
        ]
        known = [one for one in by_condition if np.isfinite(one["gain_db"])]
        overall = _nanmean(gain)
        counted.append(
            {
                "rival": rival,
                "conditions": len(known),
                "won": sum(one["gain_db"] > 0 for one in known),
                "significant": sum(one["gain_db"] > 0 and one["p"] < SIGNIFICANT for one in known),
                "lost_significantly": sum(
                    one["gain_db"] < 0 and one["p"] < SIGNIFICANT for one in known
                ),
                "scans_won": int((gain > 0).sum()),
                "scans": int(np.isfinite(gain).sum()),
                "mean_gain_db": float(_nanmean(overall)),
                "worst": min(known, key=lambda one: one["gain_db"], default=None),
                "p": _wilcoxon_p(overall),
            }
        )
    unknown = [one["rival"] for one in counted if not one["conditions"]]
    if unknown:
        said = f"Not judged: no scan has a PSNR of both {champion} and {_listed(unknown)}."
        return {"title": title, "holds": None, "sentence": said, "rivals": []}
    holds = all(one["won"] == one["conditions"] for one in counted)
    proven = all(one["significant"] == one["conditions"] for one in counted)
    return {
        "title": title,
        "holds": holds,
        "significant": proven,
        "sentence": _sentence(champion, counted, holds, proven, len(table.patients)),
        "rivals": counted,
    }


def _sentence(
    champion: str, counted: Sequence[dict[str, Any]], holds: bool, proven: bool, patients: int
) -> str:
    conditions = counted[0]["conditions"]
    where = "the one condition" if conditions == 1 else f"every one of {conditions} conditions"
    rivals = _listed([one["rival"] for one in counted])
    if holds:
        head = f"{champion} has a higher PSNR than {rivals} in {where}"
        head += ", significantly in each." if proven else ", but not significantly in each."
    else:
        head = f"{champion} does not have a higher PSNR than {rivals} in {where}."
    parts = [
        f"Against {one['rival']}: {one['mean_gain_db']:+.2f} dB on average, ahead in "
        f"{one['won']} of {one['conditions']} conditions ({one['significant']} significantly) "
        f"and behind significantly in {one['lost_significantly']}; the worst is "
        f"{_named(one['worst'])} with {one['worst']['gain_db']:+.2f} dB."
        for one in counted
    ]
    least = _least_p(patients)
    tests = sum(one["conditions"] for one in counted)
    power = ""
    if least * tests >= SIGNIFICANT:
        power = (
            f" With {patients} patient{'s' if patients > 1 else ''} no difference could have been "
            f"significant after correction for {tests} test{'s' if tests > 1 else ''}."
        )
    return (" ".join([head, *parts]) + power).replace(" -", " \N{MINUS SIGN}")


def _least_p(patients: int) -> float:
    """The smallest two-sided p that the signed-rank test can have."""
    return min(1.0, 2.0 ** (1 - patients))


def _gains(table: Table, champion: str, rival: str) -> Values:
    """[patient, condition] in dB."""
    psnr = table.values["psnr_db"]
    gains: Values = psnr[table.methods.index(champion)] - psnr[table.methods.index(rival)]
    return gains


def _tests(by_method: dict[str, Values], metric: Metric) -> Iterator[dict[str, Any]]:
    """Each pair of methods; of a bias it is its size that is compared."""
    pairs, results = [], []
    for first, second in combinations(by_method, 2):
        a, b = by_method[first], by_method[second]
        if metric.better == 0:
            a, b = np.abs(a), np.abs(b)
        both = np.isfinite(a) & np.isfinite(b)
        if both.sum() >= 2:
            pairs.append((first, second))
            results.append(paired(a[both], b[both]))
    adjusted = holm([result.wilcoxon_p for result in results]) if results else np.empty(0)
    for (first, second), result, p in zip(pairs, results, adjusted, strict=True):
        yield {
            "method": second,
            "against": first,
            "n": result.n,
            "difference": result.mean.value,
            "low": result.mean.low,
            "high": result.mean.high,
            "wilcoxon_p": result.wilcoxon_p,
            "holm_p": float(p),
            "rank_biserial": result.rank_biserial,
        }


def _mean(values: Values, generator: np.random.Generator) -> dict[str, Any]:
    known = values[np.isfinite(values)]
    if len(known) < 2:
        value = float(known[0]) if len(known) else None
        return {"n": len(known), "mean": value, "low": None, "high": None}
    if len(known) < FEW:
        interval = paired(np.zeros(len(known)), known).mean
    else:
        interval = bootstrap(known, generator=generator)
    return {"n": len(known), "mean": interval.value, "low": interval.low, "high": interval.high}


def _wilcoxon_p(difference: Values) -> float:
    known = difference[np.isfinite(difference)]
    if len(known) < 2:
        return 1.0
    return float(paired(np.zeros(len(known)), known).wilcoxon_p)


def _metric_of(metric: str, region: str) -> str | None:
    if metric == "suv_peak_bias" and region.startswith("lesion "):
        return "lesion_suv_peak_bias"
    if metric == "cov_30mm_sphere":
        return "liver_cov"
    names = {one.name for one in METRICS}
    return metric if metric in names else None


def _nanmean(values: Values) -> Values:
    """Over the last axis, NaN and no warning where all are NaN."""
    known = np.isfinite(values)
    sums = np.where(known, values, 0).sum(axis=-1)
    counts = known.sum(axis=-1)
    return np.where(counts, sums / np.maximum(counts, 1), np.nan)


def _any(condition: Condition) -> bool:
    return True


def _at(dose: float) -> Callable[[Condition], bool]:
    return lambda condition: condition.dose == dose


def fraction(dose: float) -> str:
    """A dose in a table's head: 1/20."""
    return "not stated" if dose == UNSTATED else f"1/{dose:g}"


def _named(one: dict[str, Any]) -> str:
    return f"{one['scanner']}, {one['tracer']}, {fraction(one['dose'])}"


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
