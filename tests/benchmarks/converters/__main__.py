"""Run the converters' benchmarks: all of them, or those whose names are given (`mlperf peers`).

What is made goes to a folder that is removed afterwards, or to $EDGE_BENCHMARKS, where the next run finds it again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

_VARIABLE = "EDGE_BENCHMARKS"


def main() -> int:
    here = Path(__file__).parent
    every = {path.stem.removeprefix("bench_"): path for path in sorted(here.glob("bench_*.py"))}
    names = sys.argv[1:] or list(every)
    unknown = [name for name in names if name not in every]
    if unknown:
        print(f"bench: no benchmark {', '.join(unknown)}; there are: {', '.join(every)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        environ = {_VARIABLE: folder, **os.environ}
        failed = []
        for name in names:
            print(f"\n== {name}", flush=True)
            argv = [sys.executable, "-m", f"tests.benchmarks.converters.bench_{name}"]
            if subprocess.run(argv, check=False, env=environ).returncode:
                failed.append(name)
    if failed:
        print(f"\nbench: short of the mark, or broken: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
