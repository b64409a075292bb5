from __future__ import annotations

import hashlib
import io
import zipfile
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from loopback import serve
from small_sets import content, write_wider

from mlcycle.datasets.fetch.download import Retries, download
from mlcycle.datasets.fetch.fetching import fetch
from mlcycle.datasets.fetch.manifest import WIDER_FACE, Archive, Manifest, at_mirror, is_safe_name
from mlcycle.datasets.fetch.unpacking import unpack
from mlcycle.datasets.reading import read
from mlcycle.errors import InputError

QUICK = Retries(tries=3, first_wait=0.0, timeout=5.0)
NOISE = np.random.default_rng(1).bytes(300_000)


@contextmanager
def _no_bar(description, total):
    yield lambda n: None


def _zip(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
    return out.getvalue()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _manifest(url, data, **more):
    return Manifest("a set", "terms", (Archive("a.zip", f"{url}/a.zip", **{"size": len(data), **more}),))


def _fetch(manifest, folder):
    return fetch(manifest, folder, progress=_no_bar, retries=QUICK)


def test_an_interrupted_download_resumes_where_it_stopped(tmp_path):
    advanced = []
    with serve({"a.zip": NOISE}, break_after=100_000, breaks=2) as server:
        download(f"{server.url}/a.zip", tmp_path / "a.zip", size=len(NOISE), advance=advanced.append, retries=QUICK)
        tag = server.tag("a.zip")
    assert (tmp_path / "a.zip").read_bytes() == NOISE
    assert server.requests == [
        ("a.zip", None, None),
        ("a.zip", "bytes=100000-", tag),
        ("a.zip", "bytes=200000-", tag),
    ]
    assert sum(advanced) == len(NOISE)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_later_call_resumes_a_partial_download(tmp_path):
    with serve({"a.zip": NOISE}, break_after=0, breaks=99) as server:
        server.break_after, server.breaks = 50_000, 1
        with pytest.raises(InputError, match="cannot be fetched") as caught:
            download(f"{server.url}/a.zip", tmp_path / "a.zip", retries=Retries(1, 0.0, 5.0))
        assert "resumes where it stopped" in caught.value.hint
        assert not (tmp_path / "a.zip").exists()
        server.breaks = 0
        download(f"{server.url}/a.zip", tmp_path / "a.zip", retries=QUICK)
    assert server.requests[-1][1] == "bytes=50000-"
    assert (tmp_path / "a.zip").read_bytes() == NOISE


def test_a_server_without_ranges_starts_again(tmp_path):
    advanced = []
    with serve({"a.zip": NOISE}, break_after=100_000, breaks=1, ranges=False) as server:
        download(f"{server.url}/a.zip", tmp_path / "a.zip", advance=advanced.append, retries=QUICK)
    assert (tmp_path / "a.zip").read_bytes() == NOISE
    assert sum(advanced) == len(NOISE)


def test_a_file_that_changed_during_the_download_is_downloaded_again(tmp_path):
    with serve({"a.zip": NOISE}, break_after=100_000, breaks=1) as server:
        with pytest.raises(InputError, match="cannot be fetched: the connection ended too early"):
            download(f"{server.url}/a.zip", tmp_path / "a.zip", retries=Retries(1, 0.0, 5.0))
        server.files["a.zip"] = NOISE[::-1]
        download(f"{server.url}/a.zip", tmp_path / "a.zip", retries=QUICK)
    assert (tmp_path / "a.zip").read_bytes() == NOISE[::-1]


def test_a_partial_file_longer_than_the_servers_is_discarded(tmp_path):
    (tmp_path / "a.zip.part").write_bytes(NOISE + b"more")
    with serve({"a.zip": NOISE}) as server:
        download(f"{server.url}/a.zip", tmp_path / "a.zip", retries=QUICK)
    assert (tmp_path / "a.zip").read_bytes() == NOISE


def test_a_busy_server_is_retried_a_limited_number_of_times(tmp_path):
    with serve({"a.zip": NOISE}, busy=2) as server:
        download(f"{server.url}/a.zip", tmp_path / "a.zip", retries=QUICK)
        assert len(server.requests) == 3
        server.busy = 99
        with pytest.raises(InputError, match="503"):
            download(f"{server.url}/a.zip", tmp_path / "b.zip", retries=QUICK)
        assert len(server.requests) == 6


def test_a_missing_file_is_not_requested_twice(tmp_path):
    with serve({}) as server:
        with pytest.raises(InputError, match="404"):
            download(f"{server.url}/a.zip", tmp_path / "a.zip", retries=QUICK)
        assert len(server.requests) == 1


def test_a_file_of_another_size_than_published_is_refused(tmp_path):
    with serve({"a.zip": NOISE}) as server, pytest.raises(InputError, match="300,000 bytes, where 7 are expected"):
        download(f"{server.url}/a.zip", tmp_path / "a.zip", size=7, retries=QUICK)
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.parametrize("url", ["http://example.org/a.zip", "ftp://example.org/a.zip", "file:///etc/hosts"])
def test_unverifiable_addresses_are_refused(tmp_path, url):
    with pytest.raises(InputError, match="not https"):
        download(url, tmp_path / "a.zip", retries=QUICK)


def test_a_file_with_a_wrong_checksum_is_renamed(tmp_path):
    data = _zip({"x.txt": b"x"})
    with serve({"a.zip": data}) as server:
        wrong = _manifest(server.url, data, sha256="0" * 64)
        with pytest.raises(InputError, match=_sha256(data)) as caught:
            _fetch(wrong, tmp_path)
        assert "was renamed" in caught.value.hint
        downloads = tmp_path / "downloads"
        assert sorted(path.name for path in downloads.iterdir()) == ["a.zip.wrong"]
        assert not (tmp_path / "x.txt").exists()
        # A second run with the right checksum downloads it again.
        assert _fetch(_manifest(server.url, data, sha256=_sha256(data)), tmp_path) == [("a.zip", _sha256(data))]
    assert (tmp_path / "x.txt").read_bytes() == b"x"


def test_a_set_is_fetched_and_unpacked_once_and_its_checksum_is_written(tmp_path):
    data = _zip({"x/y.txt": b"y", "x/z.txt": b"z"})
    with serve({"a.zip": data}) as server:
        manifest = _manifest(server.url, data, makes="x")
        assert _fetch(manifest, tmp_path) == _fetch(manifest, tmp_path) == [("a.zip", _sha256(data))]
        assert len(server.requests) == 1
    assert (tmp_path / "downloads/a.zip.sha256").read_text() == f"{_sha256(data)}  a.zip\n"
    assert (tmp_path / "x/y.txt").read_bytes() == b"y"


def test_an_archive_damaged_on_disk_is_found_by_the_next_run(tmp_path):
    data = _zip({"x.txt": b"x"})
    with serve({"a.zip": data}) as server:
        manifest = _manifest(server.url, data, sha256=_sha256(data))
        _fetch(manifest, tmp_path)
        (tmp_path / "downloads/a.zip").write_bytes(data[:-1])
        with pytest.raises(InputError, match="is expected"):
            _fetch(manifest, tmp_path)


def test_only_the_selected_folder_of_an_archive_is_unpacked(tmp_path):
    data = _zip({"tools/truth/a.mat": b"a", "tools/plot.m": b"p"})
    with serve({"a.zip": data}) as server:
        _fetch(_manifest(server.url, data, within="tools/truth"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mat", "downloads"]


@pytest.mark.parametrize("name", ["../x.txt", "/x.txt", "a/../../x.txt", "a\\..\\x.txt", "c:x.txt", "a//x.txt"])
def test_an_unsafe_name_in_an_archive_is_refused_and_nothing_is_written(tmp_path, name):
    archive = tmp_path / "a.zip"
    archive.write_bytes(_zip({"good.txt": b"g", name: b"x"}))
    with pytest.raises(InputError, match="would be written elsewhere"):
        unpack(archive, tmp_path / "in" / "here", within="", is_safe=is_safe_name)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.zip", "here", "in"]


def test_a_link_in_an_archive_is_refused(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(link, "/etc")
    with pytest.raises(InputError, match="would be written elsewhere"):
        unpack(tmp_path / "a.zip", tmp_path / "out", within="", is_safe=is_safe_name)


def test_a_damaged_archive_leaves_no_files(tmp_path):
    data = bytearray(_zip({"first.txt": b"first", "second.txt": b"second" * 100}))
    data[data.index(b"second" * 100) + 5] ^= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(InputError, match="cannot be unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "out", within="", is_safe=is_safe_name)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_zip_bomb_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", b"\0" * (65 << 20))
    with pytest.raises(InputError, match="would unpack to"):
        unpack(tmp_path / "a.zip", tmp_path / "out", within="", is_safe=is_safe_name)


def test_archives_in_the_published_form_become_a_readable_set(tmp_path):
    """Archives with the authors' names and folders, from a mirror."""
    write_wider(tmp_path / "made", content(), "train")
    write_wider(tmp_path / "made", content()[:2], "val")
    made = {path.relative_to(tmp_path / "made").as_posix(): path for path in (tmp_path / "made").rglob("*.*")}

    def archive(prefix):
        return _zip({name: path.read_bytes() for name, path in made.items() if name.startswith(prefix)})

    files = {f"{name}.zip": archive(name) for name in ("wider_face_split", "WIDER_train", "WIDER_val")}
    files["eval_tools.zip"] = _zip({"eval_tools/ground_truth/wider_hard_val.mat": b"m", "eval_tools/nms.m": b"n"})
    with serve(files) as server:
        manifest = at_mirror(WIDER_FACE, server.url)
        unknown = tuple(replace(each, size=None, sha256="") for each in manifest.archives)
        fetched = _fetch(Manifest("wider-face", "", unknown), tmp_path / "wider")
    assert dict(fetched) == {name: _sha256(data) for name, data in files.items()}
    assert [len(read(tmp_path / "wider", split)) for split in ("train", "val")] == [5, 2]
    assert (tmp_path / "wider/ground_truth/wider_hard_val.mat").is_file()
    assert not (tmp_path / "wider/nms.m").exists()
