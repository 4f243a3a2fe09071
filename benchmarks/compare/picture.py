"""The picture of a comparison's page in the README, made from a saved comparison in a browser.

    python -m benchmarks.compare.picture comparison.json docs/pictures/compare.png

``benchmarks/compare/minutes.py`` measures and saves such a comparison.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from sdk.compare.comparison import Comparison
from tests.compare.browser import Browser

WIDTH = 1200
MOST_BYTES = 150_000


def picture(kept: Path) -> bytes:
    """Return the page down to the end of its first chart as a PNG file."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        Comparison.load(kept).to_html(folder / "page.html")
        with Browser(folder / "browser") as browser:
            browser.open(folder / "page.html", WIDTH)
            height = browser.js("document.querySelector('#trade').getBoundingClientRect().bottom + scrollY")
            return browser.picture(WIDTH, int(height))


def main() -> None:
    made = picture(Path(sys.argv[1]))
    if len(made) > MOST_BYTES:
        sys.exit(f"the picture has {len(made)} bytes, {MOST_BYTES} are allowed")
    Path(sys.argv[2]).write_bytes(made)


if __name__ == "__main__":
    main()
