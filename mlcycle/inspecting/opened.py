"""Reads a model file without a runtime: its bytes are verified, admitted and parsed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlcycle.artifact import self_test as self_tests
from mlcycle.artifact.admission import admit
from mlcycle.artifact.contract import CONTRACT_KEY, Contract, from_json
from mlcycle.artifact.seal import SealedBytes, read_sealed
from mlcycle.artifact.structure import Structure
from mlcycle.errors import ModelFileError


@dataclass(frozen=True, slots=True)
class Opened:
    """A verified model file.

    Attributes:
        structure: its operators, tensors and metadata.
        contract_json: the contract as parsed JSON, including keys that this version does not know.
        self_test: its self-test, or None.
    """

    sealed: SealedBytes
    structure: Structure
    contract: Contract
    contract_json: dict[str, Any]
    self_test: self_tests.SelfTest | None

    def as_dict(self) -> dict[str, Any]:
        """Returns the identity of the file for a JSON document."""
        return {
            "file": str(self.sealed.path),
            "name": self.contract.name,
            "precision": self.contract.precision,
            "sha256": self.sealed.sha256,
            "bytes": len(self.sealed.data),
        }


def open_file(path: Path) -> Opened:
    """Reads a model file, or the bundled one of this name.

    Raises:
        ModelFileError: it is missing or damaged, is not a model file, is not admitted, or has no contract.
    """
    return open_sealed(read_sealed(path))


def open_sealed(sealed: SealedBytes) -> Opened:
    """Parses a model file that has been read and verified; raises the errors of open_file."""
    structure = admit(sealed)
    metadata = structure.metadata
    text, test = metadata.get(CONTRACT_KEY), metadata.get(self_tests.SELF_TEST_KEY)
    if text is None:
        raise ModelFileError(f"{sealed.path} has no contract", "use a file that mlcycle froze: mlcycle freeze RUN")
    contract, contract_json = read_contract(text)
    return Opened(sealed, structure, contract, contract_json, None if test is None else self_tests.from_json(test))


def read_contract(text: str) -> tuple[Contract, dict[str, Any]]:
    """Returns a contract, and its JSON with default values for missing keys.

    Raises:
        ModelFileError: the text is not a contract, or has a format that this version does not know.
    """
    contract = from_json(text)
    return contract, asdict(contract) | json.loads(text)
