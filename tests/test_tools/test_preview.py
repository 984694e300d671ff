"""The pictures of the degradations in the docs."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def preview():
    spec = importlib.util.spec_from_file_location('preview', ROOT / 'tools/dataset_converters/preview.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pictures_of_others_stay(preview, tmp_path, monkeypatch):
    (tmp_path / 'degradations_blur.jpg').write_text('mine')
    monkeypatch.setattr('sys.argv', ['preview.py', '--out', str(tmp_path)])
    with pytest.raises(SystemExit, match='degradations_blur.jpg would be replaced'):
        preview.main()
    assert [path.name for path in tmp_path.iterdir()] == ['degradations_blur.jpg']


@pytest.mark.parametrize('kind', ['rain', 'blur', 'noise'])
def test_each_panel_shows_another_degradation_and_the_docs_have_them(preview, kind):
    panels = preview.panels_of(kind)
    assert len(panels) % preview.COLUMNS == 0
    images = list(panels.values())
    for index, image in enumerate(images):
        assert image.shape == (preview.SIDE, preview.SIDE, 3) and 0 <= image.min() and image.max() <= 1
        assert all(np.abs(image - other).mean() > 0.005 for other in images[:index])
    picture = ROOT / 'docs' / f'degradations_{kind}.jpg'
    assert picture.stat().st_size < 200_000 and Image.open(picture).width > 1000
