"""Makes the pictures of README and the documentation: `make pictures`.

Photos are samples that scikit-image and matplotlib contain: the portraits of Eileen Collins (NASA, public domain) and
of Grace Hopper (United States Navy, public domain). Terminals are drawn by rich from what the commands print.
core-hours.csv was measured by `mlcycle evaluate` on the model files of their time.
"""

from __future__ import annotations

import csv
import io
import os
import pty
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.cbook
import matplotlib.pyplot as plt
import skimage.data
from PIL import Image, ImageDraw
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

import mlcycle

FOLDER = Path(__file__).parent
HEIGHT = 360


def portraits() -> Image.Image:
    """Returns two portraits side by side."""
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        hopper = Image.open(file).convert("RGB")
    collins = Image.fromarray(skimage.data.astronaut())
    parts = [collins.resize((HEIGHT, HEIGHT)), hopper.resize((round(hopper.width * HEIGHT / hopper.height), HEIGHT))]
    canvas = Image.new("RGB", (sum(each.width for each in parts), HEIGHT))
    left = 0
    for each in parts:
        canvas.paste(each, (left, 0))
        left += each.width
    return canvas


def side_by_side(parts: list[Image.Image], gap: int = 12) -> Image.Image:
    width = sum(each.width for each in parts) + gap * (len(parts) - 1)
    canvas = Image.new("RGB", (width, parts[0].height), "white")
    left = 0
    for each in parts:
        canvas.paste(each, (left, 0))
        left += each.width + gap
    return canvas


def faces() -> None:
    """Draws the image, the faces in it, and the image without recognisable ones."""
    image = portraits()
    found = mlcycle.load("face-nano")(image)
    side_by_side([image, found.draw(), found.redact("blur")]).save(FOLDER / "faces.webp", quality=80, method=6)
    half = image.copy()
    covered = found.redact("pixelate")
    half.paste(covered.crop((image.width // 2, 0, image.width, image.height)), (image.width // 2, 0))
    draw = ImageDraw.Draw(half)
    draw.line([(image.width // 2, 0), (image.width // 2, image.height)], "white", 3)
    half.save(FOLDER / "redacted.webp", quality=80, method=6)


def terminal(name: str, commands: list[str], folder: Path, width: int = 100) -> None:
    """Runs commands in a terminal and draws what they print."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    for command in commands:
        console.print(Text(f"$ {command}", style="bold green"))
        console.print(Text.from_ansi(run_in_terminal(command, folder, width)))
    console.save_svg(str(FOLDER / f"{name}.svg"), title=name, theme=MONOKAI, unique_id=name)


def run_in_terminal(command: str, folder: Path, width: int) -> str:
    main, other = pty.openpty()
    environment = os.environ | {"COLUMNS": str(width), "TERM": "xterm-256color", "LINES": "40"}
    words = [sys.executable, "-m", *command.split()]
    process = subprocess.Popen(words, cwd=folder, stdout=other, stderr=other, env=environment, close_fds=True)
    os.close(other)
    printed = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # Linux reports the end of a terminal so
            break
        if not part:
            break
        printed += part
    if process.wait():
        raise SystemExit(f"{command} failed:\n{printed.decode()}")
    return printed.decode().replace("\r\n", "\n").rstrip()


def core_hours() -> None:
    """Draws the accuracy of face-nano over the processor time of its training."""
    with (FOLDER / "core-hours.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    # The same picture has the same bytes, and its text is text.
    plt.rcParams.update({"svg.hashsalt": "core-hours", "svg.fonttype": "none"})
    figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
    hours = [float(row["core_hours"]) for row in rows]
    for level, marker in (("easy", "o"), ("medium", "s"), ("hard", "^")):
        scores = [float(row[level]) for row in rows]
        axes.plot(hours, scores, marker=marker)
        axes.annotate(level, (hours[-1], scores[-1]), xytext=(8, -3), textcoords="offset points")
    axes.set(xlabel="core-hours of training", ylabel="AP, WIDER FACE, 245 images", xlim=(0, 11.8), ylim=(0.5, 1))
    axes.grid(alpha=0.3)
    figure.savefig(FOLDER / "core-hours.svg", metadata={"Date": None})


def main() -> None:
    faces()
    core_hours()
    with tempfile.TemporaryDirectory() as name:
        portraits().save(Path(name) / "photo.jpg", quality=92)
        terminal("infer", ["mlcycle infer photo.jpg --annotate found"], Path(name), 92)
        shutil.rmtree(Path(name) / "found")


if __name__ == "__main__":
    main()
