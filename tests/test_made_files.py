"""What is replaced, and what is not."""

import pytest

from mmsampriors.files import MadeFiles


@pytest.fixture
def made(tmp_path):
    return MadeFiles(tmp_path, 'restore')


def test_what_was_written_is_replaced_until_somebody_changes_it(made, tmp_path):
    made.write('a/b.txt', 'one')
    made.write('a/b.txt', b'two')
    assert (tmp_path / 'a' / 'b.txt').read_text() == 'two'
    made.refuse_changed(['a/b.txt'])
    (tmp_path / 'a' / 'b.txt').write_text('edited')
    made.refuse_others(['a/b.txt'])
    for attempt in (lambda: made.refuse_changed(['a/b.txt']), lambda: made.write('a/b.txt', 'three')):
        with pytest.raises(FileExistsError, match=f'{tmp_path}/a/b.txt is not as restore.py wrote it'):
            attempt()
    assert (tmp_path / 'a' / 'b.txt').read_text() == 'edited'


def test_what_has_no_record_is_not_replaced(made, tmp_path):
    (tmp_path / 'a').write_text('mine')
    (tmp_path / 'link').symlink_to('nowhere')
    for name in ('a', 'link'):
        with pytest.raises(FileExistsError, match=f'{tmp_path}/{name} would be replaced'):
            made.refuse_others(['absent', name])
        with pytest.raises(FileExistsError, match='would be replaced'):
            made.write(name, 'new')
    assert (tmp_path / 'a').read_text() == 'mine' and (tmp_path / 'link').is_symlink()


def test_a_process_that_dies_between_record_and_file_is_no_obstacle(made, tmp_path, monkeypatch):
    made.write('a', 'one')
    real = MadeFiles._note
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(MadeFiles, '_note', lambda *args: (real(*args), (_ for _ in ()).throw(KeyboardInterrupt)))
        made.write('a', 'two')
    assert (tmp_path / 'a').read_text() == 'one' and not made.is_done('a')
    made.write('a', 'three')
    assert (tmp_path / 'a').read_text() == 'three' and made.is_done('a')


def test_a_file_in_the_place_of_the_records_is_named(made, tmp_path):
    (tmp_path / '.mmsampriors').write_text('x')
    with pytest.raises(NotADirectoryError) as error:
        made.refuse_others(['a'])
    assert error.value.filename == str(tmp_path / '.mmsampriors')


def test_what_a_file_was_made_of(made, tmp_path):
    made.write('a', 'x', of=(1, 2))
    assert made.is_done('a', of=(1, 2)) and not made.is_done('a', of=(1, 3)) and not made.is_done('b', of=(1, 2))
    (tmp_path / 'a').write_text('y')
    assert not made.is_done('a', of=(1, 2))


def test_folders(made, tmp_path):
    """They grow until they are finished, and go only as they are then."""
    made.claim(['data', 'log'])
    for name in ('data/sub/a', 'data/b', 'log'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    made.claim(['data', 'log'])
    made.finish(['data', 'log'])
    (tmp_path / 'data' / 'sub' / 'mine').write_text('mine')
    with pytest.raises(FileExistsError, match=f'{tmp_path}/data/sub/mine is not as'):
        made.remove(['log', 'data'])
    assert (tmp_path / 'log').exists()
    (tmp_path / 'data' / 'sub' / 'mine').unlink()
    made.remove(['log', 'data'])
    assert [path.name for path in tmp_path.iterdir()] == ['.mmsampriors']
    (tmp_path / 'data').mkdir()
    with pytest.raises(FileExistsError, match=f'{tmp_path}/data would be replaced'):
        made.claim(['data'])
