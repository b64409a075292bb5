"""Checkpoints: everything that a run needs to resume, in one safetensors file, which cannot contain code.

Tensor names: `model.*` the trained weights, `average.*` their EMA (which is evaluated and frozen),
`optimizer.<parameter>.<slot>` the optimizer's state. The file's metadata holds the step, the best score so far and the
losses not reported yet. No random state is needed: everything random in a step is a function of the seed and the step's
number. So is the learning rate, and bfloat16 needs no loss scale.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from mlcycle.artifact.bundled import FOLDER as BUNDLED
from mlcycle.errors import DataError
from mlcycle.training.run import tensor_file
from mlcycle.training.run.finer_grid import for_finer_grid, is_coarser
from mlcycle.training.run.more_depth import is_shallower, with_depth_of
from mlcycle.training.run.run_folder import BEST, CHECKPOINTS


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run.

    Attributes:
        step: optimizer steps done.
        seconds: of training, evaluations included.
        best_score, best_step: the best AP50 on the validation set so far, and its step.
        evaluated_step: the last step that was evaluated.
        unreported: the sums of the losses since the last report, and their number of steps under `steps`.
    """

    step: int = 0
    seconds: float = 0.0
    best_score: float = -1.0
    best_step: int = 0
    evaluated_step: int = 0
    unreported: Mapping[str, float] = field(default_factory=dict)


def collect(model: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Returns all tensors that a run needs to resume, by their names in a checkpoint, on the CPU."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in ema.state_dict().items()}
    names = _parameter_names(model, optimizer)
    for parameter, slots in optimizer.state.items():
        tensors |= {f"optimizer.{names[parameter]}.{slot}": value for slot, value in slots.items()}
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def save(path: Path, tensors: dict[str, Tensor], progress: Progress) -> None:
    """Writes a checkpoint of collected tensors; an existing one is replaced only by a complete one.

    Raises:
        InputError: it cannot be written.
    """
    texts = {tensor_file.PROGRESS_KEY: json.dumps(asdict(progress)), tensor_file.SEAL_KEY: tensor_file.ZEROS.decode()}
    tensor_file.write(path, safetensors.torch.save(tensors, texts))


def load(path: Path) -> tuple[dict[str, Tensor], Progress]:
    """Reads a checkpoint.

    Raises:
        DataError: missing, damaged (a single flipped bit is detected), or not a checkpoint of mlcycle's.
    """
    data = tensor_file.read(path)
    try:
        progress = Progress(**json.loads(tensor_file.texts(data)[tensor_file.PROGRESS_KEY]))
        return safetensors.torch.load(data), progress
    except (SafetensorError, KeyError, TypeError, ValueError) as problem:
        raise DataError(f"the checkpoint {path} cannot be read: {problem}", "resume from an earlier one") from None


def restore_best_score(done: Progress, best: Path) -> tuple[Progress, list[str]]:
    """Reads the best score from the best checkpoint itself, which may be of a later step than the one resumed from.

    Returns:
        the progress and, if the best checkpoint is lost, a message about it. In that case the best of the evaluations
        from now on takes its place; the last step is evaluated again.
    """
    if done.best_score < 0 and not best.exists():
        return done, []
    try:
        there = load(best)[1]
    except DataError as problem:
        before = max(0, min(done.evaluated_step, done.step - 1))
        lost = replace(done, best_score=-1.0, best_step=0, evaluated_step=before)
        return lost, [f"{problem.message}; the best from now on takes its place"]
    # The best checkpoint is saved at the end of an evaluation; a kill may have come before the step's own checkpoint.
    evaluated = there.evaluated_step if there.step == done.step else 0
    found = replace(done, best_score=there.best_score, best_step=there.best_step)
    return replace(found, evaluated_step=max(done.evaluated_step, evaluated)), []


def restore(tensors: dict[str, Tensor], model: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Puts a checkpoint's tensors back where `collect` took them from.

    Raises:
        DataError: the tensors belong to another network.
    """
    load_weights(tensors, model, "model")
    load_weights(tensors, ema, "average")
    for parameter, name in _parameter_names(model, optimizer).items():
        prefix = f"optimizer.{name}."
        # Every slot is on its parameter's device, also the step counter, as fused optimizers require.
        slots = {each.removeprefix(prefix): value for each, value in tensors.items() if each.startswith(prefix)}
        if slots:
            optimizer.state[parameter] = {
                slot: value.to(
                    parameter.device,
                    memory_format=_format(parameter) if value.dim() else torch.preserve_format,
                    copy=True,
                )
                for slot, value in slots.items()
            }


def load_weights(tensors: dict[str, Tensor], network: nn.Module, which: str) -> None:
    """Loads the tensors `which`.* ("model" or "average", the EMA) into a network.

    Raises:
        DataError: the tensors belong to another network.
    """
    state = {name.removeprefix(f"{which}."): value for name, value in tensors.items() if name.startswith(f"{which}.")}
    try:
        network.load_state_dict(state)
    except RuntimeError:
        raise DataError(
            "the checkpoint does not fit the recipe's network",
            "use the run's own recipe; runs of an earlier mlcycle may not fit",
        ) from None


def start(tensors: dict[str, Tensor], network: nn.Module, path: Path) -> None:
    """Initialises a network of a new run with EMA weights.

    The two may differ in whether they predict landmarks: outputs that only the network has keep their initial values.
    Weights of a network with a finest grid of stride 8 can start one of stride 4 (finer_grid.py), and those of a
    shallower network a deeper one (more_depth.py).

    Raises:
        DataError: weights of this network are missing, or there are others.
    """
    state = network.state_dict()
    average = {name.removeprefix("average."): value for name, value in tensors.items() if name.startswith("average.")}
    if is_coarser(average, state):
        average = for_finer_grid(average)
    if is_shallower(average, state):
        average = with_depth_of(state, average)
    unknown = average.keys() - state.keys()
    for name, own in state.items():
        given = average.get(name)
        if given is not None and name.startswith("answer.") and given.shape[1:] == own.shape[1:]:
            count = min(len(given), len(own))
            given = torch.cat((given[:count].to(own), own[count:]))
        if unknown or given is None or given.shape != own.shape:
            raise DataError(
                f"the weights {path} do not fit the recipe's network",
                "set model.width to theirs, depth to theirs or more, and stride to theirs or to 4; those of an earlier"
                " mlcycle may not fit",
            )
        state[name] = given
    network.load_state_dict(state)


def find_weights(named: str) -> Path:
    """Returns the file of the weights that a recipe names: of a run folder, a checkpoint, or a bundled model.

    Raises:
        DataError: no such weights.
    """
    path = Path(named)
    # A bare name is a bundled model's first, whatever the current folder has.
    bundled = [BUNDLED / f"{named}.safetensors"] if path.name == named else []
    for candidate in (*bundled, path / CHECKPOINTS / BEST, path):
        if candidate.is_file():
            return candidate
    there = ", ".join(sorted(each.stem for each in BUNDLED.glob("*.safetensors"))) or "none"
    raise DataError(
        f"no such weights: {named}",
        f"pass a run folder, a checkpoint, or weights that come with mlcycle ({there})",
    )


def save_weights(path: Path, ema: nn.Module) -> None:
    """Writes only the EMA weights, in half precision, from which another run can start."""
    state = {
        f"average.{name}": (value.half() if value.is_floating_point() else value).cpu().contiguous()
        for name, value in ema.state_dict().items()
    }
    save(path, state, Progress())


def _parameter_names(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[Tensor, str]:
    held = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    return {parameter: name for name, parameter in model.named_parameters() if parameter in held}


def _format(parameter: Tensor) -> torch.memory_format:
    if parameter.dim() == 4 and parameter.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format
