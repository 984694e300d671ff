"""Files of transformers' SamModel: strictly loaded, with the same outputs."""

import pytest
import torch
from transformers import SamConfig, SamModel

from mmsampriors.masks import META_AUTOMATIC, build_sam, checkpoint_id
from mmsampriors.masks.sam.builders import load_weights
from mmsampriors.masks.sam.hugging_face import meta_names, sam_of_shapes


@pytest.fixture(scope='module')
def theirs():
    """Its image encoder is narrow, as a pruned one is; all else has its usual size."""
    vision = dict(hidden_size=24, mlp_dim=40, num_hidden_layers=3, num_attention_heads=3, image_size=64, patch_size=8)
    vision |= dict(window_size=3, global_attn_indexes=[1], output_channels=256)
    prompts = dict(image_size=64, patch_size=8, image_embedding_size=8)
    # transformers says 1e-6, and segment_anything, whose weights they are, 1e-5.
    decoder = dict(layer_norm_eps=1e-5)
    torch.manual_seed(0)
    model = SamModel(SamConfig(vision, prompts, decoder)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope='module')
def folder(theirs, tmp_path_factory):
    folder = tmp_path_factory.mktemp('sam')
    theirs.save_pretrained(folder)
    return folder


@torch.no_grad()
def test_a_folder_and_its_file_give_the_same_outputs(theirs, folder):
    image, points = torch.randn(1, 3, 64, 64), torch.tensor([[[20.0, 30.0]], [[50.0, 9.0]]])
    expected = theirs(pixel_values=image, input_points=points[None], input_labels=torch.ones(1, 2, 1, dtype=torch.long))
    for checkpoint in (folder, folder / 'model.safetensors'):
        sam = build_sam('hf', str(checkpoint))
        embedding = sam.image_encoder(image)
        torch.testing.assert_close(embedding, theirs.get_image_embeddings(image), atol=1e-6, rtol=1e-6)
        prompts = sam.prompt_encoder(points=(points, torch.ones(2, 1)), boxes=None, masks=None)
        masks, scores = sam.mask_decoder(embedding, sam.prompt_encoder.get_dense_pe(), *prompts, multimask_output=True)
        torch.testing.assert_close(masks, expected.pred_masks[0], atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(scores, expected.iou_scores[0], atol=1e-6, rtol=1e-6)
    assert sam.automatic == META_AUTOMATIC


def test_a_named_sam_takes_the_same_file(theirs, folder):
    sam = sam_of_shapes(meta_names(theirs.state_dict()))
    found = load_weights(sam, str(folder), 'small').state_dict()
    expected = meta_names(theirs.state_dict())
    assert found.keys() == expected.keys() and all(found[name].equal(expected[name]) for name in expected)
    assert checkpoint_id('hf', str(folder)) == checkpoint_id('hf', str(folder / 'model.safetensors'))


@pytest.mark.parametrize(
    'model_type, change, message',
    [
        ('vit_b', lambda state: state, 'does not fit vit_b: .* another shape, the first is'),
        ('hf', lambda state: state.pop('mask_decoder.iou_token.weight'), "does not fit hf: .*'mask_decoder.iou_token"),
        ('hf', lambda state: state.pop('vision_encoder.pos_embed'), "holds no SamModel .* it has no 'pos_embed'"),
    ],
)
def test_files_that_do_not_fit_are_refused(theirs, tmp_path, model_type, change, message):
    state = theirs.state_dict()
    change(state)
    torch.save(state, tmp_path / 'pytorch_model.bin')
    with pytest.raises(ValueError, match=message):
        build_sam(model_type, str(tmp_path))


def test_no_weights_are_named(tmp_path):
    for ask in (build_sam, checkpoint_id):  # the second before any work
        with pytest.raises(ValueError, match='the SAM hf comes with no weights'):
            ask('hf')
    with pytest.raises(FileNotFoundError, match='no SAM checkpoint at'):
        build_sam('hf', str(tmp_path))
