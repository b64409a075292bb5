"""Videos: each frame before any damage is a separate image; no other file is opened."""

from __future__ import annotations

import gc
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome
from PIL import Image
from small_videos import RATE, SIDE, SIZE, images, place, write_video

from mlcycle.inference import pages_and_frames
from mlcycle.inference.batch.worker_threads import MAX_FETCHED_ITEMS, ordered_map
from mlcycle.inference.detect import DetectOptions, Detector
from mlcycle.inference.record import VIDEO_SUFFIXES, Part, Record, Source
from mlcycle.inference.video import detect_video, video_file

pytest_plugins = ("tiny_album",)
av = pytest.importorskip("av")

Run = Callable[..., Outcome]


def records(detector: Detector, path: Path, *, every: float = 0.0, **options: int) -> list[Record]:
    return list(
        pages_and_frames.detect_sources(detector, [Source(path, path.name)], DetectOptions(**options), every=every)
    )


def statuses(found: list[Record]) -> list[str]:
    return [record.error[0] if record.error else record.status for record in found]


def lines(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("suffix", sorted(VIDEO_SUFFIXES))
def test_each_frame_has_a_record(suffix: str, tmp_path: Path, detector: Detector) -> None:
    path = write_video(tmp_path / f"video{suffix}", images(12, without=(5,)), sound=True)
    found = records(detector, path, workers=2)
    assert statuses(found) == ["ok"] * 5 + ["empty"] + ["ok"] * 6
    assert [record.part.number for record in found if record.part] == list(range(1, 13))
    assert {record.part.count for record in found if record.part} == (
        {12} if suffix in (".mp4", ".m4v", ".mov") else {None}
    )
    assert [record.part.seconds for record in found if record.part] == pytest.approx(
        [n / RATE for n in range(12)], abs=2e-3
    )
    assert {(record.width, record.height) for record in found} == {SIZE}
    for number in (0, 11):
        x, y = place(number)
        assert found[number].boxes_N4[0] == pytest.approx([x, y, x + SIDE, y + SIDE], abs=2.01)


TURNED = [(degrees, mirrored, False) for degrees in (0, 90, 180, 270) for mirrored in (False, True)] + [
    (0, False, True)
]


@pytest.mark.parametrize("turned", TURNED)
def test_frames_are_rotated_by_the_display_matrix(
    turned: tuple[float, bool, bool], tmp_path: Path, detector: Detector
) -> None:
    path = write_video(tmp_path / "video.mp4", images(2), turned=turned)
    degrees, mirrored, upside_down = turned
    expected = Image.fromarray(next(iter(images(1))))
    # av_display_matrix_flip applies to the rotated image.
    expected = expected.rotate(degrees, expand=True)
    if mirrored:
        expected = expected.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if upside_down:
        expected = expected.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    record = records(detector, path)[0]
    assert (record.width, record.height) == expected.size
    (wanted,) = [each.boxes_N4 for each in detector.detect_batch([Source(Path("x"), "x", image=lambda: expected)])]
    assert record.boxes_N4 == pytest.approx(wanted, abs=2.01)


def test_every_skips_frames(tmp_path: Path, detector: Detector) -> None:
    path = write_video(tmp_path / "video.mkv", images(26))
    found = records(detector, path, every=0.2)
    assert [record.part.number for record in found if record.part] == [1, 6, 11, 16, 21, 26]
    assert len(records(detector, path, every=60)) == 1


def test_variable_rates_keep_their_times(tmp_path: Path, detector: Detector) -> None:
    times = [0, 40, 1000, 1033, 5000]
    found = records(detector, write_video(tmp_path / "video.mp4", images(5), times=times))
    assert [record.part.seconds for record in found if record.part] == [each / 1000 for each in times]


def test_frames_are_selected_by_their_times() -> None:
    is_due = detect_video.FrameSampler(0)
    assert [is_due(seconds) for seconds in (0.04, 0.0, -0.04, 0.04, 0.08)] == [True] * 5
    is_due = detect_video.FrameSampler(0.1)
    assert [is_due(number / 30) for number in range(10)] == [True, False, False] * 3 + [True]


@pytest.mark.parametrize(
    ("suffix", "options"), [(".mp4", {"movflags": "faststart"}), (".mkv", {}), (".webm", {}), (".avi", {})]
)
def test_a_truncated_video_gives_the_frames_before_the_cut(
    suffix: str, options: dict[str, str], tmp_path: Path, detector: Detector
) -> None:
    path = write_video(tmp_path / f"video{suffix}", images(75), sound=True, options=options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    found = records(detector, path, workers=2)
    assert len(found) > 15
    assert statuses(found) == ["ok"] * (len(found) - 1) + ["truncated"]
    assert found[-1].part == Part("frame", len(found))
    assert found[-1].error is not None
    assert f"after {len(found) - 1} frames" in found[-1].error[1]


def test_a_damaged_video_gives_the_frames_before_the_damage(tmp_path: Path, detector: Detector) -> None:
    path = write_video(tmp_path / "video.mp4", images(40), reordered=True)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as video:  # the file has the frames in another order
        places = [(packet.pts, packet.pos) for packet in video.demux(video=0) if packet.pts is not None]
    packet = len(places) // 2
    begin = places[packet][1]
    data[begin : begin + 4] = bytes(4)  # not a valid frame header
    path.write_bytes(data)
    found = records(detector, path)
    assert statuses(found) == ["ok"] * (len(found) - 1) + ["damaged"]
    assert packet - 3 <= len(found) - 1 <= packet


def not_videos(folder: Path) -> dict[str, str]:
    """Writes files that are not videos or cannot be read, and returns name → code."""
    write_video(folder / "other.mp4", images(3))
    (folder / "words.mp4").write_text("this is not a video\n")
    (folder / "empty.mp4").touch()
    # These refer to another file, or one on another machine, which must not be opened.
    (folder / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n")
    (folder / "joined.mkv").write_text("ffconcat version 1.0\nfile other.mp4\n")
    Image.new("RGB", (8, 8)).save(folder / "image.gif")
    (folder / "image.gif").rename(folder / "image.mov")
    whole = (folder / "other.mp4").read_bytes()
    (folder / "head.mp4").write_bytes(whole[: len(whole) // 2])  # the list of frames is at the end
    keys = {"encryption_key": "76a6c65c5ea762046bd749a2e632ccbb", "encryption_kid": "a7e61c373e219033c21091fa607bf3b8"}
    write_video(folder / "locked.mp4", images(3), options={"encryption_scheme": "cenc-aes-ctr", **keys})
    with av.open(str(folder / "sound.mp4"), "w") as video:
        voice = video.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        frame.sample_rate = 48_000
        video.mux(voice.encode(frame))
        video.mux(voice.encode(None))
    codes = dict.fromkeys(("words.mp4", "list.mp4", "joined.mkv", "image.mov", "sound.mp4"), "not-an-image")
    return codes | {
        "empty.mp4": "empty",
        "head.mp4": "damaged",
        "locked.mp4": "unsupported",
        "missing.mp4": "not-found",
    }


def test_other_files_have_one_record_with_their_code(tmp_path: Path, detector: Detector) -> None:
    for name, code in not_videos(tmp_path).items():
        (record,) = records(detector, tmp_path / name)
        assert (name, record.error and record.error[0], record.part) == (name, code, None)
    (record,) = records(detector, tmp_path / "other.mp4", max_pixels=1000)
    assert record.error == ("too-large", "its frames have 160 x 120 pixels, more than 1,000")


def test_without_the_package_the_error_names_the_extra(
    tmp_path: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "video.mp4", images(2))
    monkeypatch.setitem(sys.modules, "av", None)
    (record,) = records(detector, path)
    assert record.error is not None
    assert record.error[0] == "unsupported"
    assert "the extra video" in record.error[1]


def test_videos_and_images_keep_their_order(mlcycle: Run, album: Path, tiny: Path) -> None:
    video = write_video(album / "inside" / "video.mp4", images(3))
    outcome = mlcycle("infer", album / "one.jpg", video, album / "none.jpg", "--model", tiny, "--format", "csv")
    rows = [row.split(",")[:4] for row in outcome.out.splitlines()[1:]]
    assert [(Path(name).name, part, status) for name, part, _, status in rows] == [
        ("one.jpg", "", "ok"), ("video.mp4", "1", "ok"), ("video.mp4", "2", "ok"), ("video.mp4", "3", "ok"),
        ("none.jpg", "", "empty"),
    ]  # fmt: skip
    table = mlcycle("infer", video, "--model", tiny).out
    assert "video.mp4 frame 3, 0.08 s" in table


def test_videos_in_a_folder_are_processed_on_request(mlcycle: Run, album: Path, tiny: Path) -> None:
    write_video(album / "video.mp4", images(3))
    arguments = ("infer", "dir", album, "--model", tiny, "--format", "jsonl")
    outcome = mlcycle(*arguments)
    assert "2 other files skipped, 1 of them with a video suffix; --videos" in outcome.err
    assert "video" not in outcome.out
    assert mlcycle(*arguments, "--videos").out.count('"video.mp4"') == 3
    assert mlcycle(*arguments, "--videos", "--every", "60").out.count('"video.mp4"') == 1


def test_a_resumed_run_skips_finished_frames(
    mlcycle: Run, tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in" / "video.mkv", images(75))
    arguments = ("infer", "dir", tmp_path / "in", "--videos", "--model", tiny, "--out", tmp_path / "run")
    detected: list[int] = []
    original = Detector.detect_batch
    last = 40

    def detect_batch(self: Detector, sources: list[Source], options: DetectOptions) -> object:
        detected.extend(source.part.number for source in sources if source.part)
        if max(detected) > last:
            raise KeyboardInterrupt
        return original(self, sources, options)

    monkeypatch.setattr(Detector, "detect_batch", detect_batch)
    stopped = mlcycle(*arguments)
    assert stopped.code == 130
    before = int(re.search(r"(\d+) frames, ", stopped.err)[1])  # type: ignore[index]
    assert before <= last
    detected, last = [], 75
    resumed = mlcycle(*arguments, "--resume")
    assert resumed.code == 0
    assert f"{before} frames already finished" in resumed.err
    assert "75 frames in all" in resumed.err
    assert sorted(detected) == list(range(before + 1, 76))
    assert [each["part"]["number"] for each in lines(tmp_path / "run")] == list(range(1, 76))  # type: ignore[index]
    changed = mlcycle(*arguments, "--resume", "--every", "1")
    assert (changed.code, "was started with every 0.0, not 1.0" in changed.err) == (2, True)


def test_each_frame_has_a_folder_for_its_crops(mlcycle: Run, tmp_path: Path, tiny: Path) -> None:
    video = write_video(tmp_path / "video.mp4", images(3, without=(1,)))
    outcome = mlcycle("infer", video, "--model", tiny, "--crops", tmp_path / "crops")
    assert outcome.code == 0
    names = sorted(path.relative_to(tmp_path / "crops").as_posix() for path in (tmp_path / "crops").rglob("*.png"))
    assert names == ["video.mp4/1/1.png", "video.mp4/3/1.png"]
    assert mlcycle("infer", video, "--model", tiny, "--crops", tmp_path / "crops").code == 3


def test_few_items_are_fetched_before_they_can_be_processed() -> None:
    workers, taken, most, gate = 2, [], [], threading.Event()

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    def work(number: int) -> int:
        gate.wait(30)
        return number

    threading.Timer(0.3, lambda: (most.append(len(taken)), gate.set())).start()
    assert list(ordered_map(work, items(), workers)) == list(range(100))
    assert most[0] <= MAX_FETCHED_ITEMS * workers


@pytest.mark.slow
def test_frames_do_not_accumulate_in_memory(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", images(60), turned=(90, False, False))
    gc.collect()
    gc.disable()  # cyclic garbage would accumulate between two collections
    try:
        for frame, _ in video_file.read_frames(path, 10**6):
            frame.upright()
        assert sum(type(each) is av.VideoFrame for each in gc.get_objects()) < 10
    finally:
        gc.enable()
