"""`python -m tests.bench [NAME ...]`: run all benchmarks or those named, and print one table."""

from __future__ import annotations

import sys
import time
import traceback
from importlib import import_module
from pathlib import Path

NAMES = ("kubeconfig", "signing", "logins", "home", "reconcile", "engine", "explorer", "authoring", "requests", "audit")


def main(wanted: list[str]) -> int:
    """0 unless a benchmark broke: a missed target and a missing part are told in the table."""
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    here = Path(__file__).resolve().parent  # not to be imported from: a benchmark there has the name of a library
    sys.path[:] = [str(here.parent), *(one for one in sys.path if Path(one).resolve() != here)]
    ground_module, table, processes = (import_module(name) for name in ("bench.ground", "bench.table", "rigs.processes"))
    start = time.monotonic()
    sections, skipped, broken = [], [], []
    with ground_module.Ground() as ground:
        for name in wanted or NAMES:
            began = time.monotonic()
            try:
                sections.append((name, import_module(f"bench.{name}").run(ground)))
            except processes.RigMissing as missing:
                skipped.append(f"{name} skipped: {missing}")
            except Exception as error:  # noqa: BLE001  # the others are still worth their table
                traceback.print_exc()
                broken.append(f"{name} BROKE: {type(error).__name__}: {error}")
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    print(table.render(sections))
    print(*skipped, *broken, sep="\n", end="\n" if skipped or broken else "")
    missed = sum(row.verdict == "FAIL" for _, rows in sections for row in rows)
    print(f"{missed} missed, {len(skipped)} skipped, {len(broken)} broken, in {time.monotonic() - start:.0f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
