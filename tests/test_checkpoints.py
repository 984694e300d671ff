"""Files of torch.save: what is damaged, empty, foreign or dangerous is refused by name."""

import collections
import pickle
import re

import pytest
import torch
from damage import damaged
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

import mmsampriors  # noqa: F401
from mmsampriors.checkpoints import read_checkpoint

STATE = dict(state_dict=dict(weight=torch.linspace(0, 1, 12).view(3, 4), bias=torch.ones(3)))


class Trap:
    """What a malicious file makes pickle call."""

    def __reduce__(self):
        return print, ('code has run',)


def write(path, content):
    torch.save(content, path)
    return path


@pytest.fixture
def whole(tmp_path):
    return write(tmp_path / 'whole.pth', STATE)


def test_what_is_whole_is_read(whole, tmp_path):
    assert torch.equal(read_checkpoint(whole)['state_dict']['weight'], STATE['state_dict']['weight'])
    loaded = CheckpointLoader.load_checkpoint(str(whole), map_location='cpu')
    assert torch.equal(loaded['state_dict']['bias'], torch.ones(3))
    logged = write(tmp_path / 'logged.pth', dict(STATE, message_hub=HistoryBuffer([1.0], [1])))
    assert read_checkpoint(logged)['message_hub'].current() == 1


def test_files_of_old_torch_are_read(tmp_path):
    torch.save(STATE, tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    assert torch.equal(read_checkpoint(tmp_path / 'old.pth')['state_dict']['bias'], torch.ones(3))


@pytest.mark.parametrize(
    'content, message',
    [
        (b'', r'is empty \(0 bytes\)'),
        (b'no checkpoint', 'is no file of torch.save, or is damaged'),
        (pickle.dumps([1, 2]), 'x.pth'),
    ],
)
def test_other_files(tmp_path, content, message):
    path = tmp_path / 'x.pth'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_checkpoint(path)
    assert str(path) in str(error.value)


def test_of_what_is_no_checkpoint_torchs_advice_is_left_out(tmp_path):
    path = tmp_path / 'x.pth'
    for content in (b'weights, as a text', b'\x80\x02garbage', b'\x93NUMPY' + bytes(99)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r'x\.pth .* is no file of torch.save|damaged or cut off') as error:
            read_checkpoint(path)
        assert 'weights_only' not in str(error.value) and 'untrusted' not in str(error.value)


def test_a_list(tmp_path):
    with pytest.raises(ValueError, match=r'x\.pth holds a list; expected a dict of tensors'):
        read_checkpoint(write(tmp_path / 'x.pth', [torch.ones(2)]))


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='there is no checkpoint .*x.pth'):
        read_checkpoint(tmp_path / 'x.pth')


@pytest.mark.parametrize('content, name', [(Trap(), 'print'), (collections.UserDict(a=1), 'collections.UserDict')])
def test_code_is_refused_with_a_way_out(tmp_path, content, name, capsys):
    path = write(tmp_path / 'x.pth', dict(STATE, meta=content))
    with pytest.raises(ValueError, match=re.escape(name)) as error:
        read_checkpoint(path)
    assert 'If you trust the file' in str(error.value) and 'weights_only=False' in str(error.value)
    assert 'code has run' not in capsys.readouterr().out


def test_a_flipped_bit_of_a_weight_is_found_by_all_loaders(whole):
    """Without the checksums torch reads another weight and says nothing."""
    content = bytearray(whole.read_bytes())
    content[content.index(STATE['state_dict']['weight'].numpy().tobytes()) + 7] ^= 1
    whole.write_bytes(content)
    assert not torch.equal(torch.load(whole, weights_only=True)['state_dict']['weight'], STATE['state_dict']['weight'])
    for read in (read_checkpoint, lambda path: CheckpointLoader.load_checkpoint(str(path), map_location='cpu')):
        with pytest.raises(ValueError, match=r'whole\.pth .* damaged or cut off.*checksum of .* is wrong'):
            read(whole)


@pytest.fixture(scope='module')
def fuzzed(tmp_path_factory):
    path = tmp_path_factory.mktemp('fuzzed') / 'x.pth'
    torch.save(STATE, path)
    return path, path.read_bytes()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_damaged_bytes_give_the_same_weights_or_a_known_error(fuzzed, data):
    path, content = fuzzed
    path.write_bytes(data.draw(damaged(content)))
    try:
        state = read_checkpoint(path)['state_dict']
    except ValueError as error:
        assert str(path) in str(error)
    else:
        assert all(torch.equal(state[name], value) for name, value in STATE['state_dict'].items())


def test_the_old_config_of_a_checkpoint_is_left_out(tmp_path):
    """mmengine's Runner runs it when it resumes; its own checkpoints have it under another name."""
    path = write(tmp_path / 'x.pth', dict(STATE, meta=dict(config='import os', cfg='a = 1')))
    assert CheckpointLoader.load_checkpoint(str(path))['meta'] == dict(cfg='a = 1')
