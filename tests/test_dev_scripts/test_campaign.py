"""The campaign's own parts: what damages, what compares and what counts. Its runs are too long for a test."""

import random
import sys
from pathlib import Path

import pytest
import torch

TOOLS = Path(__file__).resolve().parents[2] / '.dev_scripts'
sys.path.insert(0, str(TOOLS))

import campaign  # noqa: E402
from campaign_parts.damages import kinds  # noqa: E402
from campaign_parts.phases import CONFIG, phases_in  # noqa: E402
from campaign_parts.report import report  # noqa: E402
from campaign_parts.results import results_of  # noqa: E402
from campaign_parts.trials import harm  # noqa: E402


@pytest.mark.parametrize('how', ['cut', 'flip'])
def test_harm_changes_a_file_and_not_its_times(tmp_path, how):
    path, content = tmp_path / 'x', bytes(range(100))
    for number in range(20):
        path.write_bytes(content)
        before = path.stat()
        at = harm(path, how, random.Random(number))
        found = path.read_bytes()
        assert found[:at] == content[:at] and path.stat().st_mtime_ns == before.st_mtime_ns
        assert found == content[:at] if how == 'cut' else (found[at] ^ content[at]).bit_count() == 1
        assert how == 'cut' or found[at + 1 :] == content[at + 1 :]


def test_results_see_a_weight_and_not_the_time(tmp_path):
    torch.save(dict(state_dict=dict(w=torch.zeros(3)), meta=dict(time='now')), tmp_path / 'a.pth')
    first = results_of(tmp_path)
    torch.save(dict(state_dict=dict(w=torch.zeros(3)), meta=dict(time='later')), tmp_path / 'a.pth')
    (tmp_path / 'run.log').write_text('what happened')
    assert results_of(tmp_path) == first and list(first) == ['a.pth']
    torch.save(dict(state_dict=dict(w=torch.tensor([0, 0, 1e-30]))), tmp_path / 'a.pth')
    assert results_of(tmp_path) != first


def test_the_table_counts():
    rows = [
        dict(trial='kill', name='train', kills=3, outcome='same'),
        dict(trial='kill', name='train', kills=1, outcome='lost'),
        dict(trial='flip', name='masks', outcome='unnamed'),
        dict(trial='flip', name='masks', outcome='named'),
    ]
    table = report(rows)
    assert '| train | killed | 4 | 1 | 0 | 1 | 0 |' in table
    assert '| masks | a bit flipped | 2 | 0 | 1 | 0 | 1 |' in table
    assert '| **all** | | 6 | 1 | 1 | 1 | 1 |' in table


def test_a_stopped_campaign_goes_on(tmp_path):
    tried = []

    def trial():
        tried.append(1)
        return dict(outcome='same', kills=2, note='')

    for _ in range(2):
        campaign.Rows(tmp_path / 'rows.jsonl').try_once(trial, trial='kill', name='train', number=0)
    assert tried == [1]


def test_phases_and_files_have_names_of_their_own(tmp_path):
    names = [one.name for one in (*phases_in(tmp_path), *kinds(tmp_path))]
    assert len(set(names)) == len(names) >= 18
    compile(CONFIG.format(masks='masks', pairs='pairs'), 'config.py', 'exec')
