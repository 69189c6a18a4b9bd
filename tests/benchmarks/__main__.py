"""Run the benchmarks: all of them, or those whose names are given (`sobel gate`)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> int:
    here = Path(__file__).parent
    every = {path.stem.removeprefix("bench_"): path for path in sorted(here.glob("bench_*.py"))}
    names = sys.argv[1:] or list(every)
    unknown = [name for name in names if name not in every]
    if unknown:
        print(f"bench: no benchmark {', '.join(unknown)}; there are: {', '.join(every)}", file=sys.stderr)
        return 2
    failed = []
    for name in names:
        print(f"\n== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"tests.benchmarks.bench_{name}"], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"\nbench: short of the mark, or broken: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
