"""The picture of a report in the README: its first screen, as a browser shows it.

    transferkit quickstart --out runs
    python docs/picture_of_report.py runs/quickstart/…/report.html docs/pictures/report.webp

It needs Playwright, and Chromium where `CHROMIUM` says or Playwright has put it.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

WIDTH = 1220  # pixels of the page
QUALITY = 80
LARGEST = 150_000  # bytes


def first_screen(page: Path) -> Image.Image:
    """From the top of the page to the end of its tiles."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": WIDTH, "height": 1000}, color_scheme="light")
        tab.goto(page.absolute().as_uri())
        box = tab.locator(".tiles").first.bounding_box()
        if box is None:
            raise SystemExit(f"{page} has no tiles: it is not the report of a run with a result")
        height = box["y"] + box["height"] + 16
        shot = tab.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": height})
        browser.close()
    return Image.open(io.BytesIO(shot)).convert("RGB")


def main(page: str, out: str) -> None:
    """Write the picture; a README should not be heavy."""
    first_screen(Path(page)).save(out, quality=QUALITY, method=6)
    if (size := Path(out).stat().st_size) > LARGEST:
        raise SystemExit(f"{out} has {size:,} bytes, more than {LARGEST:,}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
