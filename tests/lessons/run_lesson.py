"""Runs a lesson as a program: `python run_lesson.py LESSON.py RESULT.json`, and answers its questions in every way.

RESULT gets the marks: name of a question → the texts of its answers → what the lesson says to them; and under "values"
the numbers and texts that the lesson has computed.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any


def main(lesson: Path, result: Path) -> None:
    sys.path.insert(0, str(lesson.parent))
    spec = importlib.util.spec_from_file_location(lesson.stem, lesson)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    outputs, values = module.app.run()

    from classroom.questions import Answer, mark

    marks: dict[str, dict[str, str]] = {}
    for name, widget in values.items():
        options = getattr(widget, "options", None)
        if isinstance(options, dict) and options and all(isinstance(each, Answer) for each in options.values()):
            marks[name] = {}
            for text in options:
                widget._update(text)  # as the browser does when the answer is clicked
                marks[name][text] = mark(widget.value).text
    plain = {name: value for name, value in values.items() if _is_plain(value)}
    result.write_text(json.dumps({"marks": marks, "values": plain, "outputs": len(outputs)}), "utf-8")


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
