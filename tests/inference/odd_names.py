"""Files with odd names, and paths that are not files: each with the expected status or code of its record."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from random import Random

# {} is replaced by a number; each name has broken some program.
_PATTERNS = (
    b"\xff\xfe{}.jpg", b"\xc3({}.png", b"line\nbreak {}.jpg", b"tab\t{}.jpg", b"return\r{}.jpg", b"\x1b[31m{}\x07.jpg",
    b"-{}.jpg", b"--overwrite{}.jpg", b"--out={}.jpg", b"-rf {}.jpg", b"@{}.jpg", b"~{}.jpg", b"$(id){}.jpg",
    b"`id`{}.jpg", b"*{}.jpg", b"?{}.jpg", b"[{}].jpg", b"%s%n{}.jpg", b"%00{}.jpg", b"http:__{}.jpg", b"a\\b\\{}.jpg",
    b"C:{}.jpg", b"con.{}.jpg", b'"{}".jpg', b"'{}'.jpg", b"a,b;{}|c.jpg", b"=1+{}.jpg", b"{}\xe2\x80\xae.jpg",
    b"  {} .jpg", b"{}  .jpg", b"{}.tif.png", b"{}.tif", b"{}.JPG", b"{}.jpg", b"{}..jpg", b"a.{}.jpeg", b"#{}&.jpg",
    "é{}.jpg".encode(), "e\u0301{}.jpg".encode(), "É{}.jpg".encode(), "ß{}.jpg".encode(), b"SS{}.jpg",
    "👩‍👩‍👧{}.jpg".encode(), "\u202egpj.{}.jpg".encode(), "{}\u00a0.jpg".encode(), "\ufeff{}.jpg".encode(),
    b"in/{}.jpg", b"in/deep/{}.jpg", b"x.jpg/{}.jpg", b"\xff/{}.jpg", b" /{}.jpg", b"-/{}.jpg", b"{}/ .jpg",
)  # fmt: skip
_LONG = 255
_DEEP = 40


def fill(folder: Path, count: int, image: bytes) -> dict[bytes, str]:
    """Creates `count` odd names of one image in a folder, and paths that are not files.

    Returns name → the status of its record, or "error" and its code, for a model that finds no face. Names that the
    file system refuses are left out. The parent folder gets one more file.
    """
    folder.mkdir(parents=True)
    original = folder.parent / "original"
    original.write_bytes(image)
    expected = {name: "empty" for name in _names(count) if _made(os.fsencode(folder), name, original)}
    return expected | _other_paths(folder)


def _names(count: int) -> Iterator[bytes]:
    random = Random("odd names")
    given: set[bytes] = set()
    number = 0
    while len(given) < count:
        pattern = (*_PATTERNS, *_long(random), _random(random), b"d/" * random.randrange(_DEEP) + b"{}.jpg")
        name = pattern[number % len(pattern)].replace(b"{}", b"%d" % number)
        number += 1
        # Hidden files are skipped.
        if name not in given and not name.startswith(b"."):
            given.add(name)
            yield name


def _long(random: Random) -> Iterator[bytes]:
    for suffix in (b".jpg", b".tif", b".webp"):
        yield b"x" * (_LONG - len(suffix) - 9) + b"%09d" % random.randrange(10**9) + suffix
    yield "é".encode() * 120 + b"%06d" % random.randrange(10**6) + b".tif"


def _random(random: Random) -> bytes:
    name = random.randbytes(random.randrange(1, 120)).replace(b"/", b"").replace(b"\0", b"").lstrip(b".")
    return (name or b"x").replace(b"{", b"") + b".jpg"


def _made(folder: bytes, name: bytes, original: Path) -> bool:
    path = os.path.join(folder, name)  # noqa: PTH118 (a Path holds no bytes)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        os.link(original, path)
    except FileExistsError:
        return False  # a name that the file system treats as equal exists
    except OSError:
        # The file system refuses the name, or more links to one file.
        try:
            shutil.copyfile(original, path)
        except OSError:
            return False
    return True


def _other_paths(folder: Path) -> dict[bytes, str]:
    """Creates links, pipes, a socket, devices, and an image without read permission."""
    links = {"self.jpg": "self.jpg", "nothing.jpg": "nowhere", "turn.jpg": "back.jpg", "back.jpg": "turn.jpg"}
    expected = dict.fromkeys(("self.jpg", "turn.jpg", "back.jpg"), "error unreadable")
    expected |= dict.fromkeys(("pipe.jpg", "socket.jpg"), "error not-a-file") | {"nothing.jpg": "error not-found"}
    for device in ("zero", "full", "tty"):
        if Path(f"/dev/{device}").exists():
            links[f"{device}.jpg"], expected[f"{device}.jpg"] = f"/dev/{device}", "error not-a-file"
    for endless in ("self/pagemap", "kmsg"):  # they report a size of 0; one has terabytes, one waits for data
        if Path(f"/proc/{endless}").exists():
            name = f"{endless.replace('/', '-')}.jpg"
            links[name], expected[name] = f"/proc/{endless}", "error empty"
    for name, target in links.items():
        (folder / name).symlink_to(target)
    (folder / "above").symlink_to(folder.parent)
    (folder / "here").symlink_to(folder)
    os.mkfifo(folder / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(folder):  # the path of a socket may not be long
        server.bind("socket.jpg")
    shutil.copyfile(folder.parent / "original", folder / "forbidden.jpg")
    (folder / "forbidden.jpg").chmod(0)
    expected["forbidden.jpg"] = "error no-permission" if os.geteuid() else "empty"  # root may read everything
    (folder / ".hidden.jpg").touch()
    return {os.fsencode(name): status for name, status in expected.items()}
