"""The results of every machine, read from their folders; what cannot be read is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["LeftOut", "Machine", "collected"]

# The key that each kind of file must have, by how its name begins. Of others there is no
# table: they are in the page as they are.
KINDS = {
    "ladders": "ladders",
    "simulated": "simulated",
    "suites": "suites",
    "selection": "suites",
    "operations": "groups",
    "types": "groups",
    "conv": "conv",
    "gradients": "gradients",
    "pool": "pool",
    "counters": "counters",
    "ceilings": "ceilings",
    "launch": "launch",
    "warmup": "warmup",
    "correctness": "correctness",
    "conformance": "conformance",
}


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that is not in the page, and why."""

    path: str
    reason: str


@dataclass(slots=True)
class Machine:
    """A folder of results.

    Parameters
    ----------
    name : str
        The folder's.
    files : dict
        What each file holds, by its name.
    texts : dict
        The same as it was written, for those who want it raw.
    """

    name: str
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def of_kind(self, kind: str) -> dict[str, dict[str, Any]]:
        """List the files whose name begins with a kind."""
        return {
            name: data for name, data in self.files.items() if kind_of(name) == kind
        }

    @property
    def facts(self) -> dict[str, Any]:
        """Give the description of the machine in the file that was written last."""
        found = [one for data in self.files.values() for one in _machines(data)]
        return max(found, key=lambda one: str(one.get("when", "")), default={})

    @property
    def title(self) -> str:
        """Name the processor or the GPU."""
        facts = self.facts
        if "gpu" in facts:
            return str(facts["gpu"]).split(",")[0]
        if not {"cpu", "cores", "isa"} <= {*facts}:
            return self.name
        return f"{facts['cpu']}, {facts['cores']} cores, {facts['isa']}"


def _machines(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Find every description of a machine in a report."""
    parts = [data]
    for key in ("suites", "machines"):
        found = data.get(key)
        parts += found.values() if isinstance(found, dict) else []
    for part in parts:
        if isinstance(part, dict):
            found = part.get("machine", part if "commit" in part else None)
            if isinstance(found, dict):
                yield found


def kind_of(name: str) -> str:
    """Say what a file of that name holds; "" if that is none of ours."""
    stem = name.removesuffix(".json").partition("-")[0]
    return stem if stem in KINDS else ""


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """Read one file, and check that it is what its name says.

    Raises
    ------
    ValueError
        In a sentence.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"it cannot be read: {error}") from None
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"it is no whole JSON (line {error.lineno}: {error.msg}); a run that was cut "
            "short may have left it"
        ) from None
    key = KINDS.get(kind_of(path.name))
    if isinstance(data, dict) and (key is None or isinstance(data.get(key), dict)):
        return data, text
    raise ValueError(f"it has no {key!r}: another program may have written it")


def collected(results: Path) -> tuple[list[Machine], list[LeftOut]]:
    """Read all results, machine by machine.

    Parameters
    ----------
    results : Path
        A folder of folders, as benchmarks/results is.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    """
    if not results.is_dir():
        raise FileNotFoundError(f"there is no folder {results}")
    machines, left_out = [], []
    for folder in sorted(one for one in results.iterdir() if one.is_dir()):
        machine = Machine(folder.name)
        for path in sorted(folder.glob("*.json")):
            try:
                data, text = _read(path)
            except ValueError as error:
                left_out.append(LeftOut(f"{folder.name}/{path.name}", str(error)))
                continue
            machine.files[path.name] = data
            machine.texts[path.name] = text
        if machine.files:
            machines.append(machine)
    return machines, left_out
