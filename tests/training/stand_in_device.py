"""Trains on a simulated device: it computes on the CPU, and like a GPU refuses operators with tensors of both devices.

`stand_in_device.py RECIPE RUN [key=value …]` makes a run, which a SIGTERM interrupts and which is then resumed, and
prints the operators of a step that would synchronise with a GPU. Torch's interface for devices written in Python is
experimental, and a later torch may need another setup.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as trees
from torch.utils import backend_registration

NAME = "standin"
STOP_AFTER = 4
# Operators whose result, or its size, the program needs at once.
SYNCHRONISING = {
    f"aten::{name}"
    for name in (
        "_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "bincount", "repeat_interleave",
        "_unique2", "unique_dim", "unique_consecutive",
    )
}  # fmt: skip
synchronisations: list[str] = []

backend_registration._setup_privateuseone_for_python_backend(NAME)
getattr(torch, NAME).get_amp_supported_dtype = lambda: [torch.bfloat16]
# Otherwise moving a module would replace the data of its parameters without the wrapper.
torch.__future__.set_overwrite_module_params_on_conversion(True)
DEVICE = torch.device(NAME, 0)


class Elsewhere(Tensor):
    """A tensor that reports the device; `here` holds its data on the CPU."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> Elsewhere:
        made = Tensor._make_wrapper_subclass(
            cls, here.size(), strides=here.stride(), storage_offset=here.storage_offset(),
            dtype=here.dtype, device=DEVICE,
        )  # fmt: skip
        made.here = here
        return made

    @classmethod
    def __torch_dispatch__(cls, operator: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:
        return compute(operator, *args, **(kwargs or {}))


def compute(operator: Any, *args: Any, **kwargs: Any) -> Any:
    """Computes an operator on the CPU."""
    name = operator.name().partition(".")[0]
    tensors = [each for each in trees.tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    elsewhere = [each for each in tensors if isinstance(each, Elsewhere)]
    # A GPU accepts scalars of the CPU.
    here = [each for each in tensors if not isinstance(each, Elsewhere) and each.dim()]
    if here and elsewhere and name not in ("aten::_to_copy", "aten::copy_"):
        raise RuntimeError(f"{operator.name()} was given tensors of two devices")
    wanted = kwargs.get("device")
    picks = [each for each in tensors[1:] if each.dtype == torch.bool] if name.startswith("aten::index") else []
    if elsewhere and (name in SYNCHRONISING or picks):
        synchronisations.append(name)
    made = operator(*trees.tree_map(_here, args), **trees.tree_map(_here, kwargs))
    if name == "aten::_to_copy" and wanted is not None and torch.device(wanted).type == "cpu":
        synchronisations.append(name)
        return made
    wrappers = {id(each.here): each for each in elsewhere}  # an in-place operator returns its input

    def wrapped(output: Any) -> Any:
        if not isinstance(output, Tensor):
            return output
        return wrappers[id(output)] if id(output) in wrappers else Elsewhere(output)

    return trees.tree_map(wrapped, made)


def _here(argument: Any) -> Any:
    if isinstance(argument, torch.device):
        return torch.device("cpu")
    return argument.here if isinstance(argument, Elsewhere) else argument


def _made_on_cpu_first(make: Any) -> Any:
    """Wraps a factory function, whose result the dispatcher does not pass to a wrapper."""

    def factory(*args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        made = make(*args, **kwargs)
        if device is None or torch.device(device).type == "cpu":
            return made
        if make is _tensor:
            synchronisations.append("torch.tensor")
        return made.to(device)

    return factory


def _new_tensor(like: Tensor, data: Any, **kwargs: Any) -> Tensor:
    return torch.tensor(data, **({"dtype": like.dtype, "device": like.device} | kwargs))


_tensor = torch.tensor
library = torch.library.Library("_", "IMPL")
library.fallback(compute, "PrivateUse1")
for each in ("tensor", "eye", "arange", "linspace", "randn", "rand"):
    setattr(torch, each, _made_on_cpu_first(getattr(torch, each)))
Tensor.new_tensor = _new_tensor  # type: ignore[method-assign,assignment]


def main(recipe: str, run: str, *overrides: str) -> None:
    from mlcycle.errors import Interrupted
    from mlcycle.training import fit as conductor
    from mlcycle.training.progress.display import Display
    from mlcycle.training.recipes.recipe_file import load

    def stop(self: Display, done: int) -> None:
        if done == STOP_AFTER:
            os.kill(os.getpid(), signal.SIGTERM)

    conductor.choose_device = lambda name, index=0: DEVICE
    Display.step, as_it_is = stop, Display.step  # type: ignore[method-assign]
    with suppress(Interrupted):
        conductor.fit(load(Path(recipe), overrides), Path(run), quiet=True)
    Display.step = as_it_is  # type: ignore[method-assign]
    conductor.fit(load(Path(recipe), overrides), Path(run), resume=True, quiet=True)
    print(*synchronisations_of_a_step(load(Path(recipe), overrides)))


def synchronisations_of_a_step(recipe: Any) -> list[str]:
    from mlcycle.training.data.synthetic_batch import synthetic_batch
    from mlcycle.training.distributed.process_group import ProcessGroup
    from mlcycle.training.trainer import Trainer

    trainer, batch = Trainer(recipe, DEVICE, ProcessGroup()), synthetic_batch(4, recipe.augment.crop, 5)
    for step in range(2):  # the first step creates the optimizer's state
        synchronisations.clear()
        trainer.step([batch], step, 1e-3)
    return list(synchronisations)


if __name__ == "__main__":
    main(*sys.argv[1:])
