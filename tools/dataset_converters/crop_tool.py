"""What the converters of published data sets have in common."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmsampriors.command_line import let_names_print  # noqa: E402
from mmsampriors.data_preparation.crops import cut_crops  # noqa: E402
from mmsampriors.data_preparation.pairs import PairError  # noqa: E402


def refuse_own_source(source, out):
    """Ends the process where crops would come to lie among the images that they are cut from."""
    if Path(out).resolve().is_relative_to(Path(source).resolve()):
        sys.exit(f'error: {out} lies inside {source}, whose images are read: name a folder beside it')


def prepare(images, out, **settings):
    """Cuts the images and says how many there were; ends the process with a message where that does not work."""
    let_names_print()
    try:
        count = cut_crops(images, out, workers=os.cpu_count(), **settings)
    except (PairError, OSError) as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:
        sys.exit('interrupted: the same command goes on from here')
    print(f'{count} images of {out} are there')


def files_in(folder, pattern):
    """The files of a folder that fit a pattern, sorted; an error where there are none."""
    found = sorted(Path(folder).glob(pattern))
    if not found:
        sys.exit(f'error: there is no {pattern} in {folder}; docs/data.md says what belongs there')
    return found
