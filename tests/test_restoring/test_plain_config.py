import pytest

from mmsampriors.restoring.plain_config import PlainConfigError, read_plain_config


def test_values_are_read(tmp_path):
    (tmp_path / 'a.py').write_text("a = dict(b=[1, (2.5, -3)], c={'d': None})\ne = 'text'\n")
    assert read_plain_config(tmp_path / 'a.py') == dict(a=dict(b=[1, (2.5, -3)], c=dict(d=None)), e='text')


@pytest.mark.parametrize(
    'text',
    [
        'import os',
        "a = __import__('os').system('touch broken_in')",
        "a = dict(b=open('broken_in', 'w'))",
        'a = [print() for _ in range(3)]',
        "_base_ = 'other.py'",
        'a = (',
        'a.b = 1',
        'a = dict(**{})(1)',
    ],
)
def test_code_is_refused_and_not_run(tmp_path, text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a.py').write_text(text + '\n')
    with pytest.raises(PlainConfigError, match='is not run. If you trust it, name it with --config'):
        read_plain_config(tmp_path / 'a.py')
    assert not (tmp_path / 'broken_in').exists()


def test_a_missing_config_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='student.py, the student'):
        read_plain_config(tmp_path / 'student.py')
