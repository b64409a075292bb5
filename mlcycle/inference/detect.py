"""The conductor of `mlcycle infer`: images from the file to the faces in them; reads from top to bottom.

A few images go all the way in one thread, from reading to the copies that are written; many threads do so at
once. So reading, decoding, resizing, running and writing overlap on all cores, no stage waits for another one's queue,
and there are never more images in memory than threads.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mlcycle import files
from mlcycle.artifact.contract import Contract
from mlcycle.artifact.seal import SealedBytes, read_sealed
from mlcycle.errors import DeviceError, MlcycleError, ModelFileError
from mlcycle.inference import letterbox
from mlcycle.inference.decoding import images, reading
from mlcycle.inference.record import Record, Source
from mlcycle.inference.session import Session, open_session, padded

if TYPE_CHECKING:
    from mlcycle.artifact.signing.keys import PublicKey
    from mlcycle.inference.copies.redact import RedactionMethod

Faces = tuple[np.ndarray, np.ndarray, np.ndarray | None]


@dataclass(frozen=True, slots=True)
class DetectOptions:
    """How to look at images.

    Attributes:
        threshold: the least score that counts as a face; None takes the contract's threshold "balanced".
        long_side: the input's long side in pixels; None takes the contract's, 0 the image's own size.
        max_pixels: larger images are refused by their headers.
        overwrite: whether copies may take the place of existing files.
        redaction: what is done to faces in redacted copies: blur, pixelate or fill.
        reduced_jpeg: whether large JPEGs are decoded at a reduced scale where the contract allows it.
        align: whether crops are turned and scaled by the landmarks.
        token: what the temporary names of copies have in common.
        lanes: how many threads look at images.
        batch: how many images a thread takes at once; those of one input size go through the graph together.
    """

    threshold: float | None = None
    long_side: int | None = None
    max_pixels: int = images.MAX_PIXELS
    overwrite: bool = False
    redaction: RedactionMethod = "blur"
    reduced_jpeg: bool = True
    align: bool = False
    token: str = ""
    workers: int = 1
    batch: int = 1


DEFAULT = DetectOptions()


@dataclass(frozen=True, slots=True)
class Detector:
    """A loaded model file that answers for images.

    Attributes:
        session: the graph, ready to run, and its contract.
        sha256: digest of the model file whose bytes were loaded.
        path: where they were read from.
    """

    session: Session
    sha256: str
    path: Path

    @property
    def contract(self) -> Contract:
        return self.session.contract

    @property
    def provider(self) -> str:
        return self.session.provider

    def detect_file(self, path: str | Path, *, long_side: int | None = None, threshold: float | None = None) -> Record:
        """Returns the record of one image; one that cannot be read gives a record with an error, no exception.

        `long_side` and `threshold` as in DetectOptions.
        """
        options = DetectOptions(threshold=threshold, long_side=long_side)
        return self.detect_batch([Source(Path(path), Path(path).as_posix())], options)[0]

    def detect_all(self, sources: Iterable[Source], options: DetectOptions = DEFAULT) -> Iterator[Record]:
        """Yields one record per source, in their order, while the next ones are being looked at."""
        if options.workers == 1 and options.batch == 1:  # one image should not wait for threads to be brought in
            for source in sources:
                yield from self.detect_batch([source], options)
            return
        from mlcycle.inference.batch.worker_threads import ordered_map

        for records in ordered_map(
            lambda some: self.detect_batch(some, options), several(sources, options.batch), options.workers
        ):
            yield from records

    def detect_batch(self, sources: Sequence[Source], options: DetectOptions = DEFAULT) -> list[Record]:
        """Takes a few images from the file to their records and copies; may be called by several threads at once.

        Images behind each other that have the same input size go through the graph together.
        """
        records: list[Record] = []
        prepared = (self._prepare(source, options) for source in sources)
        for _, alike in groupby(list(prepared) if len(sources) > 1 else prepared, _input_size):
            records += self._answer(list(alike), options)
        return records

    def _prepare(self, source: Source, options: DetectOptions) -> _Prepared:
        """Read, decode, turn upright, resize: what needs no session, so that it may run beside one."""
        prepared = _Prepared(source)
        long_side = self.contract.resize.long_side if options.long_side is None else options.long_side
        prepared.clock.start()
        try:
            data = _read(source, options.max_pixels)
            prepared.clock.lap("read")
            decoded = _decode(source, data, options.max_pixels, self._least_side(long_side, options))
            image, prepared.note = decoded.upright(), decoded.note
            prepared.clock.lap("decode")
            inside = self._fixed_size() or long_side
            prepared.input_HW3, prepared.frame = letterbox.shrink(image, inside, decoded.upright_size)
            prepared.clock.lap("resize")
            if source.copies:  # what is looked at does not depend on whether copies are wanted, so this is apart
                whole = decoded.image.size == decoded.size
                prepared.image = image if whole else _decode(source, data, options.max_pixels).upright()
                prepared.clock.lap("copies")
        except images.UnreadableError as problem:
            prepared.error = (problem.code, problem.message)
        except MemoryError:
            prepared.error = ("too-large", "there is not enough memory for it")
        except Exception as problem:  # whatever it is, the other images are not to blame
            prepared.error = ("unexpected", f"reading it failed with {type(problem).__name__}")
        return prepared

    def _fixed_size(self) -> tuple[int, int] | None:
        """Returns the width and height of every input of a file with fixed shapes."""
        size = self.contract.input_size
        return (size.width, size.height) if size else None

    def _least_side(self, long_side: int, options: DetectOptions) -> float | None:
        """Returns how long a JPEG must stay that is decoded at a reduced scale, or None where it must not be."""
        times = self.contract.reduced_jpeg
        return times * long_side if times and long_side and options.reduced_jpeg else None

    def _answer(self, alike: list[_Prepared], options: DetectOptions) -> list[Record]:
        """Runs the graph on images of one size; those that could not be read have no image and need no graph."""
        inputs = [each.input_HW3 for each in alike if each.input_HW3 is not None]
        if not inputs:
            return [self._record(each, None) for each in alike]
        if size := self._fixed_size():
            if len(alike) > 1:
                return [record for each in alike for record in self._answer([each], options)]
            inputs = [padded(inputs[0], *size)]
        begin = time.perf_counter()
        try:
            outputs = self.session.run(inputs[0][None] if len(inputs) == 1 else np.stack(inputs))
        except Exception as problem:  # onnxruntime has a dozen classes; most likely memory ran out
            if len(alike) > 1:
                return [record for each in alike for record in self._answer([each], options)]
            alike[0].error = ("model-failed", f"the model failed on it: {' '.join(str(problem).split())[:200]}")
            return [self._record(alike[0], None)]
        milliseconds = (time.perf_counter() - begin) * 1000 / len(alike)
        return [self._finish(each, row, outputs, milliseconds, options) for row, each in enumerate(alike)]

    def _finish(
        self, prepared: _Prepared, row: int, outputs: Faces, milliseconds: float, options: DetectOptions
    ) -> Record:
        assert prepared.frame is not None
        prepared.clock.milliseconds["run"] = milliseconds
        prepared.clock.start()
        threshold = self.contract.thresholds["balanced"] if options.threshold is None else options.threshold
        own: Faces = (outputs[0][row], outputs[1][row], None if outputs[2] is None else outputs[2][row])
        faces = select(own, threshold, prepared.frame)
        prepared.clock.lap("select")
        record = self._record(prepared, faces)
        if not prepared.source.copies or prepared.image is None:  # without an image, the record says why
            return record
        record = _with_copies(record, prepared, options)
        prepared.clock.lap("copies")
        return record

    def _record(self, prepared: _Prepared, faces: Faces | None) -> Record:
        frame = prepared.frame
        boxes_N4, scores_N, landmarks_N52 = faces or (np.zeros((0, 4), np.float32), np.zeros(0, np.float32), None)
        return Record(
            input=prepared.source.key,
            part=prepared.source.part,
            boxes_N4=boxes_N4,
            scores_N=scores_N,
            landmarks_N52=landmarks_N52,
            landmark_names=self.contract.landmarks,
            width=frame.width if frame else 0,
            height=frame.height if frame else 0,
            note=prepared.note,
            error=prepared.error,
            model=(self.contract.name, self.sha256),
            provider=self.provider,
            milliseconds=prepared.clock.milliseconds,
        )


def load_detector(
    model_path: str | Path, *, provider: str = "auto", threads: int | None = None, signed_by: PublicKey | None = None
) -> Detector:
    """Reads a model file once, verifies these bytes, loads these very bytes, and sees that they answer as they must.

    `provider` is auto, cpu, cuda, tensorrt, openvino or coreml; `threads` None leaves onnxruntime the choice. With
    `signed_by` the signature beside the file must be by this key, and for these bytes, before anything else reads them.

    Raises:
        ModelFileError: missing, damaged, tampered with, not signed by the key, of another format, not loadable, or its
            self-test fails.
        DeviceError: the provider is not there, or the self-test fails on it.
    """
    return load_sealed(read_model(Path(model_path), signed_by), provider=provider, threads=threads)


def read_model(path: Path, signed_by: PublicKey | None = None) -> SealedBytes:
    """Reads a model file once and verifies these bytes: their seal, the digest beside the file, and the signature.

    Raises:
        ModelFileError: missing, damaged, tampered with, or not signed by the key.
    """
    sealed = read_sealed(path)
    if signed_by is not None:
        from mlcycle.artifact.signing.signature import check_file

        check_file(sealed, signed_by)
    return sealed


def load_sealed(sealed: SealedBytes, *, provider: str = "auto", threads: int | None = None) -> Detector:
    """Loads the bytes of a model file that were read and verified already; arguments and errors as load_detector's."""
    session = open_session(sealed, provider=provider, threads=threads)
    run_self_test(session, sealed.path)
    return Detector(session, sealed.sha256, sealed.path)


def run_self_test(session: Session, path: Path) -> None:
    """Runs the self-test of a file, if it has one.

    Raises:
        ModelFileError: it fails on the CPU.
        DeviceError: it fails on another provider.
    """
    try:
        distance = session.distance()
    except MlcycleError:
        raise
    except Exception as problem:  # onnxruntime has a dozen classes
        why = f"fails with {' '.join(str(problem).split())[:200]}"
    else:
        if distance is None or session.tolerance is None or distance.within(session.tolerance):
            return
        allowed = f"{session.tolerance.pixels:g} px and {session.tolerance.score:g}"
        why = f"fails: its outputs differ from the expected ones by {distance}; the limits are {allowed}"
    sentence = f"the self-test of {path} {why}, on the provider {session.provider}"
    if session.provider == "cpu":
        raise ModelFileError(sentence, "fetch the file again, or install another onnxruntime")
    raise DeviceError(sentence, f"ask for --provider cpu; to compare all: mlcycle model selftest {path}")


def select(outputs: Faces, threshold: float, frame: letterbox.Frame) -> Faces:
    """Takes the graph's outputs for one image, keeps what scores at least `threshold`, and maps it back.

    Rows of score 0 are padding, which fills an image up to the row count of its batch, and are no detections.
    Returns boxes_N4 (x1 y1 x2 y2), scores_N and landmarks_N52 (or None), in pixels of the upright image.
    """
    boxes_N4, scores_N, landmarks_N52 = outputs
    keep_N = (scores_N >= threshold) & (scores_N > 0)
    boxes_N4 = letterbox.boxes_to_image(boxes_N4[keep_N], frame)
    if landmarks_N52 is None:
        return boxes_N4, scores_N[keep_N], None
    return boxes_N4, scores_N[keep_N], letterbox.to_image(landmarks_N52[keep_N], frame)


def upright_image(source: Source, max_pixels: int = images.MAX_PIXELS) -> Image.Image:
    """Returns the upright RGB image of a source, decoded in full.

    Raises:
        UnreadableError: it cannot be read.
    """
    return _decode(source, _read(source, max_pixels), max_pixels).upright()


def _read(source: Source, max_pixels: int) -> bytes:
    if source.offset or source.image:
        return b""  # beside the image that is meant the file may hold a thousand others
    return images.read(source.path, max_pixels) if source.data is None else source.data


def _decode(source: Source, data: bytes, max_pixels: int, least_side: float | None = None) -> images.Decoded:
    if source.image:
        image = source.image()
        return images.Decoded(image, image.size, 1, "")
    if not source.offset:
        return images.decode(data, max_pixels, least_side)
    with reading.opened(source.path) if source.data is None else io.BytesIO(source.data) as file:
        return images.decode_page(file, source.offset, max_pixels)


def several(sources: Iterable[Source], count: int) -> Iterator[list[Source]]:
    """Yields so many sources at a time, and at last what is left."""
    remaining = iter(sources)
    while some := list(islice(remaining, count)):
        yield some


def _input_size(prepared: _Prepared) -> tuple[int, ...]:
    return () if prepared.input_HW3 is None else prepared.input_HW3.shape


def _with_copies(record: Record, prepared: _Prepared, options: DetectOptions) -> Record:
    """Writes the copies that are wanted of the image; what goes wrong is said in the record, beside the faces."""
    from mlcycle.inference.copies import image_copies

    written: dict[str, str] = {}
    for kind, path in prepared.source.copies.items():
        try:
            if kind == "cropped":
                written |= _crops(record, prepared, path, options)
                continue
            image_copies.save(
                _copy(kind, record, prepared, options), path, overwrite=options.overwrite, token=options.token
            )
        except FileExistsError:
            return replace(record, copies=written, error=("exists", f"its {kind} copy {path} exists already"))
        except (OSError, MemoryError, ValueError) as problem:
            if getattr(problem, "errno", None) in files.FULL:
                raise  # every image would fail alike
            why = getattr(problem, "strerror", None) or problem or "memory is short"
            error = ("not-written", f"its {kind} copy {path} cannot be written: {why}")
            return replace(record, copies=written, error=error)
        written[kind] = path.as_posix()
    return replace(record, copies=written)


def _copy(kind: str, record: Record, prepared: _Prepared, options: DetectOptions) -> Image.Image:
    assert prepared.image is not None
    if kind == "redacted":
        from mlcycle.inference.copies import redact

        return redact.redact(prepared.image, record.boxes_N4, options.redaction)
    from mlcycle.inference.copies import annotate  # brings fonts, which nobody else needs

    return annotate.draw(prepared.image, record.boxes_N4, record.scores_N, record.landmarks_N52)


def _crops(record: Record, prepared: _Prepared, folder: Path, options: DetectOptions) -> dict[str, str]:
    assert prepared.image is not None
    from mlcycle.inference.copies import crops

    points_N52 = record.landmarks_N52 if options.align else None
    overwrite, token = options.overwrite, options.token
    boxes_N4, image = record.boxes_N4, prepared.image
    written = crops.write(image, boxes_N4, folder, landmarks_N52=points_N52, overwrite=overwrite, token=token)
    return {"cropped": folder.as_posix()} if written else {}


class _Clock:
    """A stopwatch with laps: the milliseconds of each stage that was reached."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        self._since = 0.0

    def start(self) -> None:
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.milliseconds[stage] = self.milliseconds.get(stage, 0.0) + (now - self._since) * 1000
        self._since = now


@dataclass(slots=True)
class _Prepared:
    """An image on its way: what the decoding thread hands to the one that runs the session."""

    source: Source
    clock: _Clock = field(default_factory=_Clock)
    image: Image.Image | None = None
    note: str = ""
    input_HW3: np.ndarray | None = None
    frame: letterbox.Frame | None = None
    error: tuple[str, str] | None = None
