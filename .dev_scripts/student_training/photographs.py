"""The photographs that students learn from: Debian's wallpapers that are photographs, and those of scikit-image.

Each is halved, and halved again while its shorter side keeps 256 pixels: that takes away its own noise and traces of
JPEG, and shows the same things at several sizes.
"""

import subprocess
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

#: Debian package to the photographs in it. All its other files are drawings.
DEBIAN = {
    'lomiri-wallpapers-16.04': (
        'Bridge_by_Sander_Klootwijk.jpg Dragonfly_by_Bolly.jpg Picture_0B_by_freespace.jpg '
        'Picture_1A_by_freespace.jpg Wine_by_Jakkub_Mede.jpg aitzgorri_by_Aitzol_Berasategi.jpg '
        'free_by_Peter_Nerlich.jpg friends_by_Aitzol_Berasategi.jpg greentock_by_Peter_Nerlich.jpg '
        'life_by_Aitzol_Berasategi.jpg picosdeeuropa_by_Aitzol_Berasategi.jpg '
        'seeding_by_Clements_Engelhardt.jpg sunset_by_Aitzol_Berasategi.jpg'
    ).split(),
    'lomiri-wallpapers-20.04': 'Kleiber_by_Lukas_Baubkus.jpg'.split(),
    'mate-backgrounds': (
        'nature/Aqua.jpg nature/Blinds.jpg nature/Dune.jpg nature/Garden.jpg nature/GreenMeadow.jpg '
        'nature/LadyBird.jpg nature/RainDrops.jpg nature/Storm.jpg nature/TwoWings.jpg nature/Wood.jpg '
        'nature/YellowFlower.jpg'
    ).split(),
    'plasma-workspace-wallpapers': (
        'BytheWater/contents/images/2560x1600.jpg ColdRipple/contents/images/2560x1600.jpg '
        'ColorfulCups/contents/images/2560x1600.jpg DarkestHour/contents/images/2560x1600.jpg '
        'EveningGlow/contents/images/2560x1600.jpg FallenLeaf/contents/images/2560x1600.jpg '
        'Grey/contents/images/2560x1600.jpg Kite/contents/images/2560x1600.jpg '
        'OneStandsOut/contents/images/2560x1600.jpg Path/contents/images/2560x1600.jpg '
        'summer_1am/contents/images/2560x1600.jpg'
    ).split(),
}
#: Of scikit-image. Gray ones count as colour photographs whose channels are equal. chelsea and coffee are for testing.
SCIKIT_IMAGE = (
    'astronaut.png rocket.jpg motorcycle_left.png motorcycle_right.png retina.jpg hubble_deep_field.jpg '
    'ihc.png camera.png coins.png brick.png grass.png gravel.png'
).split()
SHORTEST = 256  # pixels of the shorter side, below which a photograph is not halved
SIDE = 512  # pixels of the longer side of a small copy, at most

#: To measure on, of scikit-image.
TEST = ('chelsea.png', 'coffee.png')


def fetch_photographs(folder: Path) -> list[Path]:
    """Downloads Debian's packages into ``folder`` and unpacks them, without installing; what is there is kept."""
    paths = []
    for package, names in DEBIAN.items():
        unpacked = folder / package
        if not unpacked.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            subprocess.run(['apt-get', 'download', package], cwd=folder, check=True)
            subprocess.run(['dpkg', '-x', next(folder.glob(f'{package}_*.deb')), unpacked], check=True)
        paths += [next(unpacked.rglob(name)) for name in names]
    return paths + from_scikit_image(SCIKIT_IMAGE)


def from_scikit_image(names) -> list[Path]:
    """The files of photographs that scikit-image ships."""
    return [Path(skimage.data.__file__).parent / name for name in names]


def halved(path: Path) -> list[np.ndarray]:
    """Reads a photograph at 1/2, 1/4 ... of its size, each (H, W, 3) uint8 RGB."""
    with Image.open(path) as image:
        image = image.convert('RGB')
    sizes = []
    while min(image.size) // 2 >= SHORTEST or not sizes:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
        sizes.append(np.asarray(image))
    return sizes


def small_copies(paths, folder: Path, copies: int = 1) -> Path:
    """Writes the photographs, halved until they are no larger than ``SIDE`` pixels, each ``copies`` times."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, path in enumerate(paths):
        sizes = halved(path)
        small = Image.fromarray(next((one for one in sizes if max(one.shape) <= SIDE), sizes[-1]))
        for copy in range(copies):
            small.save(folder / f'{index:02}_{path.stem}_{copy}.png')
    return folder
