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
<p>A small network restores your photograph. Below you see what the Segment Anything Model (SAM) makes of it, before and
after. Everything stays on this machine.</p>
"""
NO_STUDENT = """
<h1>mmsampriors</h1>
<p>This page needs a student: a network that restores photographs, and none comes with this package.
End it, and start it again with one:</p>
<pre>python tools/demo.py --student student.pth</pre>
<p>Each training exports one, and so does the quickstart, as <code>work_dirs/quickstart/student.pth</code>.</p>
"""
HINT = 'Click a thing in either picture: SAM shows the mask under your click in both.'


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
    work = f'{width} by {height} pixels, restored by {html.escape(scene.student)} in {scene.seconds:.1f} s'
    if scene.psnr is None:
        return _line(
            _cell('restored', 'done'),
            f'{work}. PSNR compares with a clean original, and here is none: pick a sample, or add damage to a clean '
            'photograph.',
        )
    before, after = scene.psnr
    cells = [
        _cell('PSNR, damaged', _decibel(before)),
        _cell('PSNR, restored', _decibel(after)),
        _cell('gain', f'{after - before:+.2f} dB', 'good' if after > before else 'bad'),
    ]
    return _line(*cells, f'{describe(*scene.damage)}, {work}.')


def tell_click(drawn: Drawn) -> str:
    """The line under the pictures after a click."""
    before, after = (drawn.numbers[name] for name in (DAMAGED, RESTORED))
    if before['iou'] is None:
        cells = [
            _cell('mask, damaged', f'{100 * before["area"]:.1f} % of the picture'),
            _cell('mask, restored', f'{100 * after["area"]:.1f} % of the picture'),
        ]
        return _line(*cells, 'The mask under your click. ' + HINT)
    cells = [
        _cell('as in the clean photograph, damaged', f'{100 * before["iou"]:.0f} %'),
        _cell('as in the clean photograph, restored', f'{100 * after["iou"]:.0f} %', _better(before, after, 'iou')),
    ]
    return _line(*cells, 'How much of the mask under your click is the same as on the clean photograph (IoU).')


def tell_everything(drawn: Drawn) -> str:
    """The line under the pictures with all masks."""
    before, after = (drawn.numbers[name] for name in (DAMAGED, RESTORED))
    if before['found'] is None:
        cells = [_cell('masks, damaged', before['masks']), _cell('masks, restored', after['masks'])]
        return _line(*cells, 'One thing has one colour in both pictures. White: in the damaged one only.')
    cells = [
        _cell('found again, damaged', f'{before["found"]} of {before["wanted"]}'),
        _cell('found again, restored', f'{after["found"]} of {after["wanted"]}', _better(before, after, 'found')),
    ]
    return _line(*cells, 'Masks of the clean photograph that are found here too. White: masks that it has not.')


def hint() -> str:
    """The line under the pictures before anybody clicks."""
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
