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
    monkeypatch.setattr(module, 'SAVE_EVERY', 2)
    return module


def _run(script, monkeypatch, folder):
    arguments = (
        '--steps 4 --decay-steps 2 --small-steps 3 --batch 1 --prompts 2 --shards 1 --painted-shards 1 '
        '--workers 1 --threads 1'
    )
    monkeypatch.setattr(sys, 'argv', ['train', '--work-dir', str(folder), '--device', 'cpu', *arguments.split()])
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
    assert not list((tmp_path / 'stopped').rglob('*.tmp'))


def test_exported_weights_load_strictly(script, monkeypatch, tmp_path):
    from mmsampriors.masks.sam.tiny import build_sam_tiny

    _run(script, monkeypatch, tmp_path)
    sam = build_sam_tiny(tmp_path / 'sam_tiny.safetensors')
    assert all(p.isfinite().all() for p in sam.parameters())


def test_the_batched_decoder_is_the_stock_decoder(script, monkeypatch, tmp_path):
    from tiny_sam_training.pool import ScenePool, make_pool

    monkeypatch.setattr(sys, 'argv', ['train', '--work-dir', str(tmp_path), '--device', 'cpu'])
    trainer = script.Trainer(script.parse_args())
    trainer.sam.eval()
    kinds = make_pool(tmp_path, seed=0, shards=1, painted=1, workers=1)
    batch = ScenePool(kinds, seed=0, batch=3, prompts=4, small_steps=0)[0]
    batch.points[0, 0, 0] = 8  # this image is prompted with boxes
    batch.points[1:, 0, 0] = 9
    with torch.no_grad():
        embeddings = trainer.sam.image_encoder(batch.images / 255)
        logits, scores, _ = trainer._decode(embeddings, batch)
        encoder = trainer.sam.prompt_encoder
        for i, embedding in enumerate(embeddings):
            click = (batch.points[i][:, None], torch.ones(4, 1))
            prompts = (
                encoder(points=None, boxes=batch.boxes[i], masks=None)
                if i == 0
                else encoder(points=click, boxes=None, masks=None)
            )
            expected = trainer.sam.mask_decoder.predict_masks(embedding[None], encoder.get_dense_pe(), *prompts)
            torch.testing.assert_close(logits[4 * i : 4 * i + 4], expected[0], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(scores[4 * i : 4 * i + 4], expected[1], rtol=1e-4, atol=1e-4)
