"""The program in data/README.md that turns downloaded Open Images into a set."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_sets import astronaut, coffee, save

from mlcycle.datasets.reading import read

PAGE = Path(__file__).parents[2] / "data" / "README.md"
ROWS = """
ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside
0001,xclick,/m/0dzct,1,0.25,0.5,0.125,0.375,0,0,0,0,0
0001,xclick,/m/01g317,1,0,1,0,1,0,0,0,0,0
0002,activemil,/m/0dzct,1,0,0.5,0.5,1,0,0,1,0,0
0001,xclick,/m/0dzct,1,0.75,1,0,0.25,0,0,0,1,0
not-downloaded,xclick,/m/0dzct,1,0,1,0,1,0,0,0,0,0
""".lstrip()


@pytest.mark.skipif(not PAGE.is_file(), reason="not a checkout")
def test_faces_become_labels_and_groups_ignored_boxes(tmp_path: Path) -> None:
    [program] = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "rows.csv").write_text(ROWS)
    for name, image in (("0001", astronaut()), ("0002", coffee())):
        save(image, tmp_path / "set" / "images" / f"{name}.jpg")
    subprocess.run([sys.executable, "-c", program, tmp_path / "rows.csv", tmp_path / "set"], check=True, timeout=60)
    first, second = read(tmp_path / "set")
    np.testing.assert_allclose(first.boxes_N4, [[128, 64, 256, 192], [384, 0, 512, 128]])
    assert (first.name, first.ignore_N.tolist()) == ("0001.jpg", [False, False])
    np.testing.assert_allclose(second.boxes_N4, [[0, coffee().height / 2, coffee().width / 2, coffee().height]])
    assert second.ignore_N.tolist() == [True]
