"""The cost of model files in onnxruntime on one thread: milliseconds per image, and the ratio to a reference.

    python benchmarks/cost.py MODEL [MODEL ...] [--against OTHER.onnx] [--sides 320 640]

Needs only mlcycle. The reference is any ONNX file with one float input [batch, 3, height, width], or a model file of
mlcycle; by default it is the first MODEL. All files run in one process, in turn, with the session options of mlcycle;
each round begins with another file. The output is the median time, and the median and quartiles of the ratios over the
rounds. The timed window is the session's run on a square image in memory, which in a model file includes the
selection of boxes, and nothing else.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mlcycle.artifact.contract import CONTRACT_KEY, INPUT
from mlcycle.cli import console
from mlcycle.errors import InputError, MlcycleError, ModelFileError, UsageError
from mlcycle.inference import session
from mlcycle.inference.decoding import images
from mlcycle.inference.detect import load_detector
from mlcycle.inference.outputs import output

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
WARM_UPS = 3

Run = Callable[[], object]
# A function of image_HW3 (uint8 RGB, square) that returns a call which runs the file on it.
Prepare = Callable[[np.ndarray], Run]


@dataclass(frozen=True, slots=True)
class Cost:
    """One file at one image side: `milliseconds` is the median; ratios are to the reference: median and quartiles."""

    name: str
    side: int
    milliseconds: float
    ratio: float
    ratio_low: float
    ratio_high: float


def open_model(path: Path) -> Prepare:
    """Opens a model file of mlcycle, verified. Raises ModelFileError if it cannot be used."""
    runtime = load_detector(path, provider="cpu", threads=1).session.runtime
    return lambda image_HW3: lambda: runtime.run(None, {INPUT: image_HW3[None]})


def open_reference(path: Path) -> Prepare:
    """Opens any ONNX file with one float image input, or a model file of mlcycle.

    Raises:
        ModelFileError: the file cannot be read, onnxruntime cannot load it, or it has another kind of input.
    """
    import onnxruntime

    try:
        runtime = onnxruntime.InferenceSession(
            path.read_bytes(), session._options(1), providers=["CPUExecutionProvider"]
        )
    except OSError as problem:
        raise ModelFileError(f"the reference {path} cannot be read: {problem.strerror}") from None
    except Exception as problem:  # onnxruntime raises a dozen classes
        raise ModelFileError(f"onnxruntime cannot load {path}: {' '.join(str(problem).split())[:200]}") from None
    if CONTRACT_KEY in runtime.get_modelmeta().custom_metadata_map:
        return open_model(path)
    inputs = [(each.name, each.type, each.shape) for each in runtime.get_inputs()]
    if len(inputs) != 1 or inputs[0][1] != "tensor(float)" or len(inputs[0][2]) != 4:
        raise ModelFileError(
            f"{path} does not take one image of floats: {inputs}",
            "name a file with one input [batch, 3, height, width]",
        )
    [(name, _, shape)] = inputs

    def prepare(image_HW3: np.ndarray) -> Run:
        floats_13HW = np.ascontiguousarray(image_HW3.transpose(2, 0, 1)[None], np.float32)
        for fixed, given in zip(shape, floats_13HW.shape, strict=True):
            if isinstance(fixed, int) and fixed != given:
                raise UsageError(
                    f"{path} takes only {shape}, not {list(floats_13HW.shape)}", "pass its side with --sides"
                )
        return lambda: runtime.run(None, {name: floats_13HW})

    return prepare


def make_image(side: int, path: Path | None) -> np.ndarray:
    """Returns a square uint8 RGB image: the file resized to it, or the same noise each time."""
    if path is None:
        return np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    return np.array(images.decode(images.read(path)).upright().resize((side, side)))


def measure(runs: list[Run], rounds: int, clock: Callable[[], float]) -> np.ndarray:
    """Runs all in turn, each round beginning with another; returns milliseconds [rounds, runs]."""
    for run in runs:
        for _ in range(WARM_UPS):
            run()
    elapsed = np.zeros((rounds, len(runs)))
    for number in range(rounds):
        for turn in range(len(runs)):
            index = (number + turn) % len(runs)
            before = clock()
            runs[index]()
            elapsed[number, index] = (clock() - before) * 1000
    return elapsed


def costs_at(side: int, runs: dict[str, Run], rounds: int, clock: Callable[[], float]) -> list[Cost]:
    """Measures all files at one side; the first is the reference."""
    elapsed = measure(list(runs.values()), rounds, clock)
    ratios = elapsed / elapsed[:, :1]
    return [
        Cost(
            name, side, float(np.median(elapsed[:, index])), *np.quantile(ratios[:, index], (0.5, 0.25, 0.75)).tolist()
        )
        for index, name in enumerate(runs)
    ]


def as_table(costs: list[Cost]) -> str:
    """Returns the costs as lines of text."""
    width = max(len(cost.name) for cost in costs)
    lines = [f"{'':{width}} {'side':>6} {'ms':>9} {'ratio':>8}   quartiles"]
    lines += [
        f"{cost.name:{width}} {cost.side:>6} {cost.milliseconds:>9.2f} {cost.ratio:>8.3f}"
        f"   {cost.ratio_low:.3f} to {cost.ratio_high:.3f}"
        for cost in costs
    ]
    return "\n".join([*lines, "", f"ratio: to {costs[0].name}"])


def as_json(costs: list[Cost], arguments: argparse.Namespace) -> str:
    """Returns one JSON document."""
    import json

    settings = {"reference": costs[0].name, "rounds": arguments.rounds, "clock": arguments.clock, "threads": 1}
    return json.dumps(settings | {"costs": [asdict(cost) for cost in costs]}, indent=2)


def compare(arguments: argparse.Namespace) -> None:
    if arguments.out is not None and arguments.out.exists() and not arguments.overwrite:
        raise InputError(f"{arguments.out} already exists", "choose another file, or pass --overwrite")
    opened = {str(arguments.against): open_reference(arguments.against)} if arguments.against else {}
    opened |= {str(path): open_model(path) for path in arguments.models if str(path) not in opened}
    # All sides are prepared before any is measured, so that a reference of another fixed size is refused at once.
    images = {side: make_image(side, arguments.image) for side in arguments.sides}
    runs = {side: {name: prepare(images[side]) for name, prepare in opened.items()} for side in arguments.sides}
    clock = CLOCKS[arguments.clock]
    costs = [cost for side in runs for cost in costs_at(side, runs[side], arguments.rounds, clock)]
    text = as_json(costs, arguments) if arguments.format == "json" else as_table(costs)
    with output.open_output(arguments.out, overwrite=arguments.overwrite) as stream:
        stream.write(f"{text}\n")


def main(words: list[str] | None = None) -> int:
    try:
        compare(_arguments(words))
    except MlcycleError as problem:
        console.fail(problem.message, problem.hint)
        return problem.exit_code
    except KeyboardInterrupt:
        console.fail("interrupted; nothing was written")
        return 130
    return 0


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL", help="model files of mlcycle")
    parser.add_argument("--against", type=Path, help="the reference; by default the first MODEL")
    parser.add_argument("--sides", type=_count, nargs="+", default=[320, 640], help="of the square images, in pixels")
    parser.add_argument("--rounds", type=_count, default=40)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall", help="cpu: on a machine with other work")
    parser.add_argument("--image", type=Path, help="an image to run on, instead of noise")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("--out", type=Path, help="write to this file instead of stdout")
    parser.add_argument("--overwrite", action="store_true", help="replace that file if it exists")
    return parser.parse_args(words)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
