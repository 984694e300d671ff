"""The page of tools/demo.py."""

import base64
import functools
import html
import io
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Optional

import gradio as gr
import numpy as np
from PIL import Image

from mmsampriors.command_line import message_of
from mmsampriors.images import PhotographError
from mmsampriors.inference.restorer import Restorer

from .guard import FORGED, GuardedBlocks, log_failure
from .scene import (
    DAMAGED,
    KINDS,
    MOST_SEVERE,
    NONE,
    RESTORED,
    SAMPLES,
    SMALL,
    Scene,
    describe,
    first_damage,
    make_scene,
    open_photograph,
    sample,
    suited,
    thumbnails,
)
from .segmenter import Drawn, Segmenter

STYLE = Path(__file__).with_name('page.css')
THUMBNAIL = 160  # pixels a side
FORGET_AFTER = 3600  # seconds that a scene is kept after a person last did something
FONTS = ['system-ui', 'Segoe UI', 'Roboto', 'Helvetica', 'Arial', 'sans-serif']


def look() -> dict:
    """Theme and style sheet, as ``gradio.mount_gradio_app`` takes them. Fonts are the system's: none is fetched."""
    theme = gr.themes.Default(
        primary_hue='teal', neutral_hue='slate', font=FONTS, font_mono=['ui-monospace', 'monospace']
    )
    return dict(theme=theme, css_paths=[STYLE])


def reports_errors(handler):
    """Lets an error end as a short message on the page. The traceback goes to the terminal with ``--debug`` only."""

    @functools.wraps(handler)
    def reporting(self, *args, **kwargs):
        try:
            return handler(self, *args, **kwargs)
        except Exception as error:
            if self.debug:
                traceback.print_exc(file=sys.stderr)
            unforeseen = isinstance(error, (AttributeError, IndexError, TypeError))
            if unforeseen and not self.debug:
                log_failure(error)
            text = FORGED if unforeseen else message_of(error)
            raise gr.Error(html.escape(text), print_exception=False) from None

    return reporting


@dataclass
class Page:
    """What people see and do. What belongs to one of them is in the state of their session, and nowhere else.

    Args:
        students (dict[str, Restorer]): Name on the page to who restores.
        segmenter (Segmenter): Shared by all.
        most_pixels (int): Of a photograph.
        uploads (Path): Folder of the uploads: no other file is opened.
        debug (bool): Whether the terminal gets tracebacks.
    """

    students: Dict[str, Restorer]
    segmenter: Segmenter
    most_pixels: int
    uploads: Path
    debug: bool = False

    def build(self) -> gr.Blocks:
        """Lays the page out."""
        with GuardedBlocks(title='mmsampriors', analytics_enabled=False) as blocks:
            blocks.uploads, blocks.debug = self.uploads, self.debug
            if not self.students:
                gr.HTML(NO_STUDENT, elem_id='header')
                return blocks
            self._lay_out()
            self._connect(blocks)
        return blocks

    def _lay_out(self):
        names = list(self.students)
        self.scene, self.given = (gr.State(None, time_to_live=FORGET_AFTER) for _ in range(2))
        gr.HTML(HEADER, elem_id='header')
        with gr.Row():
            with gr.Column(scale=2, min_width=290):
                self.upload = gr.File(label='Your photograph', height=96, elem_id='upload')
                self.samples = gr.Gallery(
                    label='Samples', show_label=False, allow_preview=False, buttons=[], elem_id='samples'
                )
                kinds = [NONE, *KINDS, *([SMALL] if suited(self.students, SMALL) else [])]
                self.kind = gr.Radio(kinds, value=NONE, label='Damage that is added', elem_id='kind')
                self.severity = gr.Slider(
                    1, MOST_SEVERE, value=5, step=1, label='How much of it', buttons=[], elem_id='severity'
                )
                self.student = gr.Dropdown(
                    names, value=names[0], label='Restored by', elem_id='student', interactive=len(names) > 1
                )
            with gr.Column(scale=5, min_width=420):
                self.slider = gr.ImageSlider(
                    label='Damaged | restored: pull the line',
                    interactive=False,
                    buttons=['fullscreen'],
                    max_height=345,
                    elem_id='slider',
                )
                self.numbers = gr.HTML(elem_id='numbers')
        with gr.Row(elem_id='sam'):
            gr.HTML('<h2>What SAM sees</h2>')
            self.everything = gr.Button('Show all masks', size='sm', elem_id='everything')
            self.clear = gr.Button('Hide masks', size='sm', elem_id='clear')
        self.caption = gr.HTML(hint(), elem_id='caption')
        with gr.Row():
            self.pictures = {
                name: gr.Image(
                    label=f'In the {name} photograph',
                    interactive=False,
                    buttons=['fullscreen'],
                    height=310,
                    elem_id=name,
                )
                for name in (DAMAGED, RESTORED)
            }

    def _connect(self, blocks):
        settings = [self.kind, self.severity, self.student]
        shown = [self.scene, *settings, self.upload, self.slider, self.numbers, *self.pictures.values(), self.caption]
        masks = [*self.pictures.values(), self.caption]
        # Handlers give what the front end takes (postprocess=False), with pictures inside: gradio would write files.
        # What computes waits for others of its kind (concurrency_id): two at once would only slow each other down.
        common = dict(postprocess=False, api_visibility='private')
        restoring = dict(common, concurrency_id='restore', show_progress_on=self.slider)
        segmenting = dict(common, concurrency_id='segment', show_progress_on=[*self.pictures.values()])
        blocks.load(self.first, None, [*shown, self.samples], **restoring)
        # A file is read at once and restored in its turn: it does not stay on the disk for as long as others take.
        read = self.upload.upload(self.read, self.upload, [self.given, self.upload], concurrency_limit=None, **common)
        read.then(self.opened, [self.given, *settings], [*shown, self.given], **restoring)
        self.samples.select(self.picked, settings, shown, **restoring)
        for setting in settings:  # pulled on, while the work is going on: only where it ends counts
            setting.input(self.changed, [self.scene, *settings], shown, trigger_mode='always_last', **restoring)
        for picture in self.pictures.values():
            picture.select(self.clicked, self.scene, masks, **segmenting)
        self.everything.click(self.all_masks, self.scene, masks, **segmenting)
        self.clear.click(self.no_masks, self.scene, masks, **segmenting)

    # ------------------------------------------------------------------------------------------------- what people do

    @reports_errors
    def first(self, progress=gr.Progress()):
        """Somebody opens the page: a sample, damaged and restored."""
        thumbs = [dict(image=inline(pixels), caption=None) for pixels in thumbnails(THUMBNAIL).values()]
        kind = first_damage(self.students)
        made = self._show(sample(next(iter(SAMPLES))), kind, 5, next(iter(self.students)), progress)
        return {**made, self.samples: thumbs}

    @reports_errors
    def picked(self, picked: gr.SelectData, kind, severity, student, progress=gr.Progress()):
        """Somebody picks a sample. It is clean, so it is damaged."""
        kind = first_damage(self.students) if kind == NONE else kind
        return self._show(sample(list(SAMPLES)[picked.index]), kind, severity, student, progress)

    @reports_errors
    def read(self, path):
        """Somebody gives a file."""
        try:
            return {self.given: open_photograph(path, self.most_pixels)}
        except PhotographError as error:
            gr.Warning(html.escape(f'{Path(path).name} {error}'))
            return {self.given: None, self.upload: None}

    @reports_errors
    def opened(self, given, kind, severity, student, progress=gr.Progress()):
        """It is taken as it is, damaged or not."""
        if given is None:
            return {self.given: None}
        return {**self._show(given, NONE, severity, student, progress), self.given: None}

    @reports_errors
    def changed(self, scene: Optional[Scene], kind, severity, student, progress=gr.Progress()):
        """Somebody wants other damage, or another student."""
        return self._show(self._of(scene).given, kind, severity, student, progress, before=scene)

    @reports_errors
    def clicked(self, picked: gr.SelectData, scene: Optional[Scene]):
        """Somebody clicks on a picture."""
        drawn = self.segmenter.click(self._of(scene), *picked.index)
        return self._masks(drawn.pictures, message_of_click(drawn))

    @reports_errors
    def all_masks(self, scene: Optional[Scene]):
        """Somebody wants all masks."""
        drawn = self.segmenter.everything(self._of(scene))
        return self._masks(drawn.pictures, message_of_masks(drawn))

    @reports_errors
    def no_masks(self, scene: Optional[Scene]):
        """Somebody wants the pictures without masks."""
        return self._masks(self._of(scene).views, hint())

    # ------------------------------------------------------------------------------------------------ what they see

    def _of(self, scene):
        if scene is None:
            raise ValueError('The photograph has been forgotten: pick or drop it again.')
        return scene

    def _show(self, given, kind, severity, student, progress, before: Optional[Scene] = None):
        changed = before is None or before.damage is None or before.damage[0] != kind
        student = suited(self.students, kind) or student if changed else student
        restorer = self.students[student]
        scene = make_scene(given, kind, severity, student, restorer, lambda share: progress(share, 'restoring'))
        return {
            self.scene: scene,
            self.kind: kind,
            self.severity: severity,
            self.student: student,
            self.upload: None,
            self.slider: pair(scene.views),
            self.numbers: message_of_scene(scene),
            **self._masks(scene.views, hint()),
        }

    def _masks(self, images, caption):
        pictures = {self.pictures[name]: inline(images[name]) for name in (DAMAGED, RESTORED)}
        return {**pictures, self.caption: caption}


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
GARBAGE = (
    '<b>This looks like garbage:</b> the large shapes have changed, which no right restoration does. The '
    'student was trained on other photographs.'
)
HINT = "Click a thing in either picture, and see SAM's mask of it in both."


def inline(pixels: np.ndarray) -> dict:
    """A picture as gradio's front end takes it, inside the message, so that no file is written.

    Args:
        pixels (np.ndarray): (H, W, 3), uint8.
    """
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, 'JPEG', quality=QUALITY, subsampling=0)
    return dict(path=None, url=f'data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}')


def message_of_scene(scene: Scene) -> str:
    """The line under the slider."""
    height, width = scene.given.shape[:2]
    work = f'{width} by {height} pixels, restored by {html.escape(scene.student)} in {scene.seconds:.1f} s.'
    work += f' {GARBAGE}' if scene.is_garbage else ''
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


def message_of_click(drawn: Drawn) -> str:
    """The line over the pictures after a click."""
    before, after = (drawn.numbers[name] for name in (DAMAGED, RESTORED))
    if before['iou'] is None:
        cells = _cells(f'{100 * before["area"]:.1f} %', f'{100 * after["area"]:.1f} %')
        return _line(*cells, "How much of the picture SAM's mask under your click covers.")
    better = after['iou'] > before['iou']
    cells = _cells(f'{100 * before["iou"]:.0f} %', f'{100 * after["iou"]:.0f} %', better)
    return _line(*cells, "How well SAM's mask under your click agrees with its mask on the clean photograph (IoU).")


def message_of_masks(drawn: Drawn) -> str:
    """The line over the pictures with all masks."""
    before, after = (drawn.numbers[name] for name in (DAMAGED, RESTORED))
    if before['found'] is None:
        cells = _cells(f'{before["masks"]} masks', f'{after["masks"]} masks')
        return _line(*cells, 'A mask that is in both pictures has one colour. White: in the damaged one only.')
    better = after['found'] > before['found']
    cells = _cells(f'{before["found"]} of {before["wanted"]}', f'{after["found"]} of {after["wanted"]}', better)
    return _line(*cells, "How many of the clean photograph's masks SAM finds again. White: masks that it has not.")


def hint() -> str:
    """The line over the pictures before anybody clicks."""
    return _line(HINT)


def _cells(before: str, after: str, better: bool = False) -> list:
    """The cells of the damaged and of the restored picture."""
    return [_cell('damaged', before), _cell('restored', after, 'good' if better else None)]


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
