"""The table of the quickstart."""

import pytest

from mmsampriors.quickstart.results import TABLE, table_of


@pytest.mark.parametrize(('spd', 'said'), [(30.25, '0.25 dB above plain'), (29.5, '0.50 dB BELOW plain')])
def test_the_table_says_which_is_better(spd, said):
    metrics = {name: dict(PSNR=30.0, SSIM=0.9) for name in TABLE}
    metrics['spd']['PSNR'] = spd
    table = table_of(metrics)
    assert said in table and f'{spd:.2f} dB' in table
    assert all(title in table for title in TABLE.values())
