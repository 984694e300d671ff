from dataclasses import dataclass

import numpy as np
import pytest

from mmsampriors.data_preparation.degradations import Settings, setting


@dataclass(frozen=True, kw_only=True)
class Weather(Settings):
    wind: tuple = setting((0.0, 10.0), 0, 50, 'speed')
    cloud: float = setting(0.5, 0, 1, 'share')
    hail: float | None = setting(None, 0, 1, 'share')
    height: tuple = setting((100.0, 6400.0), 1, 9000, 'metres', by_stops=True)


def test_draws_lie_in_their_ranges_and_fixed_values_stay():
    rng = np.random.default_rng(0)
    drawn = [Weather().draw(rng) for _ in range(200)]
    winds = [draw['wind'] for draw in drawn]
    assert 0 <= min(winds) < 0.5 and 9.5 < max(winds) <= 10
    assert np.median([draw['height'] for draw in drawn]) == pytest.approx(800, rel=0.2)
    assert {(draw['cloud'], draw['hail']) for draw in drawn} == {(0.5, None)}


def test_fixing_one_setting_leaves_the_others_as_they_were():
    free = Weather(cloud=(0, 1), hail=(0, 1)).draw(np.random.default_rng(3))
    fixed = Weather(wind=4, cloud=(0, 1), hail=(0, 1)).draw(np.random.default_rng(3))
    assert fixed == {**free, 'wind': 4}


@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(wind=51), 'wind must lie within 0 and 50; found 51'),
        (dict(cloud=(-0.1, 0.5)), 'cloud must lie within 0 and 1'),
        (dict(cloud=(0.5, 0.1)), 'cloud takes a number, or a pair'),
        (dict(cloud=(0.1, 0.2, 0.3)), 'cloud takes a number, or a pair'),
        (dict(cloud='much'), 'cloud takes a number, or a pair'),
        (dict(cloud=float('nan')), 'cloud takes a number, or a pair'),
    ],
)
def test_wrong_values_are_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        Weather(**wrong)
