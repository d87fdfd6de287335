"""The public types, checked by mypy as a user's program would be."""

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]


def test_mypy_infers_the_types_that_are_promised(tmp_path):
    files = sorted(str(path) for path in FOLDER.glob("check_*.py"))
    assert files
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", f"--cache-dir={os.devnull}", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
