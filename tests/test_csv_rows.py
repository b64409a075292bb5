"""CSV rows: a spreadsheet runs no cell, and every value comes back."""

from __future__ import annotations

import csv
import io

from mlcycle.csv_rows import Rows

FORMULAS = ["=1+1", "+1+1", "-rf.jpg", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "--"]


def test_no_cell_is_a_formula() -> None:
    others = ["-", "a=1.jpg", "./=1", "-3.25", "+7", "", None, -3.25, 7]
    text = io.StringIO(newline="")
    Rows(text).writerow([*FORMULAS, *others])
    (row,) = csv.reader(io.StringIO(text.getvalue(), newline=""))
    assert row == [*(f"./{each}" for each in FORMULAS), *("" if each is None else str(each) for each in others)]
