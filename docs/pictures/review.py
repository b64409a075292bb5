"""Makes review.webp, a picture of a review page: `python docs/pictures/review.py`. It needs Chromium.

The images are samples that scikit-image contains: a cup (Rachel Michetti, CC0) and Eileen Collins (NASA, public
domain).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import skimage.data
from PIL import Image

SIZE = (1180, 1010)


def main() -> None:
    """Redacts two images, and draws the page of their review as a browser shows it."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    assert browser, "Chromium is needed"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "archive").mkdir()
        for image in ("coffee", "astronaut"):
            Image.fromarray(getattr(skimage.data, image)()).save(folder / "archive" / f"{image}.png")
        subprocess.run(
            [sys.executable, "-m", "mlcycle", "-q", "redact", "archive", "--out", "run"], cwd=folder, check=True
        )
        flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={folder / 'b'}",
        ]
        window = f"--window-size={SIZE[0]},{SIZE[1]}"
        page, shot = folder / "run" / "review.html", folder / "review.png"
        subprocess.run(
            [browser, *flags, window, f"--screenshot={shot}", page.as_uri()], check=True, capture_output=True
        )
        Image.open(shot).convert("RGB").save(Path(__file__).with_suffix(".webp"), quality=80, method=6)


if __name__ == "__main__":
    main()
