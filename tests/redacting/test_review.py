"""review.html: which images it shows, and that it is confidential and self-contained."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Outcome
from PIL import Image
from reviewed_run import LOW, page_of, saved

pytest_plugins = ("tiny_album", "tiny_archive")

Run = Callable[..., Outcome]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def redact(mlcycle: Run, archive: Path, tiny: Path, run: Path) -> Run:
    """Redacts the archive; returns the outcome."""
    return lambda *more: mlcycle("redact", archive, "--model", tiny, "--out", run, *LOW, *more)


def test_doubtful_images_come_first_then_those_without_a_face(redact: Run, run: Path) -> None:
    outcome = redact()
    assert f"review: {run / 'review.html'}, as confidential as the images: 1 image with doubtful" in outcome.err
    page = page_of(run)
    assert [(each["input"], each["kind"]) for each in page["images"][:2]] == [
        ("bar.png", "doubtful"),
        ("none.jpg", "empty"),
    ]
    assert {each["input"] for each in page["images"][2:]} == {"one.jpg", "inside/two.png"}
    (region,) = page["images"][0]["regions"]
    assert (region["box"], region["doubtful"]) == ([10, 20, 110, 40], True)
    crop = Image.open(io.BytesIO(base64.b64decode(region["crop"].partition(",")[2])))
    assert max(crop.size) == 96
    picture = Image.open(io.BytesIO(base64.b64decode(page["images"][0]["picture"].partition(",")[2])))
    assert picture.size == (600, 400)
    assert [each["crop"] for each in page["images"][2]["regions"]] == [None] * len(page["images"][2]["regions"])


def test_the_page_is_the_users_alone_and_loads_nothing(redact: Run, run: Path) -> None:
    redact()
    file = run / "review.html"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text("utf-8")
    assert "shows the original images. It is as confidential as they are" in text
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert {"default-src 'none'", "img-src data:", "form-action 'none'"} <= set(policy.split("; "))
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    without_data = re.sub(r'<script type="application/json".*?</script>', "", text, flags=re.DOTALL)
    assert not re.search(r"\ssrc=|\shref=|@import|url\(|\sstyle=|\son\w+=", without_data)
    assert set(re.findall(r"https?://\S+", without_data)) == {'http://www.w3.org/2000/svg",'}


def test_a_name_cannot_end_the_data_of_the_page(redact: Run, run: Path, archive: Path) -> None:
    name = "</script><script>alert(1)</script>%%STYLE%%.jpg".replace("/", "∕")
    (archive / "none.jpg").rename(archive / name)
    redact()
    assert "<script>alert" not in (run / "review.html").read_text("utf-8")
    assert name in [each["input"] for each in page_of(run)["images"]]


def test_a_limit_leaves_the_least_doubtful_out_and_says_so(redact: Run, run: Path) -> None:
    outcome = redact("--review-images", "1")
    assert "1 more image to review will be listed after a second pass" in outcome.err
    page = page_of(run)
    assert [each["input"] for each in page["images"]] == ["bar.png"]
    assert page["counts"] == {"doubtful": 1, "empty": 1, "sample": 2}
    assert page["shown"] == {"doubtful": 1}


def test_after_a_second_pass_the_next_images_are_listed(mlcycle: Run, redact: Run, run: Path, archive: Path) -> None:
    redact("--review-images", "1")
    file = saved(run, run / "decisions.json", {"bar.png": {"accepted": True}})
    mlcycle("redact", archive, "--out", run, "--decisions", file, "--review-images", "1")
    assert [each["input"] for each in page_of(run)["images"]] == ["none.jpg"]
    mlcycle("redact", archive, "--out", run, "--decisions", file)
    page = page_of(run)
    last = page["images"][-1]
    assert (last["input"], last["kind"], last["decision"]["accepted"]) == ("bar.png", "decided", True)
    assert page["revision"] == 1


def test_without_a_review_no_original_pixels_are_written(redact: Run, run: Path) -> None:
    assert "\nreview:" not in redact("--no-review").err
    assert not (run / "review.html").exists()
    assert (run / "report.html").exists()


def test_an_image_that_changes_before_the_review_is_not_shown(
    redact: Run, run: Path, archive: Path, monkeypatch
) -> None:
    from mlcycle.redacting import review

    choose = review.choosing.choose

    def meddling(*arguments):
        (archive / "none.jpg").write_bytes((archive / "one.jpg").read_bytes())
        return choose(*arguments)

    monkeypatch.setattr(review.choosing, "choose", meddling)
    redact()
    assert "none.jpg" not in [each["input"] for each in page_of(run)["images"]]
