"""The training script: a stopped run goes on as if it had not stopped."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

TOOLS = Path(__file__).resolve().parents[2] / '.dev_scripts'


@pytest.fixture
def script(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.syspath_prepend(str(TOOLS))
    spec = importlib.util.spec_from_file_location('train_sam_tiny', TOOLS / 'train_sam_tiny.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    from tiny_sam_training import pool

    monkeypatch.setattr(pool, 'SHARD', 2)
    monkeypatch.setattr(module, 'SAVE_EVERY', 0)
    return module


def _run(script, monkeypatch, folder, *more):
    arguments = (
        '--steps 4 --decay 0.5 --batch 2 --prompts 2 --workers 1 --threads 1 '
        '--shards scenes=1 painted=0 plain=0 pasted=0'
    )
    monkeypatch.setattr(sys, 'argv', ['train', '--work-dir', str(folder), '--device', 'cpu', *arguments.split(), *more])
    script.main()
    return load_file(folder / 'sam_tiny.safetensors')


def test_a_stopped_run_ends_like_one_that_was_not(script, monkeypatch, tmp_path):
    straight = _run(script, monkeypatch, tmp_path / 'straight')
    step = script.Trainer.train_step

    def stop_at_the_third(self, batch):
        if self.step == 3:
            raise KeyboardInterrupt
        return step(self, batch)

    with monkeypatch.context() as stopped:
        stopped.setattr(script.Trainer, 'train_step', stop_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            _run(script, monkeypatch, tmp_path / 'stopped')
    resumed = _run(script, monkeypatch, tmp_path / 'stopped')
    assert all(torch.equal(straight[key], resumed[key]) for key in straight)
    assert not list((tmp_path / 'stopped').rglob('*.part'))


def test_exported_weights_load_strictly(script, monkeypatch, tmp_path):
    from mmsampriors.masks.sam.tiny import build_sam_tiny

    _run(script, monkeypatch, tmp_path)
    sam = build_sam_tiny(tmp_path / 'sam_tiny.safetensors')
    assert all(p.isfinite().all() for p in sam.parameters())


@pytest.mark.parametrize('corner', [(0, 0), (8, 16)])
def test_the_batched_decoder_is_the_stock_decoder(script, monkeypatch, tmp_path, corner):
    """Of the whole image, and of a window: stock decodes the same cells of embedding and position."""
    from tiny_sam_training.pool import ScenePool, make_pool

    monkeypatch.setattr(sys, 'argv', ['train', '--work-dir', str(tmp_path), '--device', 'cpu'])
    trainer = script.Trainer(script.parse_args())
    trainer.sam.eval()
    kinds = make_pool(tmp_path, seed=0, counts=dict(scenes=1), workers=1)
    batch = ScenePool(kinds, seed=0, batch=2, prompts=3, windows=0 if corner == (0, 0) else 1)[0]
    count = batch.points.shape[1]
    batch.boxed[:], batch.corner[:] = torch.tensor([True, False]), torch.tensor(corner)
    side = batch.inside.shape[-1] // 8
    rows, columns = (slice(n, n + side) for n in corner)
    with torch.no_grad():
        embeddings = trainer.sam.image_encoder.neck(*trainer.pyramid(batch))
        logits, scores, _ = trainer._decode(embeddings, batch)
        encoder = trainer.sam.prompt_encoder
        for i, embedding in enumerate(embeddings):
            click = (batch.points[i][:, None], torch.ones(count, 1))
            prompts = dict(boxes=batch.boxes[i], points=None) if i == 0 else dict(boxes=None, points=click)
            sparse, dense = encoder(masks=None, **prompts)
            expected = trainer.sam.mask_decoder.predict_masks(
                embedding[None, :, rows, columns],
                encoder.get_dense_pe()[..., rows, columns],
                sparse,
                dense[..., rows, columns],
            )
            part = slice(count * i, count * (i + 1))
            torch.testing.assert_close(logits[part], expected[0], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(scores[part], expected[1], rtol=1e-4, atol=1e-4)


def test_laterals_start_at_unit_deviation(script):
    from mmsampriors.masks.sam.tiny_encoder import PYRAMID_CHANS, PyramidNeck

    neck = PyramidNeck(grid=16, out_chans=8, depth=1, num_heads=2)
    features = [5 * k * torch.randn(2, chans, 32 // 2**k, 32 // 2**k) for k, chans in enumerate(PYRAMID_CHANS)]
    features[0] = torch.randn(2, PYRAMID_CHANS[0], 32, 32) / 9
    script.level_laterals(neck, features)
    assert neck.lateral8(features[1]).std().item() == pytest.approx(1, abs=1e-3)
    assert neck.lateral4(features[0]).std().item() == pytest.approx(1, abs=1e-3)


def test_the_backbone_sees_what_it_sees_in_the_sam(script, monkeypatch, tmp_path):
    from mmsampriors.masks.sam.tiny import tiny_architecture
    from tiny_sam_training.pool import ScenePool, make_pool

    monkeypatch.setattr(sys, 'argv', ['train', '--work-dir', str(tmp_path), '--device', 'cpu'])
    trainer, sam = script.Trainer(script.parse_args()), tiny_architecture()
    kinds = make_pool(tmp_path, seed=4, counts=dict(scenes=1), workers=1)
    batch = ScenePool(kinds, seed=0, batch=2, prompts=1, windows=0)[0]
    found = trainer.pyramid(batch)
    for i, inside in enumerate(batch.inside):
        height, width = inside.any(1).sum(), inside.any(0).sum()
        assert (batch.pixels[i, :, ~inside] == 127).all() and height * width < inside.numel()
        with torch.no_grad():
            expected = sam.image_encoder.backbone(sam.preprocess(batch.pixels[i, :, :height, :width])[None])
        for level, wanted in zip(found, expected):
            torch.testing.assert_close(level[i, None], wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max().item())


def test_training_ends_when_its_time_is_up(script, monkeypatch, tmp_path):
    clock = iter(range(0, 10**6, 3))
    monkeypatch.setattr(script.time, 'monotonic', lambda: float(next(clock)))
    _run(script, monkeypatch, tmp_path, '--steps', '1000', '--minutes', '0.5')
    state = torch.load(tmp_path / 'last.pth', weights_only=True)
    assert 1 < state['step'] < 12 and state['seconds'] >= 30
