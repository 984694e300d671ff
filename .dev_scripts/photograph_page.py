"""Draws docs/page.jpg: the page of tools/demo.py in Chromium, after a click. Needs playwright and a Chromium."""

import argparse
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from PIL import Image

from mmsampriors.files import write_whole

SIZE = dict(width=1280, height=925)
MOST_BYTES = 300_000


def photograph(url: str, click: tuple) -> bytes:
    """A PNG of the page, after a click on the damaged picture at shares of its width and height."""
    from playwright.sync_api import sync_playwright  # here: the tests of the pages ask this script for its options

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which('chromium'), args=['--no-sandbox'])
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(120_000)
        page.goto(url)
        page.wait_for_selector('#numbers .cell')
        page.wait_for_timeout(1000)
        box = page.locator('#damaged img').first.bounding_box()
        page.mouse.click(box['x'] + click[0] * box['width'], box['y'] + click[1] * box['height'])
        page.wait_for_selector('#caption .cell')
        page.mouse.move(5, 5)
        page.wait_for_timeout(1000)
        return page.screenshot()


def as_jpeg(png: bytes) -> bytes:
    """The best quality that stays below MOST_BYTES."""
    for quality in range(95, 20, -5):
        content = io.BytesIO()
        Image.open(io.BytesIO(png)).convert('RGB').save(content, 'JPEG', quality=quality, subsampling=0, optimize=True)
        if content.tell() <= MOST_BYTES:
            break
    return content.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--student', required=True, help='as tools/demo.py takes it')
    parser.add_argument('--sam', default='tiny', help='as tools/demo.py takes it')
    parser.add_argument('--click', type=float, nargs=2, default=(1 / 2, 1 / 3), metavar=('X', 'Y'), help='in [0, 1]')
    parser.add_argument('--out', default=str(ROOT / 'docs' / 'page.jpg'))
    args = parser.parse_args()
    command = [sys.executable, str(ROOT / 'tools' / 'demo.py'), '--student', args.student, '--sam', args.sam]
    demo = subprocess.Popen([*command, '--port', '0'], stdout=subprocess.PIPE, text=True)
    try:
        started = next((line for line in demo.stdout if 'the page is at' in line), None)
        if started is None:
            sys.exit('error: tools/demo.py did not start; it said why above')
        write_whole(args.out, as_jpeg(photograph(re.search(r'http://\S+', started)[0], args.click)))
    finally:
        demo.terminate()
        demo.wait()
    print(f'{args.out}: {Path(args.out).stat().st_size / 1000:.0f} kB')


if __name__ == '__main__':
    main()
