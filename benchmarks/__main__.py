"""python -m benchmarks NAME: one of the programs here.

    python -m benchmarks report | compare | bench | ladders | selection | operations ...

`python -m benchmarks.NAME` does the same.
"""

from __future__ import annotations

import sys
from importlib import import_module

PROGRAMS = {
    "report": ("benchmarks.report.page", "one HTML page of all results"),
    "compare": ("benchmarks.compare", "two runs, ratios with intervals"),
    "bench": ("benchmarks.bench", "the suites against every peer"),
    "ladders": ("benchmarks.ladders", "a few problems by every algorithm"),
    "simulated": ("benchmarks.simulated", "operations and cache fills by simulation"),
    "selection": ("benchmarks.selection", "auto's choice against every algorithm"),
    "operations": ("benchmarks.operations", "pooling, gradients, transposed"),
    "element_types": ("benchmarks.element_types", "halves and bytes"),
    "ratio": ("benchmarks.ratio", "against PyTorch on ResNet-50"),
    "gpu": ("benchmarks.gpu", "one run on a GPU"),
    "demo": ("benchmarks.demo", "a photograph and ResNet-50"),
    "readme": ("benchmarks.readme", "the README's generated parts"),
}


def main(arguments: list[str]) -> int:
    """Run the program that is named; 2 and the list if there is none."""
    name, *rest = arguments or [""]
    if name not in PROGRAMS:
        wanted = "" if name in ("", "-h", "--help") else f"there is no {name!r}; "
        print(f"{wanted}python -m benchmarks takes one of:", file=sys.stderr)
        for known, (_, what) in PROGRAMS.items():
            print(f"  {known:<14}{what}", file=sys.stderr)
        return 2
    found: int = import_module(PROGRAMS[name][0]).main(rest)
    return found


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
