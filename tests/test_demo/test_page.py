"""What the page shows where there is nothing to restore with. With a student: tests/test_tools/test_demo.py."""

import pytest

gr = pytest.importorskip('gradio')

from types import SimpleNamespace

from mmsampriors.demo.guard import FORGED
from mmsampriors.demo.page import Page


def test_it_says_what_to_give_where_there_is_no_student(tmp_path):
    shown = Page({}, None, 10**6, tmp_path).build().get_config_file()['components']
    assert 'python tools/demo.py --student student.pth' in shown[0]['props']['value'] and len(shown) == 1


@pytest.mark.parametrize('scale', [1, 4])
def test_a_student_that_enlarges_may_be_given_a_shrunk_photograph(tmp_path, scale):
    students = dict(mine=SimpleNamespace(network=SimpleNamespace(scale=scale)))
    shown = Page(students, None, 10**6, tmp_path).build().get_config_file()['components']
    kinds = next(one['props']['choices'] for one in shown if one['props'].get('elem_id') == 'kind')
    assert ('small' in [value for _, value in kinds]) == (scale > 1)


def test_a_sample_that_there_is_not_is_one_sentence(tmp_path, capsys):
    with pytest.raises(gr.Error, match=FORGED):
        Page({}, None, 10**6, tmp_path).picked(SimpleNamespace(index=999), 'noise', 5, 'mine')
    assert 'IndexError' in capsys.readouterr().err
