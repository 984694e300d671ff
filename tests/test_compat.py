"""Each repair to upstream, in a fresh process where the fault that it mends is present or staged."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run_python(code: str, *, folder: Path, path: tuple = ()) -> subprocess.CompletedProcess:
    """Runs ``code`` in a fresh Python that sees the checkout, and after it the folders of ``path``."""
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, [ROOT, *path])), 'OMP_NUM_THREADS': '1'}
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', textwrap.dedent(code)],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
    )


def check_python(code: str, *, folder: Path, path: tuple = ()):
    done = run_python(code, folder=folder, path=path)
    assert done.returncode == 0, done.stderr


def test_import_is_light_and_bases_resolve_without_pkg_resources(tmp_path):
    theirs, ours = 'mmagic::nafnet/nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py', 'mmsampriors::_base_/spd.py'
    (tmp_path / 'child.py').write_text(f'_base_ = {[theirs, ours]}\n')
    check_python(
        """
        import sys
        sys.modules['pkg_resources'] = None  # as in an environment with setuptools 82

        import mmengine.utils
        upstream = mmengine.utils.is_installed
        try:
            upstream('mmagic')
        except ImportError:
            pass
        else:
            raise AssertionError('upstream needs no pkg_resources any more: the repair can go')

        import mmsampriors
        heavy = {'torch', 'mmagic', 'mmcv', 'mmengine.runner'} & set(sys.modules)
        assert not heavy, f'import mmsampriors imports {heavy}'

        from mmengine.config import Config
        child = Config.fromfile('child.py', import_custom_modules=False)
        assert child.model.generator.type == 'NAFNetLocal' and child.spd.masks.type
        assert not mmengine.utils.is_installed('mmdet3d') and not mmengine.utils.is_installed('no_such_package')
        try:
            mmengine.utils.get_installed_path('no_such_package')
        except ModuleNotFoundError as error:
            assert 'no_such_package is not installed' in str(error)
        """,
        folder=tmp_path,
    )


def test_repairs_wait_for_the_modules_that_they_mend(tmp_path):
    """Nothing of OpenMMLab is imported for them, and ``import mmagic`` as the first import is mended all the same."""
    check_python(
        """
        import sys
        import mmsampriors
        heavy = sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'mmengine', 'mmcv', 'mmagic', 'cv2'})
        assert not heavy, f'import mmsampriors imports {heavy}'
        mmsampriors.compat.apply_to_tools()
        heavy = sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'mmengine', 'mmcv', 'mmagic', 'cv2'})
        assert not heavy, f'what mends for tools imports {heavy}'
        import mmagic.models
        from mmengine.config import Config
        from mmengine.fileio import LocalBackend
        assert mmagic.models.NAFNet and LocalBackend.put.mended and Config._merge_a_into_b.mended
        assert Config.fromfile('child.py', import_custom_modules=False).spd.masks.type
        """,
        folder=_child(tmp_path),
    )


def _child(folder):
    (folder / 'child.py').write_text("_base_ = 'mmsampriors::_base_/spd.py'\n")
    return folder


IMPORT_MMAGIC = """
    import sys
    sys.modules['pkg_resources'] = None
    import mmcv
    import mmengine
    import numpy as np

    mmcv.__version__ = '2.2.0'  # mmagic accepts < 2.2.0
    getattr(np, '__deprecated_attrs__', {}).pop('bool8', None)  # as in numpy 2
    numpy_version, np.__version__ = np.__version__, '2.4.0'
    from mmsampriors import compat
    np.__version__ = numpy_version

    compat.apply_to_tools()
    before = [(type(finder), getattr(finder, 'name', None)) for finder in sys.meta_path]
    put, path = mmengine.fileio.LocalBackend.put, mmengine.utils.get_installed_path
    compat.apply()
    compat.apply_to_tools()
    assert before == [(type(finder), getattr(finder, 'name', None)) for finder in sys.meta_path]
    assert put is mmengine.fileio.LocalBackend.put and path is mmengine.utils.get_installed_path

    import mmagic.models
    assert mmagic.models.NAFNet
    assert np.bool8 is np.bool_
    assert mmcv.__version__ == '2.2.0', 'the version is feigned for longer than mmagic is imported'
"""


def test_diffusers_imports_without_cached_download(tmp_path):
    check_python(
        """
        import huggingface_hub
        found = huggingface_hub.__getattr__

        def without_it(name):  # as in huggingface_hub 0.26 and later
            if name == 'cached_download':
                raise AttributeError(name)
            return found(name)

        huggingface_hub.__getattr__ = without_it
        try:
            import diffusers.utils.dynamic_modules_utils
        except ImportError as error:
            assert 'cached_download' in str(error)
        else:
            raise AssertionError('upstream imports without it: the repair can go')

        import mmsampriors
        from diffusers.utils.dynamic_modules_utils import cached_download
        try:
            cached_download('a pipeline')
        except RuntimeError as error:
            assert 'install huggingface_hub 0.25' in str(error)
        else:
            raise AssertionError('nothing was raised')
        """,
        folder=tmp_path,
    )


def test_onnxruntime_tells_nobody_that_it_was_used(tmp_path):
    """Of what it does for that, one thing can be seen without a network: the file of its session.

    It stays silent by itself on the machines of a CI service, which it knows by their environment variables.
    """
    use = """
        import os
        os.environ.clear()
        os.environ['TMPDIR'] = os.getcwd()
        {first}
        import onnxruntime
        print(os.path.exists('.ses'))
    """
    by_itself = run_python(use.format(first=''), folder=tmp_path)
    if by_itself.stdout != 'True\n':
        pytest.skip(f'onnxruntime writes no file of its session here: {by_itself.stdout or by_itself.stderr}')
    (tmp_path / '.ses').unlink()
    with_us = run_python(use.format(first='import mmsampriors'), folder=tmp_path)
    assert with_us.stdout == 'False\n', with_us.stderr


def test_mmagic_imports_where_upstream_refuses(tmp_path):
    """mmcv 2.2, numpy 2, no compiled ops and no pkg_resources at once; and what the stand-ins leave behind."""
    check_python(
        textwrap.dedent(IMPORT_MMAGIC)
        + textwrap.dedent("""
        from mmengine.utils.dl_utils.misc import mmcv_full_available
        import glob, os
        compiled = bool(glob.glob(os.path.join(os.path.dirname(mmcv.__file__), '_ext.*')))
        assert mmcv_full_available() == compiled, 'a stand-in for mmcv._ext stays behind'
        if not compiled:
            assert 'mmcv._ext' not in sys.modules
            import torch
            from mmcv.ops import nms
            try:
                nms(torch.tensor([[0., 0., 1., 1.]]), torch.tensor([1.]), 0.5)
            except RuntimeError as error:
                assert 'nms is a compiled op of mmcv' in str(error), error
            else:
                raise AssertionError('a compiled op ran without an extension')
        compat.apply()
        assert 'mmcv._ext' not in sys.modules or compiled
        """),
        folder=tmp_path,
    )


@pytest.mark.parametrize('order', ['compat first', pytest.param('mmengine.runner first', marks=pytest.mark.slow)])
def test_mmengine_checkpoints_load_and_others_do_not(tmp_path, order):
    """``HistoryBuffer`` passes ``weights_only=True``; ``getattr`` serves HistoryBuffer's own statistics only."""
    first, second = 'import mmsampriors.compat', 'import mmengine.runner'
    if order == 'mmengine.runner first':
        first, second = second, first
    check_python(
        f'{first}\n{second}\n'
        + textwrap.dedent("""
        import os
        import pickle
        import numpy as np
        import torch
        from mmengine.logging import HistoryBuffer, MessageHub
        from mmengine.runner import load_checkpoint, save_checkpoint

        hub = MessageHub.get_instance('training')
        for value in (1.0, 2.0, 4.5):
            hub.update_scalar('train/loss', value)
        hub.update_info('iter', 3)
        model = torch.nn.Linear(2, 2)
        save_checkpoint(dict(state_dict=model.state_dict(), message_hub=hub.state_dict()), 'good.pth')
        load_checkpoint(torch.nn.Linear(2, 2), 'good.pth')
        if hasattr(torch.serialization, 'add_safe_globals'):
            loaded = torch.load('good.pth', weights_only=True)
            buffer = loaded['message_hub']['log_scalars']['train/loss']
            assert buffer.data[0].tolist() == [1.0, 2.0, 4.5], buffer.data
            assert buffer.statistics('mean') == 2.5 and buffer.statistics('min') == 1.0

            class Malicious:
                def __init__(self, *call):
                    self.call = call
                def __reduce__(self):
                    return self.call[0], self.call[1:]

            reach = [(getattr, HistoryBuffer, '__init__'), (getattr, HistoryBuffer, '__subclasses__'),
                     (getattr, HistoryBuffer, '_statistics_methods'), (getattr, np.ndarray, 'tofile'),
                     (getattr, torch.nn.Linear, 'forward'), (os.system, 'touch broken_in'),
                     (getattr, Malicious(getattr, HistoryBuffer, 'min'), '__globals__')]
            for call in reach:
                torch.save(dict(state_dict={}, message_hub=Malicious(*call)), 'bad.pth')
                try:
                    torch.load('bad.pth', weights_only=True)
                except pickle.UnpicklingError:
                    pass
                except ValueError as error:
                    assert 'may be malicious' in str(error), error
                else:
                    raise AssertionError(f'{call} was loaded')
            assert not os.path.exists('broken_in')
        """),
        folder=tmp_path,
    )


@pytest.mark.parametrize('order', ['compat first', pytest.param('mmengine.runner first', marks=pytest.mark.slow)])
def test_older_torch_loads_plain_checkpoints_only(tmp_path, order):
    """Below torch 2.6 ``torch.load`` runs what a checkpoint names unless told not to, and mmengine does not tell it."""
    first, second = 'import mmsampriors.compat', 'import mmengine.runner'
    if order == 'mmengine.runner first':
        first, second = second, first
    check_python(
        'import torch\nload, torch.__version__ = torch.load, "2.5.1"\n'
        'torch.load = lambda *args, **options: load(*args, **{"weights_only": False, **options})\n'
        f'{first}\n{second}\nmmsampriors.compat.apply_to_tools()\n'
        + textwrap.dedent("""
        import os
        import pickle
        from mmengine.logging import MessageHub
        from mmengine.runner import CheckpointLoader, save_checkpoint

        hub = MessageHub.get_instance('training')
        hub.update_scalar('train/loss', 2.5)
        weights = torch.nn.Linear(2, 2).bfloat16().state_dict()
        optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))]).state_dict()
        good = dict(state_dict=weights, optimizer=optimizer, message_hub=hub.state_dict(), meta=dict(iter=3))
        for legacy in (False, True):
            torch.save(good, 'good.pth', _use_new_zipfile_serialization=not legacy)
            found = CheckpointLoader.load_checkpoint('good.pth', map_location='cpu')
            assert all(torch.equal(found['state_dict'][name], value) for name, value in weights.items())
            assert found['message_hub']['log_scalars']['train/loss'].data[0].tolist() == [2.5]
            assert found['meta'] == good['meta'] and found['optimizer'] == optimizer

        class Malicious:
            def __init__(self, *call):
                self.call = call
            def __reduce__(self):
                return self.call[0], self.call[1:]

        for call in [(os.system, 'touch broken_in'), (eval, '1'), (getattr, torch.nn.Linear, 'forward')]:
            for legacy in (False, True):
                bad = dict(state_dict={}, meta=Malicious(*call))
                torch.save(bad, 'bad.pth', _use_new_zipfile_serialization=not legacy)
                try:
                    CheckpointLoader.load_checkpoint('bad.pth', map_location='cpu')
                except (pickle.UnpicklingError, ValueError) as error:
                    assert 'could run code' in str(error) or 'may be malicious' in str(error), error
                else:
                    raise AssertionError(f'{call} was loaded')
        assert not os.path.exists('broken_in')
        """),
        folder=tmp_path,
    )


def test_killed_write_leaves_the_old_file(tmp_path):
    """The kernel kills the process once it has written 4,096 of 100,000 bytes."""
    file = tmp_path / 'iter_10.pth'
    file.write_bytes(b'old')
    done = run_python(
        """
        import resource, signal
        import mmsampriors.compat
        from mmengine.fileio import LocalBackend
        mmsampriors.compat.apply_to_tools()
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        LocalBackend().put(bytes(100_000), 'iter_10.pth')
        """,
        folder=tmp_path,
    )
    assert done.returncode < 0, 'the process should have been killed'
    assert file.read_bytes() == b'old'


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    check_python(
        """
        import os, pathlib, resource
        import mmsampriors.compat
        from mmengine.fileio import LocalBackend
        mmsampriors.compat.apply_to_tools()
        LocalBackend().put(b'new', pathlib.Path('folder/new.pth'))
        assert pathlib.Path('folder/new.pth').read_bytes() == b'new'

        pathlib.Path('iter_10.pth').write_bytes(b'old')
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            LocalBackend().put(bytes(100_000), 'iter_10.pth')
        except OSError as error:
            pass
        else:
            raise AssertionError('100,000 bytes fitted into 4,096')
        assert pathlib.Path('iter_10.pth').read_bytes() == b'old'
        assert sorted(os.listdir('.')) == ['folder', 'iter_10.pth'], os.listdir('.')
        """,
        folder=tmp_path,
    )


def test_the_note_of_the_last_checkpoint_is_written_whole(tmp_path):
    """And two repairs of one module stand side by side: this one, and that of the best metric."""
    check_python(
        """
        import mmsampriors.compat, os
        from mmengine.hooks import checkpoint_hook
        mmsampriors.compat.apply_to_tools()
        assert checkpoint_hook.CheckpointHook._save_best_checkpoint.mended
        with checkpoint_hook.open('last_checkpoint', 'w') as file:
            file.write('iter_2.pth')
        try:
            with checkpoint_hook.open('last_checkpoint', 'w') as file:
                file.write('iter')
                file.flush()
                raise OSError('the disk is full')
        except OSError:
            pass
        assert os.listdir('.') == ['last_checkpoint'] and open('last_checkpoint').read() == 'iter_2.pth'
        """,
        folder=tmp_path,
    )


def test_compiled_ops_are_used_where_they_exist(tmp_path):
    mmcv = tmp_path / 'fake' / 'mmcv'
    (mmcv / 'ops').mkdir(parents=True)
    (mmcv / '__init__.py').write_text("__version__ = '2.1.0'\n")
    (mmcv / '_ext.py').write_text('compiled = True\n')
    (mmcv / 'ops' / '__init__.py').write_text('from mmcv._ext import compiled\n')
    use = 'import mmsampriors.compat, mmcv.ops; assert mmcv.ops.compiled is True'
    check_python(use, folder=tmp_path, path=(mmcv.parent,))


def test_missing_mmcv_says_what_to_install(tmp_path):
    done = run_python('import sys; sys.modules["mmcv"] = None; import mmsampriors, mmagic', folder=tmp_path)
    requirement = (ROOT / 'requirements' / 'lite.txt').read_text().splitlines()[-1]
    assert done.returncode != 0
    assert f'pip install "{requirement}"' in done.stderr


def test_repairs_leave_later_versions_alone(tmp_path):
    check_python(
        """
        import importlib.metadata, sys
        real = importlib.metadata.version
        later = dict(diffusers='0.25.0', mmagic='1.3.0', mmengine='0.11.0')
        importlib.metadata.version = lambda name: later.get(name) or real(name)
        import mmengine.fileio, numpy
        put, had = mmengine.fileio.LocalBackend.put, hasattr(numpy, 'bool8')
        import mmsampriors.compat
        mmsampriors.compat.apply_to_tools()
        assert mmengine.fileio.LocalBackend.put is put
        assert hasattr(numpy, 'bool8') == had
        assert not any(type(finder).__name__ == '_AroundImport' for finder in sys.meta_path)
        """,
        folder=tmp_path,
    )


def test_a_pipeline_that_fails_names_its_files():
    from mmengine.dataset import Compose

    def fail(data):
        raise ValueError(f'no luck{data.get("hint", "")}')

    data = dict(img_path='a/x.png', gt_path='b/x.png', sample_idx=3)
    with pytest.raises(RuntimeError, match='a/x.png or b/x.png cannot be loaded .ValueError: no luck.') as error:
        Compose([fail])(dict(data))
    assert isinstance(error.value.__cause__, ValueError)
    for known in (dict(sample_idx=3), dict(data, hint=': b/x.png')):  # nothing to name, or named already
        with pytest.raises(ValueError, match='no luck'):
            Compose([fail])(known)
    assert Compose([lambda data: data])(data) is data


def test_files_are_listed_in_the_order_of_their_names(tmp_path, monkeypatch):
    """Whatever the order of the file system: the same seed gives the same batches on another disk."""
    import mmengine.fileio.backends.local_backend as backend

    for name in ('b.png', 'a.png', 'c.png'):
        (tmp_path / name).touch()
    entries = sorted(os.scandir(tmp_path), key=lambda entry: entry.name, reverse=True)
    monkeypatch.setattr(backend.os, 'scandir', lambda path: entries)
    assert list(backend.LocalBackend().list_dir_or_file(tmp_path, list_dir=False, suffix='.png')) == [
        'a.png',
        'b.png',
        'c.png',
    ]
