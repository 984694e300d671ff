"""The quickstart on images and numbers of steps that take seconds; what it writes, and when, is its own."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'tools')]

import quickstart  # noqa: E402

from mmsampriors.quickstart import photographs  # noqa: E402

if __name__ == '__main__':
    photographs.PHOTOGRAPHS.update(train=['astronaut.png', 'rocket.jpg'], test=['chelsea.png'])
    photographs.SIZE = (96, 80)
    # Two updates teach nothing.
    sys.modules['mmsampriors.quickstart.run'].GAIN = -100.0
    quickstart.main(quickstart.parse_args())
