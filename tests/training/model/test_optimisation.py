"""The optimizer, the learning-rate schedule and the EMA, each compared with its definition."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from mlcycle.training.model.muon import Muon, is_inner, orthogonal  # noqa: E402
from mlcycle.training.model.network import FaceNetwork  # noqa: E402
from mlcycle.training.model.optimisation import learning_rate, make_optimizer, update_ema  # noqa: E402
from mlcycle.training.recipes.recipe import Schedule  # noqa: E402

pytestmark = pytest.mark.training


@pytest.mark.parametrize("shape", [(16, 144), (64, 64), (96, 40)])
def test_singular_values_end_near_one_and_directions_stay(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    made, other = orthogonal(torch.stack((matrix, -2 * matrix)))
    assert made.shape == matrix.shape
    assert torch.equal(other, -made)
    values = torch.linalg.svdvals(made)
    # A singular value near zero takes more iterations to grow.
    assert values.max() < 1.3
    assert values.median() > 0.6
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    exact = left @ right
    assert (made * exact).sum() / (made.norm() * exact.norm()) > 0.95


def test_muon_updates_inner_convolutions_and_adamw_the_rest() -> None:
    model = FaceNetwork(4, 1, True)
    named = dict(model.named_parameters())
    assert not is_inner(named["stem.convolution.weight"])
    assert not is_inner(named["answer.weight"])
    assert is_inner(named["stages.1.0.convolution.weight"])
    optimizer = make_optimizer(model, Schedule(steps=1, weight_decay=0.0))
    twin = FaceNetwork(4, 1, True)
    twin.load_state_dict(model.state_dict())
    adamw = make_optimizer(twin, Schedule(steps=1, weight_decay=0.0, optimizer="adamw"))
    for network, each in ((model, optimizer), (twin, adamw)):
        for number, parameter in enumerate(network.parameters()):
            parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
        each.step()
    for (name, one), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert torch.allclose(one, other) == (not is_inner(one)), name


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_fused_steps_on_channels_last_kernels_equal_a_plain_loop(optimizer: str) -> None:
    fused, plain = (FaceNetwork(4, 1, True).to(memory_format=torch.channels_last) for _ in range(2))
    plain.load_state_dict(fused.state_dict())
    pairs = [
        pair for pair in zip(fused.parameters(), plain.parameters(), strict=True)
        if optimizer == "adamw" or not is_inner(pair[0])
    ]  # fmt: skip
    rule = Schedule(steps=1, optimizer=optimizer)
    groups = [
        {"params": [mine for _, mine in pairs if mine.dim() > 1], "weight_decay": rule.weight_decay},
        {"params": [mine for _, mine in pairs if mine.dim() <= 1], "weight_decay": 0.0},
    ]
    both = make_optimizer(fused, rule), torch.optim.AdamW(groups, lr=rule.learning_rate, foreach=False)
    for step in range(3):
        for number, pair in enumerate(pairs):
            gradient = torch.randn(pair[0].shape, generator=torch.Generator().manual_seed(100 * step + number))
            for each in pair:
                each.grad = torch.empty_like(each).copy_(gradient)
        for each in both:
            each.step()
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_muon_steps_do_not_depend_on_the_memory_order() -> None:
    rows, last = (FaceNetwork(8, 1, False) for _ in range(2))
    last.load_state_dict(rows.state_dict())
    last = last.to(memory_format=torch.channels_last)
    for network in (rows, last):
        for number, parameter in enumerate(network.parameters()):
            gradient = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
            parameter.grad = torch.empty_like(parameter).copy_(gradient)
        make_optimizer(network, Schedule(steps=1)).step()
    for one, other in zip(rows.parameters(), last.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_muon_minimises_a_simple_function() -> None:
    torch.manual_seed(0)
    model = nn.Conv2d(8, 4, 3, bias=False)
    wanted = torch.randn_like(model.weight) * 0.1
    optimizer = Muon(model, 1e-3, 0.0)
    losses = []
    for _ in range(300):
        optimizer.zero_grad()
        loss = (model.weight - wanted).square().sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.02 * losses[0]


def test_the_rate_warms_up_and_falls_to_a_hundredth() -> None:
    rule = Schedule(steps=110, warmup_steps=10, learning_rate=1.0)
    rates = [learning_rate(step, rule) for step in range(110)]
    assert rates[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[60] == pytest.approx(0.505, abs=0.01)
    assert learning_rate(110, rule) == pytest.approx(0.01)


def test_the_ema_is_fast_at_first_and_copies_counters() -> None:
    model, ema = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.num_batches_tracked.fill_(5)
    update_ema(ema, model, 0, 0.9)
    assert ema.weight.tolist() == pytest.approx([2.8, 2.8])
    assert ema.num_batches_tracked == 5
    update_ema(ema, model, 10_000, 0.9)
    assert ema.weight.tolist() == pytest.approx([2.82, 2.82])
