"""Which students the page offers."""

from types import SimpleNamespace

import pytest

from mmsampriors.demo import scene
from mmsampriors.demo.scene import find_students, first_damage, suited


class Known:
    """Restores by name, and knows two names."""

    def __init__(self, student, device=None, allow_imports=False):
        if student not in ('rain', 'blur', 'runs/blurred/student.pth'):
            raise ValueError(f'a student is a file, found {student}')
        self.student, self.device = student, device


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setattr(scene, 'Restorer', Known)


def test_the_one_that_was_named():
    found = find_students('runs/blurred/student.pth', 'cpu')
    assert list(found) == ['blurred/student.pth'] and found['blurred/student.pth'].device == 'cpu'
    with pytest.raises(ValueError, match='found nothing.txt'):
        find_students('nothing.txt')


def test_those_of_the_package(monkeypatch):
    monkeypatch.setattr(scene, 'packaged_students', lambda: ['rain', 'blur'])
    found = find_students(None)
    assert list(found) == ['rain', 'blur']
    assert suited(found, 'blur') == 'blur' and suited(found, 'noise') is None
    monkeypatch.setattr(scene, 'packaged_students', list)
    assert find_students(None) == {}


def test_the_first_damage_is_what_a_name_speaks_of():
    student = SimpleNamespace(network=SimpleNamespace(scale=1))
    assert first_damage({'blurred/student.pth': student}) == 'blur'
    assert first_damage({'student.pth': student}) == 'noise'
    assert first_damage({'noise': student, 'rain': student}) == 'rain'
