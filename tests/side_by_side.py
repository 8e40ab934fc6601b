"""Runs the tests in two halves at once, one a processor core: `python tests/side_by_side.py`.

Nearly all tests run on one thread, so a second core would be idle. What the first half says is
shown as it comes, what the second said when both have ended. Flags are passed on to pytest.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parent
SECOND = ("reliability", "model", "inference", "train/test_compilation.py")
"""Folders and files of the second half; the first has all others."""


def main() -> int:
    """Runs both; the exit code of one that failed, else 0."""
    pytest = [sys.executable, "-m", "pytest", *sys.argv[1:]]
    second = [str(TESTS / name) for name in SECOND]
    with tempfile.TemporaryFile("w+b") as output:
        other = subprocess.Popen([*pytest, *second], stdout=output, stderr=subprocess.STDOUT)
        try:
            ignored = [f"--ignore={path}" for path in second]
            code = subprocess.run([*pytest, str(TESTS), *ignored], check=False).returncode
            other_code = other.wait()
        finally:
            other.kill()
        output.seek(0)
        sys.stdout.buffer.write(output.read())
        sys.stdout.flush()
    return code or other_code


if __name__ == "__main__":
    sys.exit(main())
