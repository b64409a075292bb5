"""`mlcycle infer webcam`: a line of JSON for each analysed frame of a camera."""

from __future__ import annotations

import sys
from pathlib import Path

from mlcycle.cli import console
from mlcycle.cli.infer.model import detect_options, load_model
from mlcycle.cli.infer.options import InferOptions
from mlcycle.cli.infer.tally import counts
from mlcycle.errors import DeviceError
from mlcycle.inference.tally import Tally


def webcam(number: int, options: InferOptions) -> None:
    """Detects faces in frame after frame and prints each record at once, until Ctrl-C.

    Raises:
        DeviceError: no such camera, or it has stopped.
    """
    from mlcycle.errors import UnreadableError
    from mlcycle.inference.record import Part, Source, json_line
    from mlcycle.inference.video import camera
    from mlcycle.inference.video.detect_video import FrameSampler

    name = f"webcam:{number}"
    is_due, tally = FrameSampler(options.every), Tally()
    with camera.open_camera(number) as video:
        detector = load_model(options, 1)
        detection = detect_options(options, detector, 1)
        try:
            for frame in video.walk():
                if not is_due(frame.seconds):
                    continue
                part = Part("frame", frame.number, None, round(frame.seconds, 6))
                source = Source(Path(name), name, part=part, image=frame.upright)
                (record,) = detector.detect_batch([source], detection)
                console.data(json_line(record))
                sys.stdout.flush()  # the reader waits for each line
                tally.count(record)
        except UnreadableError as problem:
            raise DeviceError(f"the camera {number} has stopped: {problem.message}", "plug it in again") from None
        finally:
            if tally.images:
                console.say(counts(tally))
