"""A page that shows the photos in findings, for viewing on the machine that contains the photos."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from aimlib.datasets import decoding
from aimlib.datasets.verification.findings import Finding
from aimlib.errors import DataError, counted
from aimlib.records.escaping import storable, visible

MOST_FINDINGS = 500
"""Maximum number of findings shown."""
MOST_PHOTOS = 24
"""Maximum number of photos shown for one finding."""
_SIDE = 128
_HEAD = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 14px sans-serif; margin: 2em }}
section {{ border-top: 1px solid #ccc; padding: 1em 0 }}
figure {{ display: inline-block; width: 140px; margin: 4px; vertical-align: top }}
figcaption {{ font-size: 11px; overflow-wrap: anywhere }}
</style>
<h1>{title}</h1>
"""


def write_sheet(file: Path, root: Path, findings: Sequence[Finding], name: str) -> int:
    """Write a page with small copies of the photos in all findings that list files; return the number of findings.

    Parameters
    ----------
    root : the folder that contains the photos.
    name : the data set's name.

    Raises
    ------
    DataError: the file already exists, or cannot be written.
    """
    shown = [finding for finding in findings if finding.files]
    try:
        with file.open("x", encoding="utf-8") as page:
            page.write(_HEAD.format(title=_text(f"{name}: {counted(len(shown), 'finding')} about photos")))
            for finding in shown[:MOST_FINDINGS]:
                page.writelines(_section(root, finding))
            if (more := len(shown) - MOST_FINDINGS) > 0:
                page.write(f"<p>{counted(more, 'more finding')}, not shown</p>\n")
            page.write("</html>\n")
    except FileExistsError:
        raise DataError(f"{file}: already exists; remove it, or choose a different name") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be written: {error.strerror or error}; choose a different path") from error
    return len(shown)


def _section(root: Path, finding: Finding) -> Iterator[str]:
    yield f"<section><p><b>{finding.kind}</b>: {_text(finding.message)}</p>\n"
    excluded = set(finding.excluded)
    for path in finding.files[:MOST_PHOTOS]:
        mark = " (for the list of excluded photos)" if path in excluded else ""
        yield f"<figure>{_picture(root / path)}<figcaption>{_text(path)}{mark}</figcaption></figure>\n"
    if (more := len(finding.files) - MOST_PHOTOS) > 0:
        yield f"<p>and {more:,} more</p>\n"
    yield "</section>\n"


def _picture(path: Path) -> str:
    """Return an HTML element with a small copy of a photo, or a text if the photo cannot be decoded."""
    if not path.is_file():
        return "<i>no file</i>"
    try:
        photo = decoding.decode(decoding.read(path))
    except (decoding.DecodeError, OSError):
        return "<i>no picture</i>"
    photo.thumbnail((_SIDE, _SIDE))
    content = io.BytesIO()
    photo.save(content, "JPEG", quality=80)
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}">'


def _text(text: str) -> str:
    return html.escape(visible(storable(text)))
