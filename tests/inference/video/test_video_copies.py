"""Copies of videos: redacted in every frame, at the same times, with the same sound, and with nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Outcome
from secret_videos import SECRET, write_secret_video
from small_videos import RATE, SECRETS, SIDE, images, place, write_video

from mlcycle.inference import detect
from mlcycle.inference.record import VIDEO_COPY_SUFFIXES, VIDEO_SUFFIXES
from mlcycle.inference.video import video_file
from mlcycle.inference.video.frames import Frame

pytest_plugins = ("tiny_album",)
av = pytest.importorskip("av")

Run = Callable[..., Outcome]


def frames_of(path: Path) -> list[tuple[float, np.ndarray]]:
    """Returns the time and the upright image of each frame."""
    with video_file.open_video(path, 10**6) as video:
        unit = video.stream.time_base
        frames = [each for each in video.walk() if isinstance(each, Frame)]
    return [(float(each.decoded.pts * unit), np.asarray(each.upright())) for each in frames]


def sound_of(path: Path) -> np.ndarray:
    """Returns the samples of the sound at 48 kHz, from -1 to 1, from the time 0 on."""
    mono = av.AudioResampler(format="flt", layout="mono", rate=48_000)
    with av.open(str(path)) as video:
        parts = [part for frame in video.decode(audio=0) for part in mono.resample(frame)]
    begin = round(parts[0].pts * parts[0].time_base * 48_000)
    samples_N = np.concatenate([part.to_ndarray()[0] for part in parts])
    return np.concatenate([np.zeros(max(begin, 0), np.float32), samples_N[max(-begin, 0) :]])


def sounds_alike(one_N: np.ndarray, other_N: np.ndarray) -> bool:
    """Returns whether two sounds have the same waves, but for 0.1 s at both ends, and length, up to a packet."""
    middle = slice(4800, min(len(one_N), len(other_N)) - 4800)
    assert np.abs(one_N[middle]).max() > 0.1
    return abs(len(one_N) - len(other_N)) < 2048 and np.abs(one_N[middle] - other_N[middle]).max() < 0.05


def texts_of(path: Path) -> tuple[dict[str, str], list[dict[str, str]], list[Any], bytes]:
    """Returns what a demuxer finds besides frames: entries of file and tracks, chapters, the header of the sound."""
    with av.open(str(path)) as video:
        tracks = [{"type": stream.type, **stream.metadata} for stream in video.streams]
        return dict(video.metadata), tracks, video.chapters(), bytes(video.streams.audio[0].codec_context.extradata)


def is_green(image_HW3: np.ndarray) -> bool:
    red, green, blue = np.moveaxis(image_HW3.astype(int), -1, 0)
    return bool((green - np.maximum(red, blue) > 100).any())


@pytest.mark.parametrize("suffix", sorted(VIDEO_SUFFIXES))
def test_a_redacted_copy_differs_only_in_its_faces(suffix: str, mlcycle: Run, tiny: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / f"video{suffix}", images(30, without=(7, 8, 9)), sound=True, metadata=SECRETS)
    assert b"secret title" in video.read_bytes()
    out = tmp_path / "out"
    outcome = mlcycle("infer", video, "--model", tiny, "--redact", "fill", out, "--format", "jsonl")
    records = [json.loads(line) for line in outcome.out.splitlines()]
    copy = out / (video.name if suffix in VIDEO_COPY_SUFFIXES else f"{video.name}.mp4")
    assert outcome.code == 0
    assert [path.name for path in out.iterdir()] == [copy.name]
    assert [record["redacted"] for record in records] == [None] * 29 + [copy.as_posix()]
    assert records[-1]["redacted_quality"] == "VP9, crf 24"
    assert "with their sound, voices unchanged" in outcome.err
    assert "30 frames, 27 faces, 0 failed" in outcome.err
    before, after = frames_of(video), frames_of(copy)
    assert [time for time, _ in after] == pytest.approx([time for time, _ in before], abs=1e-3)
    assert sounds_alike(sound_of(video), sound_of(copy))
    assert not any(is_green(image) for _, image in after)
    for number, ((_, old_HW3), (_, new_HW3)) in enumerate(zip(before, after, strict=True)):
        assert new_HW3.shape == old_HW3.shape
        far_HW = (
            np.hypot(*(np.indices(old_HW3.shape[:2]) - np.array(place(number))[::-1, None, None] - SIDE / 2)) > SIDE
        )
        assert np.abs(new_HW3.astype(int) - old_HW3)[far_HW].mean() < 5
    with av.open(str(copy)) as opened:
        assert [stream.type for stream in opened.streams] == ["video", "audio"]
    assert not any(secret.encode() in copy.read_bytes() for secret in ("secret", "48.1234", "2020", "Hidden"))


def test_a_face_missed_in_some_frames_is_redacted_in_all(mlcycle: Run, tiny: Path, tmp_path: Path) -> None:
    missed = (7, 8, 15, 20, 21, 22)
    noise_HW3 = np.random.default_rng(0).integers(0, 2, (SIDE // 4, SIDE // 4, 1), dtype=np.uint8).repeat(3, axis=2)
    pattern_HW3 = (noise_HW3 * 200).repeat(4, axis=0).repeat(4, axis=1)

    def flickering() -> Iterator[np.ndarray]:
        for number, image_HW3 in enumerate(images(30, without=missed)):
            if number in missed:  # must be covered, but is not detected as a face
                x, y = place(number)
                image_HW3[y : y + SIDE, x : x + SIDE] = pattern_HW3
            yield image_HW3

    video = write_video(tmp_path / "video.mp4", flickering())
    assert mlcycle("infer", video, "--model", tiny, "--redact", "fill", tmp_path / "out").code == 0
    copied = list(frames_of(tmp_path / "out" / "video.mp4"))
    assert len(copied) == 30
    for number, (_, image_HW3) in enumerate(copied):
        x, y = place(number)
        assert image_HW3[y + 2 : y + SIDE - 2, x + 2 : x + SIDE - 2].std() < 12, number


def test_a_rotated_video_has_an_upright_copy(mlcycle: Run, tiny: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "video.mp4", images(3), turned=(90, False, False))
    assert mlcycle("infer", video, "--model", tiny, "--annotate", tmp_path / "out").code == 0
    with av.open(str(tmp_path / "out" / "video.mp4")) as copy:
        frames = list(copy.decode(video=0))
    assert {(each.width, each.height, each.rotation) for each in frames} == {(120, 160, 0)}
    (_, before), *_ = frames_of(video)
    (_, after), *_ = frames_of(tmp_path / "out" / "video.mp4")
    differs_HW = np.abs(before.astype(int) - after).max(axis=2) > 60
    assert 50 < differs_HW.sum() < 2000  # the drawn box


def test_sound_that_begins_late_stays_late(mlcycle: Run, tiny: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "video.mp4", images(30), sound=True, sound_begins=0.5)
    assert mlcycle("infer", video, "--model", tiny, "--annotate", tmp_path / "out").code == 0
    one_N, other_N = sound_of(video), sound_of(tmp_path / "out" / "video.mp4")
    begins = [int((np.abs(each_N) > 0.02).argmax()) for each_N in (one_N, other_N)]
    assert begins == pytest.approx([24_000, 24_000], abs=96)  # 2 ms: MP4 counts whole milliseconds
    assert sounds_alike(one_N[begins[0] :], other_N[begins[1] :])


def test_sound_that_cannot_be_decoded_prevents_the_copy(mlcycle: Run, tiny: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mkv", images(5))
    with av.open(str(path)) as silent, av.open(str(tmp_path / "loud.mkv"), "w") as loud:
        stream = loud.add_stream_from_template(silent.streams.video[0])
        noise = av.Packet(b"\0\1" * 200)
        noise.stream, noise.pts, noise.dts, noise.time_base = loud.add_mux_stream("mp3", rate=48_000), 0, 0, RATE
        loud.mux(noise)
        for packet in silent.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                loud.mux(packet)
    outcome = mlcycle("infer", tmp_path / "loud.mkv", "--model", tiny, "--redact", "fill", tmp_path / "out")
    assert (outcome.code, "its sound (mp3float) cannot be decoded" in outcome.out) == (3, True)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".avi"])
def test_nothing_but_samples_of_picture_and_sound_is_copied(
    suffix: str, mlcycle: Run, tiny: Path, tmp_path: Path
) -> None:
    video = write_secret_video(tmp_path / f"video{suffix}")
    assert video.read_bytes().count(SECRET) >= 5
    assert mlcycle("infer", video, "--model", tiny, "--redact", "fill", tmp_path / "out").code == 0
    (copy,) = (tmp_path / "out").iterdir()
    entries, tracks, chapters, header = texts_of(copy)
    if copy.suffix == ".webm":
        # The muxer is "Lavf" without a version, and the demuxer counts a track's duration.
        assert entries == {"encoder": "Lavf"}
        assert [each.pop("DURATION")[:10] for each in tracks] == ["00:00:00.4"] * 2
        assert tracks == [{"type": "video"}, {"type": "audio"}]
    else:
        assert entries == {"major_brand": "isom", "minor_version": "512", "compatible_brands": "isomiso2mp41"}
        assert tracks == [
            {"type": kind, "language": "und", "handler_name": f"{name}Handler"}
            for kind, name in (("video", "Video"), ("audio", "Sound"))
        ]
    assert (chapters, header[:8], len(header)) == ([], b"OpusHead", 19)
    data = copy.read_bytes()
    assert not any(secret in data for secret in (SECRET, b"48.1234", b"2020", b"ID3", b"vorbis", b"Lavc"))
    assert np.abs(sound_of(copy)).max() > 0.1


def test_other_tracks_and_attachments_are_not_copied(mlcycle: Run, tiny: Path, tmp_path: Path) -> None:
    video = tmp_path / "video.mkv"
    with av.open(str(video), "w") as made:
        made.add_attachment("notes.txt", "text/plain", b"secret notes")
        stream = made.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height = 160, 120
        for image_HW3 in images(3):
            made.mux(stream.encode(av.VideoFrame.from_ndarray(image_HW3, format="rgb24")))
        made.mux(stream.encode(None))
    assert b"secret" in video.read_bytes()
    assert mlcycle("infer", video, "--model", tiny, "--redact", "blur", tmp_path / "out").code == 0
    assert b"secret" not in (tmp_path / "out" / "video.mkv.mp4").read_bytes()


def test_a_damaged_video_has_no_copy(mlcycle: Run, tiny: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "video.mkv", images(75))
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    outcome = mlcycle("infer", video, "--model", tiny, "--redact", "blur", tmp_path / "out", "--format", "jsonl")
    last = json.loads(outcome.out.splitlines()[-1])
    assert (outcome.code, last["error"]["code"]) == (3, "truncated")
    assert "no copy of it is written" in last["error"]["message"]
    assert not (tmp_path / "out").exists()


def test_a_failed_frame_prevents_the_copy(
    mlcycle: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = write_video(tmp_path / "video.mp4", images(5))
    original, calls = detect.letterbox.shrink, []

    def once_too_large(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 3:
            raise MemoryError
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(detect.letterbox, "shrink", once_too_large)
    arguments = ("--model", tiny, "--threads", "1", "--redact", "blur", tmp_path / "out", "--format", "jsonl")
    outcome = mlcycle("infer", video, *arguments)
    errors = [json.loads(line)["error"] for line in outcome.out.splitlines()]
    assert [error and error["code"] for error in errors] == [None, None, "too-large", None, "not-written"]
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten_by_default(mlcycle: Run, tiny: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "video.mp4", images(3))
    before = video.read_bytes()
    arguments = ("infer", video, "--model", tiny, "--redact", "blur")
    assert mlcycle(*arguments, tmp_path).code == 3
    assert mlcycle(*arguments, tmp_path, "--overwrite").code == 3
    assert video.read_bytes() == before
    assert mlcycle(*arguments, tmp_path / "out").code == 0
    assert "1 of 1 copies exist already" in mlcycle(*arguments, tmp_path / "out").err
    assert mlcycle(*arguments, tmp_path / "out", "--overwrite").code == 0
    refused = mlcycle(*arguments, tmp_path / "more", "--every", "1")
    assert (refused.code, "skips frames" in refused.err) == (2, True)


def test_a_resumed_run_writes_the_same_copy(
    mlcycle: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in" / "video.mp4", images(40, without=(20,)), sound=True)
    arguments = ("infer", "dir", tmp_path / "in", "--videos", "--model", tiny)

    def places(name: str) -> tuple[object, ...]:
        return "--out", tmp_path / f"run-{name}", "--redact", "blur", tmp_path / f"out-{name}"

    assert mlcycle(*arguments, *places("whole")).code == 0
    original = detect.Detector.detect_batch

    def stop(self: detect.Detector, sources: list[detect.Source], options: detect.DetectOptions) -> object:
        if sources[0].part and sources[0].part.number == 33:
            raise KeyboardInterrupt
        return original(self, sources, options)

    monkeypatch.setattr(detect.Detector, "detect_batch", stop)
    assert mlcycle(*arguments, *places("broken")).code == 130
    assert not (tmp_path / "out-broken").exists()
    monkeypatch.setattr(detect.Detector, "detect_batch", original)
    assert mlcycle(*arguments, *places("broken"), "--resume").code == 0
    copies = [(tmp_path / f"out-{name}" / "video.mp4").read_bytes() for name in ("whole", "broken")]
    assert copies[0] == copies[1]
    again = mlcycle(*arguments, *places("broken"), "--resume")
    assert (again.code, "0 images, 0 faces" in again.err) == (0, True)


def test_a_private_run_writes_copies_with_hashed_names(process: Run, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in" / "Whoitis.mp4", images(5))
    run = tmp_path / "run"
    arguments = ("infer", "dir", tmp_path / "in", "--videos", "--private", "--model", tiny, "--out", run)
    outcome = process(*arguments, "--redact", "blur", run / "red", "--crops", run / "crops")
    assert (outcome.code, "private: nothing was refused" in outcome.err) == (0, True)
    (copy,) = (run / "red").iterdir()
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    assert {record["input"] for record in records} == {copy.name}
    assert copy.suffix == ".mp4"
    assert records[-1]["redacted"] == f"red/{copy.name}"
    assert not any(
        "Whoitis" in str(path) or b"Whoitis" in path.read_bytes() for path in run.rglob("*") if path.is_file()
    )
