"""All that ``import mmsampriors`` changes for others, and what our tools switch on besides."""

import json
import os
import subprocess
import sys
from pathlib import Path

from mmengine.visualization import vis_backend

ROOT = Path(__file__).parents[1]
#: Modules with which ``numpy``, torch, mmengine and mmcv are as complete as a training needs them.
THEIRS = (
    'numpy torch mmcv mmcv.transforms mmengine.runner mmengine.hooks mmengine.dataset mmengine.visualization cv2 PIL'
)

SNAPSHOT = """
import importlib, inspect, json, os, sys, warnings

def seen():
    found = {f'os.environ {key}': value for key, value in os.environ.items()}
    found.update({f'a finder of {finder.name}': '' for finder in sys.meta_path if hasattr(finder, 'name')})
    found['warnings.filters'] = repr(warnings.filters)
    for name, module in list(sys.modules.items()):
        if name.split('.')[0] not in 'numpy torch mmcv mmengine mmagic cv2 PIL logging huggingface_hub'.split():
            continue
        for key, value in list(vars(module).items()):
            if inspect.ismodule(value) or key.startswith('__'):
                continue
            found[f'{name}.{key}'] = content(value)
            if inspect.isclass(value) and (value.__module__, value.__name__) == (name, key):
                found.update({f'{name}.{key}.{one}': content(it) for one, it in list(vars(value).items())
                              if one not in ('__dict__', '__weakref__', '__doc__', '_abc_impl', '__annotations__')})
    return found

def content(value):
    if isinstance(value, (dict, set, frozenset, list)) and len(value) < 5000:
        return sorted(f'{key}={id(value[key])}' if isinstance(value, dict) else str(key) for key in value)
    if type(value).__name__ == 'Registry':
        return content(value.module_dict)
    return id(value)

def changed(before, after):
    return sorted(key for key in {**before, **after} if before.get(key) != after.get(key) and key in after)
"""


def changes(code):
    """What differs after each step of ``code``, which prints a list for each as JSON."""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '-1'}
    environment.pop('ORT_DISABLE_TELEMETRY', None)
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', SNAPSHOT + code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('[')]


CODE = f"""
for name in {THEIRS.split()!r}:
    importlib.import_module(name)
before = seen()
import mmsampriors
print(json.dumps(changed(before, seen())))
import mmagic.models, mmagic.engine, mmagic.datasets, mmagic.evaluation
before = seen()
mmsampriors.compat.apply_to_tools()
print(json.dumps(changed(before, seen())))
"""


#: Some of it depends on the versions that are installed: names that are missing there, and nothing else.
ADDED = {
    'a finder of controlnet_aux.mediapipe_face.mediapipe_face_common',  # what mmagic cannot be imported without
    'a finder of huggingface_hub',
    'a finder of mmagic',
    'a finder of mmcv.ops',
    'huggingface_hub.cached_download',
    'numpy.bool8',
    'mmengine.config.config.Config._merge_a_into_b',  # parts of another type in our ``spd`` alone
    'mmengine.config.utils.MODULE2PACKAGE',  # ``mmsampriors::`` bases
    'mmengine.config.utils.PKG2PROJECT',  # the same dict
    'mmengine.registry.registry.MODULE2PACKAGE',  # the same dict
    *(
        f'{module}.{name}'  # works without pkg_resources
        for module in ('mmengine.config.config', 'mmengine.utils', 'mmengine.utils.package_utils')
        for name in ('get_installed_path', 'is_installed')
    ),
    'torch._weights_only_unpickler._marked_safe_globals_set',  # ``--resume``
    'os.environ ORT_DISABLE_TELEMETRY',
}
SWITCHED_ON = {
    'mmagic.datasets.transforms.random_degradations.RandomJPEGCompression.__init__',
    'mmagic.engine.runner.multi_loops.LOOPS',
    'mmagic.models.data_preprocessors.data_preprocessor.DataPreprocessor._parse_channel_order',
    'mmagic.registry.LOOPS',
    'mmengine.dataset.base_dataset.Compose.__call__',
    'mmengine.dataset.base_dataset.list_from_file',
    'mmengine.fileio.handlers.yaml_handler.Loader',
    'mmengine.fileio.backends.local_backend.LocalBackend.list_dir_or_file',
    'mmengine.fileio.backends.local_backend.LocalBackend.put',
    'mmengine.fileio.parse.get_text',
    'mmengine.hooks.checkpoint_hook.CheckpointHook._save_best_checkpoint',
    'mmengine.hooks.checkpoint_hook.open',
    'mmengine.runner.checkpoint.CheckpointLoader._schemes',
    'mmengine.runner.checkpoint.load_from_http',
    'mmengine.runner.checkpoint.torch',
    'mmengine.visualization.vis_backend.MLflowVisBackend._init_env',
    *(
        f'mmengine.visualization.vis_backend.{name}.add_image'  # names of images that are no UTF-8
        for name, kind in vars(vis_backend).items()
        if isinstance(kind, type) and 'add_image' in vars(kind)
    ),
}


def test_all_that_changes():
    at_import, in_tools = changes(CODE)
    assert set(at_import) <= ADDED
    assert set(in_tools) == SWITCHED_ON


def test_what_others_do_stays_as_it_was(tmp_path):
    """Errors, checkpoints and links of a script that has imported the package; and its runner resumes."""
    code = """
import mmsampriors
import os, torch
from mmengine.dataset import Compose
from mmengine.fileio import LocalBackend
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader, Runner

def fail(data):
    return data['missing']

try:
    Compose([fail])(dict(img_path='a.png'))
except KeyError:
    print('a KeyError stays one')
torch.save([1, 2], 'list.pth')
print(CheckpointLoader.load_checkpoint('list.pth'))
open('real', 'w').close()
os.symlink('real', 'link')
LocalBackend().put(b'new', 'link')
print(os.path.islink('link'), open('real').read())

class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, x, mode):
        return dict(loss=self.layer(torch.stack(x)).mean())

def run(iterations, resume):
    runner = Runner(
        Toy(), 'work', resume=resume, default_scope='mmagic', experiment_name=f'toy{iterations}',
        train_dataloader=dict(batch_size=2, num_workers=0, sampler=dict(type='InfiniteSampler'),
                              dataset=[dict(x=torch.ones(2)) for _ in range(4)]),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=iterations),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2)),
        custom_hooks=[dict(type='mmsampriors.ExactResumeHook')],
    )
    runner.train()
    return runner.iter

print(run(2, False), run(4, True), sorted(os.listdir('work'))[-3:])
"""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '-1'}
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for line in ('a KeyError stays one', '[1, 2]', 'True new', "2 4 ['iter_2.pth', 'iter_4.pth', 'last_checkpoint']"):
        assert line in done.stdout.splitlines(), done.stdout
