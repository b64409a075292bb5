"""Several processes that train one network: the same result as one process, and a failure of one ends all."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field, fields, make_dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from conftest import environment  # noqa: E402
from forked import run_in_copy  # noqa: E402
from gradients import write_gradients  # noqa: E402

from mlcycle.cli.train import device  # noqa: E402
from mlcycle.errors import DataError, Interrupted, UsageError  # noqa: E402
from mlcycle.training import fit, memory, stopping  # noqa: E402
from mlcycle.training.distributed import failure, launch, process_group  # noqa: E402
from mlcycle.training.distributed.process_group import ProcessGroup  # noqa: E402
from mlcycle.training.progress.display import Display  # noqa: E402
from mlcycle.training.progress.meter import Meter  # noqa: E402
from mlcycle.training.recipes.recipe_file import load  # noqa: E402
from mlcycle.training.run import checkpoint  # noqa: E402
from mlcycle.training.stopping import StopRequest  # noqa: E402

pytestmark = pytest.mark.training
pytest_plugins = ("small_run",)

EXACT = ("schedule.precision=float32", "schedule.workers=0", "augment.large=0.3", "schedule.batch=8")
LONG = (*EXACT, "schedule.steps=60", "schedule.evaluate_every=30", "schedule.checkpoint_every=10")
LINE = [sys.executable, "-m", "mlcycle", "train"]
# What launch.launch sets in its own environment, for the processes that it starts.
SET_BY_LAUNCH = (
    "OMP_NUM_THREADS", failure.REPORTED_BY_LAUNCHER, stopping.PARENT, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE",
)  # fmt: skip


def entries(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def losses(run: Path) -> list[float]:
    return [entry["loss"] for entry in entries(run) if "loss" in entry]


def train(*words: object, **more: str) -> subprocess.CompletedProcess[str]:
    line = [*LINE, *map(str, words), "--device", "cpu"]
    return subprocess.run(line, env=environment() | more, capture_output=True, text=True, check=False, timeout=300)


@contextmanager
def launching_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets this process, which has imported torch, launch others; restores its signal handlers and environment.

    The slow tests launch from a process of its own.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
        for name in SET_BY_LAUNCH:
            patch.setenv(name, "1")
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGHUP")
def test_two_devices_train_like_one(
    recipe_path: Path, tmp_path: Path, mlcycle: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, both = tmp_path / "alone", tmp_path / "both"
    first, second = (f"data.decoded={tmp_path / name}" for name in ("one", "two"))
    recipe = recipe_path, *EXACT, "finish.score_layer.long_sides=[0,128]"
    assert mlcycle("train", *recipe, first, "--device", "cpu", "--out", alone).code == 0
    with launching_here(monkeypatch):
        outcome = mlcycle("train", *recipe, second, "--device", "cpu", "--devices", 2, "--out", both)
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1] == str(both)  # torch 2.10 prints more
    assert outcome.err.count(" training images with ") == 1
    assert outcome.err.count("validation: AP") == 3
    assert losses(both) == pytest.approx(losses(alone), rel=0.01)
    one, two = (entries(run)[-1] for run in (alone, both))
    assert two["score_layer_loss_before"] == pytest.approx(one["score_layer_loss_before"], rel=0.05)
    assert two["score_layer_loss"] < two["score_layer_loss_before"]
    environment_json = json.loads((both / "environment.json").read_text())
    assert environment_json["device"].startswith("2 x cpu")
    assert (both / "report.html").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.slow
def test_gradients_of_two_processes_equal_those_of_one(recipe_path: Path, finished_run: Path, tmp_path: Path) -> None:
    """In double precision, so that rounding in another order of sums hides no difference."""
    taught = tmp_path / "taught.yaml"
    taught.write_text(recipe_path.read_text() + f"teacher: {{weights: {finished_run.as_posix()}}}\n")
    trials = [(recipe_path, 1), (recipe_path, 2), (taught, 1)]
    code = run_in_copy(lambda: write_gradients(tmp_path, trials), tmp_path / "output.txt")
    assert code == 0, (tmp_path / "output.txt").read_text()
    found = [[torch.load(tmp_path / f"{number}-{processes}.pt") for processes in (1, 2)] for number in range(3)]
    for one, two in found:
        assert one.keys() == two.keys()
        for name, value in one.items():
            assert torch.allclose(two[name], value, rtol=1e-9, atol=1e-12), name
    gradients = [one["answer.weight"] for one, _ in found]
    assert not torch.allclose(gradients[0], gradients[1], rtol=1e-3)  # the trials are three
    assert not torch.allclose(gradients[0], gradients[2], rtol=1e-3)


@pytest.mark.parametrize("seen", [(3, 1), (2, 3), (0, 1), (5, 4)])
def test_processes_may_be_stopped_at_different_images_of_an_evaluation(seen: tuple[int, int]) -> None:
    group = SimpleNamespace(
        rank=0, size=2, all_gather=lambda own: [[(rank, each) for each in range(seen[rank])] for rank in (0, 1)]
    )
    found = fit._Run._of_all_processes(SimpleNamespace(group=group), iter(()), 9, StopRequest())
    assert found == ([(index % 2, index // 2) for index in range(9)] if sum(seen) == 9 else [])


def recorded(sentence: str, *, is_loss: bool = False) -> dict:
    return {"message": {"message": sentence}, "hint": "", "exit_code": 1, "trace": "", "is_loss": is_loss}


def failed(exit_code: int, sentence: str = "", *, is_loss: bool = False) -> SimpleNamespace:
    content = recorded(sentence, is_loss=is_loss) if sentence else {}
    return SimpleNamespace(exitcode=exit_code, timestamp=1, error_file_data=content, local_rank=1)


def first(folder: Path, *failures: SimpleNamespace) -> tuple[int, failure.Failure]:
    return launch._first(SimpleNamespace(failures=dict(enumerate(failures))), folder)


def test_a_lost_connection_is_reported_only_if_no_other_process_recorded_a_failure(tmp_path: Path) -> None:
    lost, broken, killed, ended = (
        failed(1, "closed", is_loss=True),
        failed(1, "broken"),
        failed(-9),
        failed(-15),
    )
    assert first(tmp_path, lost, broken)[1].sentence == "broken"
    assert first(tmp_path, lost, killed)[1].sentence == "it was killed by SIGKILL; all processes have ended"
    assert first(tmp_path, ended, lost) == (1, failure.Failure("closed", "", 1, "", True))


def test_the_output_of_a_process_that_a_cpp_error_ended_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "mlcycle_abc" / "attempt_0" / "1"
    folder.mkdir(parents=True)
    (folder / "stderr.log").write_text(
        "terminate called after throwing an instance of 'c10::Error'\n  what(): broken\n"
    )
    _, found = first(tmp_path, failed(0, "lost", is_loss=True), failed(-signal.SIGABRT))
    assert found.sentence == "it was killed by SIGABRT; all processes have ended"
    assert found.trace.endswith("what(): broken")


def test_failures_of_earlier_attempts_are_not_reported(tmp_path: Path) -> None:
    for attempt, sentences in (("attempt_9", ["broken", "lost"]), ("attempt_10", ["newest"])):
        for process, sentence in enumerate(sentences):
            folder = tmp_path / "mlcycle_abc" / attempt / str(process)
            folder.mkdir(parents=True)
            (folder / "error.json").write_text(json.dumps(recorded(sentence)))
    assert [(process, each.sentence) for process, each in failure.recorded_failures(tmp_path)] == [(0, "newest")]
    assert failure.recorded_failures(tmp_path / "mlcycle_abc") == []


@pytest.mark.parametrize("content", [b"", b'{"message": {"mess', b"\xff", b"3", b'{"message": "of another program"}'])
def test_an_incomplete_failure_file_is_ignored(content: bytes, tmp_path: Path) -> None:
    for process in ("0", "1"):
        (tmp_path / process).mkdir()
        (tmp_path / process / "error.json").write_bytes(
            content if process == "0" else json.dumps(recorded("broken")).encode()
        )
    assert [(process, each.sentence) for process, each in failure.recorded_failures(tmp_path)] == [(1, "broken")]


def test_a_failure_file_that_cannot_be_written_completely_is_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(failure.FILE_VARIABLE, str(tmp_path / "error.json"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(ValueError, match="xxx"), failure.recorded():
            raise ValueError("x" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_an_older_torchrun_gets_no_shutdown_timeout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = launch._config(2, launch.Rendezvous(), str(tmp_path))
    older = [each for each in fields(whole) if each.name != "shutdown_timeout"]
    config = make_dataclass("Older", [(each.name, Any, field(default=None)) for each in older])
    monkeypatch.setattr(launch, "LaunchConfig", config)
    assert launch._config(2, launch.Rendezvous(), str(tmp_path)).nproc_per_node == 2


def test_machines_that_cannot_connect_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise launch.RendezvousError("The connection to the C10d store has failed.")

    monkeypatch.setattr(launch, "elastic_launch", lambda config, program: fail)
    for name in SET_BY_LAUNCH:
        monkeypatch.setenv(name, "1")
    rendezvous = launch.Rendezvous((2, 2), "gpu-1:29400")
    with pytest.raises(launch.DeviceError, match=r"cannot connect at gpu-1:29400: The connection"):
        launch.launch([], 1, "cpu", rendezvous, "resume")


def test_a_failed_training_does_not_remove_a_folder_of_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*arguments: object) -> int:
        problem = launch.ProcessFailedError("no dataset at data/x")
        problem.exit_code = DataError.exit_code
        raise problem

    monkeypatch.setattr(launch, "launch", fail)
    wanted = device.Devices(1, device.Device.cpu, "2", "here:29400", 0)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "photo.jpg").touch()
    with pytest.raises(launch.ProcessFailedError):
        device.launch(["recipe"], theirs, wanted)
    assert (theirs / "photo.jpg").exists()


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (("else", "random", "data"), "process 1 of the training has another recipe"),
        (("recipe", "random", "else"), "process 1 of the training has other images"),
    ],
)
def test_processes_with_another_recipe_or_data_are_refused(
    recipe_path: Path, other: tuple[str, str, str], sentence: str
) -> None:
    recipe, training_data = load(recipe_path), SimpleNamespace(fingerprint="data", packing="")

    def all_gather(own: tuple) -> list[tuple]:
        return [own, tuple(each if each == "else" else mine for mine, each in zip(own, other, strict=True))]

    with pytest.raises(UsageError, match=sentence):
        fit._must_be_alike(recipe, training_data, SimpleNamespace(all_gather=all_gather))
    fit._must_be_alike(recipe, training_data, ProcessGroup())


def test_all_processes_wait_for_the_report(
    recipe_path: Path, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    monkeypatch.setattr(ProcessGroup, "any", lambda group, claim: happened.append("barrier") or claim)
    monkeypatch.setattr(fit._Run, "_write_report", lambda *arguments: happened.append("report"))
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    fit.fit(load(recipe_path), run, device="cpu", resume=True, quiet=True)
    assert happened == ["report", "barrier"]


def test_all_processes_wait_until_the_run_is_saved(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    stop = lambda display, done: os.kill(os.getpid(), signal.SIGTERM) if done == 2 else None  # noqa: E731
    monkeypatch.setattr(Display, "step", stop)
    monkeypatch.setattr(ProcessGroup, "any", lambda group, claim: happened.append("barrier") or claim)
    monkeypatch.setattr(fit._Run, "_save_step", lambda run: happened.append("save"))
    with pytest.raises(Interrupted):
        fit.fit(load(recipe_path, ["schedule.workers=0"]), tmp_path / "run", device="cpu", quiet=True)
    assert happened[-2:] == ["save", "barrier"]


def test_variables_set_by_a_cluster_are_not_those_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert process_group.from_environment() == ProcessGroup()
    assert device.is_main()
    monkeypatch.setenv("LOCAL_RANK", "3")
    with pytest.raises(UsageError, match="LOCAL_WORLD_SIZE is not"):
        process_group.from_environment()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert process_group.from_environment() == ProcessGroup(1, 2, 3, 4)
    assert not device.is_main()


class Watched:
    """`mlcycle train` on several devices, in the background."""

    def __init__(self, run: Path, *words: object, devices: int = 2, before: Sequence[str] = ()) -> None:
        self.run = run
        line = [*before, *LINE, *map(str, words), "--device", "cpu", "--devices", str(devices)]
        self.process = subprocess.Popen(
            line, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def wait_for_a_checkpoint(self) -> None:
        for _ in range(1200):
            if self.process.poll() is not None or any(self.run.glob("checkpoints/step-*.safetensors")):
                return
            time.sleep(0.1)

    def pid_of(self, rank: int) -> int:
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and f"RANK={rank}" in _variables(folder) and str(self.run) in _words(folder):
                return int(folder.name)
        raise LookupError(rank)

    def end(self) -> tuple[int, str]:
        _, stderr = self.process.communicate(timeout=300)
        return self.process.returncode, stderr


def _variables(folder: Path) -> list[str]:
    try:
        return (folder / "environ").read_text(errors="replace").split("\0")
    except OSError:
        return []


def _words(folder: Path) -> list[str]:
    return (folder / "cmdline").read_text(errors="replace").split("\0")


@pytest.fixture(scope="module")
def unbroken(recipe_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("devices") / "unbroken"
    outcome = train(recipe_path, *LONG, "--devices", 2, "--out", run)
    assert outcome.returncode == 0, outcome.stderr
    return run


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes in /proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_all_and_the_run_can_be_resumed(
    recipe_path: Path, unbroken: Path, tmp_path: Path, rank: int
) -> None:
    run = tmp_path / "run"
    watched = Watched(run, recipe_path, *LONG, "--out", run)
    watched.wait_for_a_checkpoint()
    os.kill(watched.pid_of(rank), signal.SIGKILL)
    code, stderr = watched.end()
    assert code == 1
    assert "was killed by SIGKILL; all processes have ended" in stderr
    assert ("process 1 of the training" in stderr) == (rank == 1)
    assert f"mlcycle train --resume {run} --devices 2" in stderr
    assert "Traceback" not in stderr
    outcome = train("--resume", run, "--devices", 2)
    assert outcome.returncode == 0, outcome.stderr
    last = "step-00000060.safetensors"
    one, other = (checkpoint.load(each / "checkpoints" / last)[0] for each in (unbroken, run))
    assert [name for name, value in one.items() if not torch.equal(value, other[name])] == []
    assert losses(run) == losses(unbroken)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_run_of_all_processes(
    recipe_path: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    run = tmp_path / "run"
    watched = Watched(run, recipe_path, *LONG, "schedule.steps=100000", "--out", run)
    watched.wait_for_a_checkpoint()
    watched.process.send_signal(number)
    ended, stderr = watched.end()
    assert ended == code, stderr
    assert stderr.count("the run is saved") == 1
    assert f"mlcycle train --resume {run} --devices 2" in stderr
    stopped_at = checkpoint.load(max((run / "checkpoints").glob("step-*.safetensors")))[1].step
    assert f"at step {stopped_at} of 100000" in stderr


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs prctl")
@pytest.mark.parametrize("devices", [1, 2])
def test_processes_whose_launcher_was_killed_save_and_end(recipe_path: Path, tmp_path: Path, devices: int) -> None:
    run = tmp_path / "run"
    watched = Watched(run, recipe_path, *LONG, "schedule.steps=100000", "--out", run, devices=devices)
    watched.wait_for_a_checkpoint()
    watched.process.kill()
    code, stderr = watched.end()  # a process that still trains would keep stderr open
    assert code == -signal.SIGKILL
    assert stderr.count("the run is saved") == 1


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nohup") is None, reason="nohup is not installed")
def test_nohup_protects_several_processes_from_sighup(recipe_path: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    watched = Watched(run, recipe_path, *LONG, "--out", run, before=["nohup"])
    watched.wait_for_a_checkpoint()
    watched.process.send_signal(signal.SIGHUP)
    code, stderr = watched.end()
    assert code == 0, stderr
    assert entries(run)[-1]["step"] == 60


@pytest.mark.slow
def test_a_killed_process_is_restarted_with_restarts(recipe_path: Path, unbroken: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    watched = Watched(run, recipe_path, *LONG, "--out", run, "--restarts", 3)
    watched.wait_for_a_checkpoint()
    os.kill(watched.pid_of(1), signal.SIGKILL)
    code, stderr = watched.end()
    assert code == 0, stderr
    assert "resumed from step" in stderr
    assert losses(run) == losses(unbroken)


@pytest.mark.slow
def test_the_error_of_a_process_is_shown_with_its_traceback(recipe_path: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os\n"
        "if os.environ.get('RANK') == '1':\n"
        "    from mlcycle.training.trainer import Trainer\n"
        "    def poisoned(*arguments): raise ValueError('a failed step')\n"
        "    Trainer.step = poisoned\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, [environment().get("PYTHONPATH")])])
    outcome = train(recipe_path, *EXACT, "--devices", 2, "--out", tmp_path / "run", PYTHONPATH=path)
    assert outcome.returncode == 1
    assert "process 1 of the training: ValueError: a failed step" in outcome.stderr
    assert ", in poisoned\n" in outcome.stderr
    assert outcome.stderr.count("Traceback") == 1


@pytest.mark.slow
def test_torchrun_itself_can_start_it(recipe_path: Path, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", *LINE[2:]]
    words = [str(recipe_path), *EXACT, "--device", "cpu", "--out", str(tmp_path / "run")]
    outcome = subprocess.run([*line, *words], env=environment(), capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.splitlines()[-1] == str(tmp_path / "run")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--devices", "2", "--nodes", "2"], "contradict each other"),
        (["--devices", "2", "--rendezvous", "here:1"], "contradict each other"),
        (["--devices", "2", "--nodes", "many"], "is not a number of machines"),
        (["--restarts", "2"], "have no effect without --devices"),
        (["--nodes", "2", "--rendezvous", "here:1"], "have no effect without --devices"),
        (["schedule.accumulation=3"], "cannot be split into schedule.accumulation=3 parts"),
    ],
)
def test_contradicting_options_are_refused(
    recipe_path: Path, tmp_path: Path, mlcycle: Callable, words: list[str], sentence: str
) -> None:
    outcome = mlcycle("train", recipe_path, *words, "--device", "cpu", "--out", tmp_path / "run")
    assert outcome.code == 2
    assert sentence in outcome.err
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits its own memory")
@pytest.mark.slow
def test_a_step_too_large_for_the_memory_is_made_in_parts(recipe_path: Path, tmp_path: Path) -> None:
    changes = ["schedule.batch=256", "augment.crop=320", "schedule.precision=float32"]
    recipe, cpu = load(recipe_path, changes), torch.device("cpu")

    def probe_within_a_limit() -> None:
        memory._probe(recipe, cpu, [(2, 96)])
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + 96 * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        print(memory.can_run_out(cpu), memory.find_accumulation(recipe, cpu, ProcessGroup(), 1))

    code = run_in_copy(probe_within_a_limit, tmp_path / "output.txt")
    output = (tmp_path / "output.txt").read_text()
    assert code == 0, output
    can_run_out, accumulation = output.split()
    assert can_run_out == "True"
    # How many depends on the memory of the CPU's convolutions, and on how much of it earlier tests have left free.
    assert int(accumulation) in (2, 4, 8, 16, 32, 64)


def test_a_step_whose_smallest_part_does_not_fit_is_an_error(
    recipe_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[list[tuple[int, int]]] = []

    def full(recipe: object, device: object, sizes: list[tuple[int, int]]) -> None:
        tried.append(sizes)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(memory, "_probe", full)
    recipe = load(recipe_path, ["schedule.batch=16", "augment.large=0.1"])
    with pytest.raises(memory.DeviceError, match="not even in 2 parts"):
        memory.find_accumulation(recipe, torch.device("meta"), ProcessGroup(), 1)
    assert tried == [[(16, 96), (4, 192)], [(8, 96), (2, 192)]]


@pytest.mark.parametrize(
    "sentence",
    [
        "MPS backend out of memory (MPS allocated: 9.00 GB, other allocations: 464.00 KB, max allowed: 9.07 GB).",
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_out_of_memory_messages_of_all_devices_are_recognised(sentence: str) -> None:
    assert memory.is_out_of_memory(RuntimeError(sentence))
    assert not memory.is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))


def test_the_reported_memory_excludes_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", forgotten.append)
    for name in ("cpu", "cuda:1"):
        Meter(torch.device(name), 0.0, {})
    assert forgotten == [torch.device("cuda:1")]


def test_all_processes_probe_memory_if_one_has_to(recipe_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_probe", lambda *arguments: None)
    claims: list[bool] = []
    group = SimpleNamespace(size=2, any=lambda claim: claims.append(claim) or len(claims) == 1)
    assert memory.accumulation_for(load(recipe_path), torch.device("cpu"), group) == 1
    assert claims == [False, False]


def test_a_probe_killed_for_memory_leads_to_parts(recipe_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(recipe: object, device: object, sizes: list[tuple[int, int]]) -> None:
        if sizes[0][0] > 4:
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(memory, "_probe", killed)
    recipe = load(recipe_path, ["schedule.batch=16"])
    assert memory.find_accumulation(recipe, torch.device("cpu"), ProcessGroup(), 1) == 4


def test_the_error_of_a_forked_probe_is_raised(recipe_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(memory, "_probe", fail)
    with pytest.raises(RuntimeError, match="no such operator"):
        memory.find_accumulation(load(recipe_path), torch.device("cpu"), ProcessGroup(), 1)


def test_a_backward_pass_that_ran_out_of_memory_frees_its_tensors(
    recipe_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(torch.autograd.Function):
        @staticmethod
        def forward(context: object, tensor: torch.Tensor) -> torch.Tensor:
            return tensor.clone()

        @staticmethod
        def backward(context: object, gradient: torch.Tensor) -> None:  # type: ignore[override]
            raise torch.OutOfMemoryError("CUDA out of memory")

    held: list[weakref.ref] = []

    def run_out(*_: object) -> None:
        numbers = np.ones(8, np.float32)
        held.append(weakref.ref(numbers))
        weights = torch.ones(8, requires_grad=True)
        waiting = weights * torch.from_numpy(numbers)
        (waiting + Full.apply(weights)).sum().backward()

    monkeypatch.setattr(memory, "_probe", run_out)
    assert memory._runs_out(load(recipe_path), torch.device("cpu"), [])
    assert held[0]() is None


@pytest.mark.slow
def test_a_resumed_run_keeps_its_number_of_parts(recipe_path: Path, tmp_path: Path, mlcycle: Callable) -> None:
    run = tmp_path / "run"
    words = ("schedule.accumulation=2", "schedule.workers=1", "--device", "cpu", "--out")
    assert mlcycle("train", recipe_path, *words, run).code == 0
    assert json.loads((run / "environment.json").read_text())["accumulation"] == 2
    whole = checkpoint.load(run / "checkpoints" / "step-00000006.safetensors")[0]
    (run / "checkpoints" / "step-00000006.safetensors").unlink()
    assert mlcycle("train", "--resume", run, "--device", "cpu").code == 0
    again = checkpoint.load(run / "checkpoints" / "step-00000006.safetensors")[0]
    assert [name for name, value in whole.items() if not torch.equal(value, again[name])] == []


def test_more_parts_than_images_are_refused(finished_run: Path, tmp_path: Path, mlcycle: Callable) -> None:
    """A run of one device in four parts can be resumed on two devices, which then lack images for all parts."""
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    (run / "checkpoints" / "step-00000006.safetensors").unlink()
    environment_json = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps(environment_json | {"accumulation": 4}))
    outcome = mlcycle("train", "--resume", run, "--device", "cpu")
    assert outcome.code == 2
    assert "cannot be split into schedule.accumulation=4 parts" in outcome.err
