"""The pairs that the quickstart makes."""

from mmsampriors.images import read_rgb, to_unit
from mmsampriors.quickstart.results import PHOTOGRAPHS, SIZE, make_data


def test_every_rain_is_another_over_the_same_ground_truth(tmp_path):
    make_data(str(tmp_path), rains=2)
    train = tmp_path / 'data' / 'train'
    names = sorted(path.name for path in (train / 'rain_0' / 'input').iterdir())
    assert len(names) == len(PHOTOGRAPHS['train'])
    for name in names:
        first, second = (read_rgb(train / f'rain_{number}' / 'input' / name) for number in (0, 1))
        dry, also_dry = (read_rgb(train / f'rain_{number}' / 'target' / name) for number in (0, 1))
        assert dry.shape == (*SIZE[::-1], 3)
        assert (dry == also_dry).all() and (first != second).any()
        # Streaks brighten, and so much that they are seen.
        assert (first >= dry).all() and (first - dry).mean() > 0.01

    tested = {path.stem for path in (tmp_path / 'data' / 'test' / 'input').iterdir()}
    assert tested and not tested & {name.split('.')[0] for name in names}


def test_heavier_rain_is_heavier(tmp_path):
    make_data(str(tmp_path), rains=1)
    for rain, heavier in (('train/rain_0', 'heavier/rain_0'), ('test', 'test_heavier')):
        errors = []
        for folder in (rain, heavier):
            pairs = tmp_path / 'data' / folder
            errors.append(
                sum(
                    ((to_unit(read_rgb(path)) - to_unit(read_rgb(pairs / 'target' / path.name))) ** 2).mean()
                    for path in (pairs / 'input').iterdir()
                )
            )
        assert errors[1] > 1.5 * errors[0]
    dry = [tmp_path / 'data' / folder / 'target' / 'chelsea.png' for folder in ('test', 'test_heavier')]
    assert dry[0].read_bytes() == dry[1].read_bytes()


def test_what_is_there_is_kept(tmp_path):
    make_data(str(tmp_path), rains=1)
    pairs = list((tmp_path / 'data').rglob('*.png'))
    lost = next(path for path in pairs if path.parent.name == 'input')
    times = {path: path.stat().st_mtime_ns for path in pairs if path.name != lost.name}
    lost.unlink()
    make_data(str(tmp_path), rains=1)
    assert {path: path.stat().st_mtime_ns for path in times} == times and lost.exists()
