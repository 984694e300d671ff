import importlib.util
import sys

import pytest

from mmsampriors.masks import build_sam
from mmsampriors.masks.optional_packages import check_extra, import_extra


def test_what_is_installed_is_imported():
    assert import_extra('json.decoder', 'hq', 'a test').JSONDecoder


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mobile_sam', None)
    monkeypatch.setitem(sys.modules, 'mobile_sam.modeling', None)
    message = 'mobile_sam needs mobile_sam, which cannot be imported .*pip install mobilesam-mirror==1.0.0'
    with pytest.raises(ImportError, match=message):
        build_sam('mobile_sam', 'mobile_sam.pt')


@pytest.mark.parametrize('name, package', [('hq_vit_b', 'segment_anything_hq'), ('sam2.1_l', 'sam2')])
def test_a_missing_package_is_known_without_importing(monkeypatch, name, package):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ImportError, match=f'{name} needs {package}, .*pip install'):
        check_extra(name)
    check_extra('vit_b')
