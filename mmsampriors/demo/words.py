"""What the page says, in HTML."""

import base64
import html
import io
from typing import Dict, Optional

import numpy as np
from PIL import Image

from .damage import describe
from .scene import DAMAGED, RESTORED, Scene
from .segmenter import Drawn

QUALITY = 92  # of the JPEGs that the page shows
HEADER = """
<h1>mmsampriors</h1>
<p>A small network restores a photograph, and the Segment Anything Model (SAM) looks at it before and after.</p>
"""
NO_STUDENT = """
<h1>mmsampriors</h1>
<p>This page needs a student: a network that restores photographs, and none comes with this package.
End it, and start it again with one:</p>
<pre>python tools/demo.py --student student.pth</pre>
<p>Each training exports one, and so does the quickstart, as <code>work_dirs/quickstart/student.pth</code>.</p>
"""
HINT = "Click a thing in either picture, and see SAM's mask of it in both."


def inline(pixels: np.ndarray) -> dict:
    """A picture as gradio's front end takes it, inside the message, so that no file is written.

    Args:
        pixels (np.ndarray): (H, W, 3), uint8.
    """
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, 'JPEG', quality=QUALITY, subsampling=0)
    return dict(path=None, url=f'data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}')


def tell_scene(scene: Scene) -> str:
    """The line under the slider."""
    height, width = scene.given.shape[:2]
    work = f'{width} by {height} pixels, restored by {html.escape(scene.student)} in {scene.seconds:.1f} s.'
    if scene.psnr is None:
        return _line(
            _cell('restored', 'done'),
            f'{work} PSNR compares with a clean original, and here is none: pick a sample, or add damage to a clean '
            'photograph.',
        )
    before, after = scene.psnr
    cells = [
        _cell('PSNR, damaged', _decibel(before)),
        _cell('PSNR, restored', _decibel(after)),
        _cell('gain', f'{after - before:+.2f} dB', 'good' if after > before else 'bad'),
    ]
    return _line(*cells, f'{describe(*scene.damage)}. {work}')


def tell_click(drawn: Drawn) -> str:
    """The line over the pictures after a click."""
    before, after = (drawn.numbers[name] for name in (DAMAGED, RESTORED))
    if before['iou'] is None:
        cells = [
            _cell('damaged', f'{100 * before["area"]:.1f} %'),
            _cell('restored', f'{100 * after["area"]:.1f} %'),
        ]
        return _line(*cells, "How much of the picture SAM's mask under your click covers.")
    cells = [
        _cell('damaged', f'{100 * before["iou"]:.0f} %'),
        _cell('restored', f'{100 * after["iou"]:.0f} %', _better(before, after, 'iou')),
    ]
    return _line(*cells, "How well SAM's mask under your click agrees with its mask on the clean photograph (IoU).")


def tell_everything(drawn: Drawn) -> str:
    """The line over the pictures with all masks."""
    before, after = (drawn.numbers[name] for name in (DAMAGED, RESTORED))
    if before['found'] is None:
        cells = [_cell('damaged', f'{before["masks"]} masks'), _cell('restored', f'{after["masks"]} masks')]
        return _line(*cells, 'A mask that is in both pictures has one colour. White: in the damaged one only.')
    cells = [
        _cell('damaged', f'{before["found"]} of {before["wanted"]}'),
        _cell('restored', f'{after["found"]} of {after["wanted"]}', _better(before, after, 'found')),
    ]
    return _line(*cells, "How many of the clean photograph's masks SAM finds again. White: masks that it has not.")


def hint() -> str:
    """The line over the pictures before anybody clicks."""
    return _line(HINT)


def _better(before, after, key) -> Optional[str]:
    return 'good' if after[key] > before[key] else None


def _decibel(value):
    return 'equal' if value == float('inf') else f'{value:.2f} dB'


def _cell(title, value, kind=None) -> str:
    return f'<div class="cell {kind or ""}"><small>{title}</small><b>{value}</b></div>'


def _line(*parts: str) -> str:
    *cells, text = parts
    return f'<div class="line">{"".join(cells)}<p>{text}</p></div>'


def pair(images: Dict[str, np.ndarray]) -> list:
    """The damaged and the restored picture, for the slider."""
    return [inline(images[DAMAGED]), inline(images[RESTORED])]
