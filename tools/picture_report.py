"""Takes the picture of a report that the README shows: ``python tools/picture_report.py REPORT.html OUT.png``.

Needs Chromium (Debian: ``apt-get install chromium``).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SWITCHES = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic", "--hide-scrollbars",
    # Script time that passes before the picture is taken: plotly draws after the page has loaded.
    "--virtual-time-budget=5000",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--width", type=int, default=1280, help="pixels")
    parser.add_argument("--height", type=int, default=1560, help="pixels")
    options = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
    if browser is None:
        sys.exit("Chromium is not installed: apt-get install chromium")
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [browser, *SWITCHES, f"--user-data-dir={profile}", f"--window-size={options.width},{options.height}",
             f"--screenshot={options.picture.absolute()}", options.report.absolute().as_uri()],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
    print(f"Wrote {options.picture} ({options.picture.stat().st_size / 1e3:.0f} kB).")


if __name__ == "__main__":
    main()
