"""How much of a training step is the network's own: images a second of `mlcycle train`, as a share of the bare step.

The bare step is the same network's forward pass, losses and backward pass on one batch that never changes, with as many
threads and in the same precision; everything that a real training adds (reading, cutting and changing photographs, the
optimizer, the moving average, reports) makes the share smaller. Both run in turn, in processes of their own.

    python benchmarks/training.py RECIPE [key=value …] [--rounds 3] [--steps 60]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BARE = "--bare"
# Steps at the beginning that are not counted: caches fill, memory is taken.
WARM_UP = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--rounds", type=int, default=3, help="How often each runs.")
    parser.add_argument("--steps", type=int, default=60, help="Steps that are counted in each run.")
    parser.add_argument(BARE, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        print(bare(options.recipe, options.overrides, options.steps))
        return
    shares = []
    for number in range(options.rounds):
        alone = bare_in_its_own_process(options)
        whole = train(options)
        shares.append(whole / alone)
        print(f"round {number + 1}: training {whole:.1f}, bare {alone:.1f} images/s: {shares[-1]:.3f}", flush=True)
    print(f"share of the bare step: median {statistics.median(shares):.3f} ({min(shares):.3f} to {max(shares):.3f})")


def bare_in_its_own_process(options: argparse.Namespace) -> float:
    words = [sys.executable, __file__, options.recipe, *options.overrides, "--steps", str(options.steps), BARE]
    return float(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)


def bare(recipe_path: str, overrides: list[str], steps: int) -> float:
    """Returns images a second of forward pass, losses and backward pass alone."""
    import torch

    from mlcycle.training.device import keep_memory, share_processors
    from mlcycle.training.learner import losses_of
    from mlcycle.training.network import FaceNetwork
    from mlcycle.training.recipe_file import find, load

    recipe = load(find(recipe_path), overrides)
    keep_memory()
    share_processors(torch.device("cpu"), recipe.schedule.workers)
    model = FaceNetwork(**recipe.model.model_dump()).to(memory_format=torch.channels_last).train()
    batch = fixed_batch(recipe.schedule.batch, recipe.augment.crop)
    is_half = recipe.schedule.precision == "bfloat16"
    pictures = batch.pixels_BSS3.permute(0, 3, 1, 2).to(torch.bfloat16 if is_half else torch.float32)
    started = 0.0
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
            answers = model(pictures)
        sums = losses_of(answers, batch, recipe.model)
        parts = sums.over(sums.counts_3)
        model.zero_grad(set_to_none=True)
        (parts.score + parts.box + parts.landmarks).backward()
    return steps * recipe.schedule.batch / (time.perf_counter() - started)


def fixed_batch(count: int, side: int):
    """Returns a batch of noise with five faces in each picture."""
    import torch

    from mlcycle.training.recipe import LOOKS
    from mlcycle.training.samples import Batch

    random = torch.Generator().manual_seed(0)
    corners = torch.rand((5 * count, 2), generator=random) * side * 0.7
    faces = torch.cat((corners, corners + 10 + torch.rand((5 * count, 2), generator=random) * side * 0.25), dim=1)
    return Batch(
        pixels_BSS3=torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=random),
        looks_BL=torch.rand((count, len(LOOKS)), generator=random),
        faces_M4=faces,
        landmarks_M52=faces[:, None, :2] + torch.rand((5 * count, 5, 2), generator=random) * 20,
        picture_M=torch.arange(count).repeat_interleave(5),
        ignored_I4=torch.zeros((0, 4)),
        ignored_picture_I=torch.zeros(0, dtype=torch.long),
        names=("noise",) * count,
    )


def train(options: argparse.Namespace) -> float:
    """Returns images a second of a real training, its first reports left out."""
    steps = WARM_UP + options.steps
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        length = [f"schedule.steps={steps}", f"schedule.evaluate_every={steps}", f"schedule.checkpoint_every={steps}"]
        words = [sys.executable, "-m", "mlcycle", "train", options.recipe, "--device", "cpu", "--out", str(run)]
        outcome = subprocess.run([*words, *options.overrides, *length], capture_output=True, text=True, check=False)
        if outcome.returncode:
            sys.exit(outcome.stderr)
        entries = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    counted = [each for each in entries if "images_per_second" in each and each["step"] > WARM_UP]
    return statistics.mean(each["images_per_second"] for each in counted)


if __name__ == "__main__":
    main()
