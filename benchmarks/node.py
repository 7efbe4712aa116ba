"""The DICOM node with its real worker, between real PACS: killed, pestered, at rest.

    python benchmarks/node.py killed  -o OUT     50 series from 3 PACS, 10 SIGKILLs
    python benchmarks/node.py hostile -o OUT     what no sender should do
    python benchmarks/node.py rest    -o OUT     processor at rest, memory over 200 series

Each writes OUT/report.json, and ends with exit code 1 where a promise is broken. Needs Orthanc,
dcmtk and dicom3tools of Debian.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from node_scenarios.hostile import hostile
from node_scenarios.killed import killed
from node_scenarios.rest import rest

SCENARIOS: dict[str, Callable[[Path, int], dict[str, object]]] = {
    "killed": killed,
    "hostile": hostile,
    "rest": rest,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--series", type=int, default=0, help="how many; 0: as above")
    given = parser.parse_args()
    given.output.mkdir(parents=True)
    report = SCENARIOS[given.scenario](given.output, given.series)
    text = json.dumps(report, indent=2)
    (given.output / "report.json").write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0 if report["broken"] == [] else 1


if __name__ == "__main__":
    sys.exit(main())
