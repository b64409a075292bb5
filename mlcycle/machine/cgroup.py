"""The limits of a container or service on Linux: its control groups, version 1 or 2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MOUNT = "sys/fs/cgroup"
VERSION_2 = ""


def core_limit(root: Path = Path("/")) -> float | None:
    """Returns the CPU limit of this process in cores, e.g. 1.5; None without a limit."""
    pairs = [_read(folder / "cpu.max").partition(" ")[::2] for folder in _folders(root, VERSION_2)]
    for folder in _folders(root, "cpu"):
        pairs.append((_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")))
    return min((quota for pair in pairs if (quota := _quota(*pair))), default=None)


def memory_limit(root: Path = Path("/")) -> int | None:
    """Returns the memory limit of this process in bytes; None without a limit."""
    texts = [_read(folder / "memory.max") for folder in _folders(root, VERSION_2)]
    texts += [_read(folder / "memory.limit_in_bytes") for folder in _folders(root, "memory")]
    # Version 1 expresses "no limit" by a number near 2**63.
    return min((int(text) for text in texts if text.isdigit() and int(text) < 2**60), default=None)


def _quota(quota: str, period: str) -> float | None:
    """Returns quota / period in cores; None for "max", -1 and other text."""
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """Yields the folders of this process's group and of all its parents, each of which may set a limit.

    Args:
        controller: a controller of version 1, or VERSION_2, which has one tree for all controllers.
    """
    mount = root / MOUNT
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if controller not in names.split(","):
            continue
        # In a container the group's path may exist on the host only; the group's files are then at the mount's root.
        inside = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
        for top in (mount / names, mount / controller) if controller else (mount, mount / "unified"):
            yield from (top.joinpath(*inside[:depth]) for depth in range(len(inside), -1, -1))


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
