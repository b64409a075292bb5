"""The demo page: self-contained, well formed, and with the measured numbers."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlcycle.demo.comparison import Frozen, ImageResult, TrainingCost, compare, duration, quantity, size
from mlcycle.demo.learning import Learning, Stage
from mlcycle.demo.limits import Limit, LimitResult
from mlcycle.demo.page import DemoResults, render
from mlcycle.demo.source_images import UNSEEN, overlap

VOID = {"meta", "img", "br"}
TRAINING = TrainingCost(123.4, 38_400, 600, 2_345, 8 * 10**12, 900_000_000, 0.87)
FROZEN = Frozen("demo.onnx", "ab" * 32, 612_345, 9.2)
STEPS = (0, 300, 1800)
BOXES = ((), (), ((178.0, 70.0, 268.0, 180.0),))
FILTERS = Image.new("RGB", (60, 36))
LEARNING = Learning(
    tuple(
        Stage(step, Image.new("RGB", (64, 48)), boxes, 0.41 if step else 0.0, FILTERS, -step / 1e4)
        for step, boxes in zip(STEPS, BOXES, strict=True)
    ),
    0.57,
    167_165,
    (8, 27),
)
GROUP = Limit("group.jpg", ((1.0, 1.0, 9.0, 9.0), (21.0, 1.0, 29.0, 9.0)), "Two portraits")
DARK = Limit("dark.jpg", ((1.0, 1.0, 9.0, 9.0),), "Darker")
FOUND = ImageResult("astronaut.png", (178, 76, 270, 181), (((178.0, 70.0, 268.0, 180.0), 0.83),), 0.88, 12.5)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def page(tmp_path: Path) -> str:
    for folder in ("scenes", "annotated"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (320, 320), "grey").save(tmp_path / "scenes/0000.jpg")
    for each in (*UNSEEN, GROUP, DARK):
        Image.new("RGB", (64, 48), "white").save(tmp_path / "annotated" / each.name)
    missed = ImageResult("grace_hopper.jpg", (160, 132, 366, 334), (), 0.0, 9.0)
    none = ImageResult("coffee.png", None, (), 0.0, 8.0)
    metrics = ({"step": 20, "loss": 3.0}, {"step": 40, "loss": 1.5}, {"step": 40, "average_precision_50": 0.6})
    demo = DemoResults(
        TRAINING,
        FROZEN,
        (FOUND, missed, none),
        tuple(compare(TRAINING, FOUND, (400_000_000, 90_000_000))),
        ("mlcycle train demo", "mlcycle infer 'a <image>.jpg'"),
        metrics,
        LEARNING,
        (LimitResult(GROUP, (GROUP.boxes[0],)), LimitResult(DARK, DARK.boxes)),
    )
    return render(demo, tmp_path / "index.html", tmp_path / "scenes", tmp_path / "annotated")


def test_every_element_is_closed_and_every_image_described(page: str) -> None:
    reader = _Reader()
    reader.feed(page)
    reader.close()

    assert reader.open == []
    images = [attributes for tag, attributes in reader.elements if tag == "img"]
    assert len(images) == 1 + len(UNSEEN) + 2 * len(STEPS) + len((GROUP, DARK))
    assert all(each["alt"] for each in images)
    assert [attributes.get("lang") for tag, attributes in reader.elements if tag == "html"] == ["en"]
    drawings = [
        attributes for tag, attributes in reader.elements if tag == "svg" and attributes.get("class") != "sample"
    ]
    assert len(drawings) == 2
    assert all(attributes["aria-label"] for attributes in drawings)


def test_page_loads_nothing(page: str) -> None:
    reader = _Reader()
    reader.feed(page)

    for tag, attributes in reader.elements:
        assert tag not in ("script", "link", "iframe", "object")
        for name in ("src", "href", "srcset", "data"):
            value = attributes.get(name)
            is_link = tag == "a" and name == "href"
            assert value is None or value.startswith(("data:", "#")) or (is_link and ":" not in value)
    assert not re.search(r"@import|url\(", page)


def test_page_shows_numbers_verdicts_and_commands(page: str) -> None:
    for text in ("2 min 3 s", "12.5 ms", "38,400", "612 kB", "ab" * 32, "That&#39;s a face. (score 0.83)"):
        assert text in page
    assert "The face was not found." in page
    assert "No face found, as expected." in page
    assert "$ mlcycle train demo" in page
    assert "a &lt;image&gt;.jpg" in page


def test_page_shows_what_was_learnt_and_what_was_not(page: str) -> None:
    assert page.count("best guess") == 1
    for text in ("Step 300", "best guess scores 0.41", "167,165", "−0.0300</b> at step 300"):
        assert text in page
    assert 'class="verdict wrong">1 of 2' in page
    assert 'class="verdict">The face was found.' in page
    assert "$ mlcycle infer my-photo.jpg --model models/demo.onnx --annotate tried" in page


def test_links_lead_to_the_lessons_of_the_checkout(page: str, tmp_path: Path) -> None:
    linked = re.findall(r'<a href="([^"#]+)"', page)
    assert [Path(each).name for each in linked] == ["two-phases.html", "index.md"]
    assert all((tmp_path / each).resolve().is_file() for each in linked)


def test_missed_faces_are_marked(page: str) -> None:
    sources = re.findall(r'alt="(Two portraits|Darker)[^"]*" src="data:image/jpeg;base64,([^"]+)"', page)
    red = [_red_pixels(base64.b64decode(data)) for _, data in sources]
    assert [name for name, _ in sources] == ["Two portraits", "Darker"]
    assert red[0] > 20
    assert red[1] == 0


def _red_pixels(data: bytes) -> int:
    with Image.open(BytesIO(data)) as image:
        pixels_HW3 = np.asarray(image.convert("RGB"))
    return int(((pixels_HW3[..., 0] > 180) & (pixels_HW3[..., 1] < 150)).sum())


def test_ratios_follow_from_the_numbers() -> None:
    rows = {row.name: row for row in compare(TRAINING, FOUND, (400_000_000, 90_000_000))}

    assert rows["time"].ratio == "9,900 times"
    assert rows["multiply-adds"].ratio == "20,000 times"
    assert rows["peak memory"].ratio == "10 times"
    assert compare(TRAINING, FOUND, (1, 0))[3].inference == "not measured"
    assert compare(TRAINING, FOUND, (1, 0))[3].ratio == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (duration(59.7), "1 min 0 s"),
        (duration(41.2), "41 s"),
        (duration(0.00834), "8.3 ms"),
        (quantity(61_000_000), "61 million"),
        (quantity(4.2e12), "4.2 trillion"),
        (size(612_000), "612 kB"),
        (size(0), "not measured"),
    ],
)
def test_numbers_are_formatted_for_reading(text: str, expected: str) -> None:
    assert text == expected


@pytest.mark.parametrize(
    ("found", "stated", "is_right"),
    [
        ((), None, True),
        ((((0.0, 0.0, 9.0, 9.0), 0.7),), None, False),
        ((), (0, 0, 9, 9), False),
        ((((0.0, 0.0, 10.0, 10.0), 0.7),), (0, 0, 10, 20), True),
        ((((0.0, 0.0, 10.0, 9.0), 0.7),), (0, 0, 10, 20), False),
    ],
)
def test_result_is_right_at_iou_half(found: tuple, stated: tuple | None, is_right: bool) -> None:
    best = max((overlap(box_4, stated) for box_4, _ in found if stated), default=0.0)

    assert ImageResult("photo.jpg", stated, found, best, 1.0).is_right is is_right
