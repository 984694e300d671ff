"""The table of the quickstart."""

import pytest

from mmsampriors.quickstart.results import SETS, TABLE, quickstart_table


@pytest.mark.parametrize(
    ('spd', 'said'),
    [
        ((30.25, 20.5), '0.25 dB above plain training in rain and 0.50 dB above plain training in heavier rain'),
        ((29.5, 20.5), '0.50 dB BELOW plain training in rain and 0.50 dB above'),
    ],
)
def test_the_table_says_which_is_better(spd, said):
    levels = dict(zip(SETS, (30.0, 20.0)))
    metrics = {where: {name: dict(PSNR=levels[where], SSIM=0.9) for name in TABLE} for where in SETS}
    for where, value in zip(SETS, spd):
        metrics[where]['spd']['PSNR'] = value
    table = quickstart_table(metrics)
    assert said in table and all(f'{value:.2f}' in table for value in spd)
    assert all(title in table for title in TABLE.values())
