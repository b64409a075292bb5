"""A model file that is looked at by its bytes alone: verified and admitted, but given to no runtime."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlcycle.artifact import self_test as known
from mlcycle.artifact.admission import admit
from mlcycle.artifact.contract import CONTRACT_KEY, Contract, from_json
from mlcycle.artifact.seal import SealedBytes, read_sealed
from mlcycle.artifact.structure import Structure
from mlcycle.errors import ModelFileError


@dataclass(frozen=True, slots=True)
class Opened:
    """A model file, verified.

    Attributes:
        structure: what it is made of.
        said: the contract as JSON has it, also with what this version does not know.
        self_test: the known answer that it carries, or None.
    """

    sealed: SealedBytes
    structure: Structure
    contract: Contract
    said: dict[str, Any]
    self_test: known.SelfTest | None

    def as_dict(self) -> dict[str, Any]:
        """Returns which file it is, as JSON has it."""
        return {
            "file": str(self.sealed.path),
            "name": self.contract.name,
            "precision": self.contract.precision,
            "sha256": self.sealed.sha256,
            "bytes": len(self.sealed.data),
        }


def open_file(path: Path) -> Opened:
    """Reads a model file, or the one of this name that comes with mlcycle.

    Raises:
        ModelFileError: it is missing, damaged, holds what it must not have, is no model or has no contract.
    """
    return open_sealed(read_sealed(path))


def open_sealed(sealed: SealedBytes) -> Opened:
    """Looks at a model file whose bytes were read and verified already; errors as open_file's."""
    structure = admit(sealed)
    metadata = structure.metadata
    text, answer = metadata.get(CONTRACT_KEY), metadata.get(known.SELF_TEST_KEY)
    if text is None:
        raise ModelFileError(f"{sealed.path} carries no contract", "use a file that mlcycle froze: mlcycle freeze RUN")
    contract, said = read_contract(text)
    return Opened(sealed, structure, contract, said, None if answer is None else known.from_json(answer))


def read_contract(text: str) -> tuple[Contract, dict[str, Any]]:
    """Returns a contract, and all that it says, with what is left out as it is understood.

    Raises:
        ModelFileError: the text is no contract, or of a format that this version does not know.
    """
    contract = from_json(text)
    return contract, asdict(contract) | json.loads(text)
