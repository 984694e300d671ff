"""What the page shows where there is nothing to restore with. With a student: tests/test_tools/test_demo.py."""

import pytest

pytest.importorskip('gradio')

from mmsampriors.demo.page import Page


def test_it_says_what_to_give_where_there_is_no_student():
    shown = Page({}, None, 10**6).build().get_config_file()['components']
    assert 'python tools/demo.py --student student.pth' in shown[0]['props']['value'] and len(shown) == 1
