"""What Ray Serve is to run: the models, by their digests, how replicas serve them, and how many there are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import mlcycle
from mlcycle.errors import ModelFileError, UsageError
from mlcycle.inference.detect import load_sealed, read_model
from mlcycle.serving.served_model import ModelSource, ServedModel
from mlcycle.serving.settings import Listening, ServerSettings


@dataclass(frozen=True, slots=True)
class PinnedModel:
    """A model file and the digest that it must have wherever it is read.

    Attributes:
        source: its path is valid on all nodes.
        sha256: of the file that the first process verified.
    """

    source: ModelSource
    sha256: str

    def open(self) -> ServedModel:
        """Reads and verifies the file, compares its digest, loads it and runs its self-test.

        Raises:
            ModelFileError: as ModelSource.load, or the digest is another one.
            DeviceError: as ModelSource.load.
        """
        source = self.source
        sealed = read_model(source.path, source.signed_by)
        if sealed.sha256 != self.sha256:  # before it is parsed
            raise ModelFileError(
                f"{source.path} is {sealed.sha256[:12]} there, and was {self.sha256[:12]} when the server started",
                "provide the same file to all nodes; to serve another one, start the server again",
            )
        return ServedModel(source, load_sealed(sealed, provider=source.provider, threads=source.threads), source.name)


@dataclass(frozen=True, slots=True)
class Deployment:
    """The application and its replicas.

    Attributes:
        models: in the order of the command line.
        settings: of each replica.
        listening: of each node.
        replicas: the least and the most; None for one, and as many as the cores allow.
        version: of mlcycle.
    """

    models: tuple[PinnedModel, ...]
    settings: ServerSettings
    listening: Listening
    replicas: tuple[int, int] | None
    version: str = mlcycle.__version__

    def open_models(self) -> dict[str, ServedModel]:
        """Returns the models by their names; errors as PinnedModel.open.

        Raises:
            UsageError: mlcycle has another version here than where the server was started.
        """
        if self.version != mlcycle.__version__:
            what = f"mlcycle is {mlcycle.__version__} there and {self.version} here"
            raise UsageError(what, "install the same version on all nodes")
        return {each.source.name: each.open() for each in self.models}

    def replica_range(self, cores: int) -> tuple[int, int]:
        """Returns the least and the most replicas in a cluster of so many cores."""
        return self.replicas or (1, max(1, cores // self.settings.workers))


def pinned(models: Iterable[ServedModel]) -> tuple[PinnedModel, ...]:
    """Returns models that have been verified, for other processes to open."""
    return tuple(
        PinnedModel(
            replace(each.source, path=each.source.path.absolute(), name=each.name, provider=each.detector.provider),
            each.detector.sha256,
        )
        for each in models
    )
