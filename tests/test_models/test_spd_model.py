import copy

import cv2
import pytest
import torch
import torch.distributed as dist
from mmagic.structures import DataSample
from mmcv.transforms import Compose
from mmengine.model import ExponentialMovingAverage, MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from torch import nn

import mmsampriors.models  # noqa: F401
from mmsampriors.engine.export import stock_model, student_weights
from mmsampriors.engine.pretrained import fit_to_model
from mmsampriors.masks import ImageMasks
from mmsampriors.models import DistillationBatch, Phase, Regions
from mmsampriors.models.mask_sources import MaskSource
from mmsampriors.registry import MODELS, TRANSFORMS, build_part

JOINT, REFINER, STUDENT = Phase(True, True, 1.0), Phase(False, True, 0.0), Phase(True, False, 1.0)
SIZE = (24, 32)


@MODELS.register_module(force=True)
class QuarterMasks(MaskSource):
    """Four quarters of any image; remembers what it was shown."""

    def __init__(self, stored=False):
        self.stored, self.seen = stored, []

    def segment(self, images, paths=()):
        self.seen.append((images, paths))
        return [quarters(*images.shape[-2:]) for _ in images]


@MODELS.register_module(force=True)
class HalfResolution(nn.Module):
    """A network whose first convolution halves the resolution."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 4, 2, stride=2), nn.ConvTranspose2d(4, 3, 2, stride=2)

    def forward(self, image):
        return self.up(self.down(image))


@MODELS.register_module(force=True)
class NoSkip(nn.Sequential):
    """A network that does not add its input to its output."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1))


NO_SKIP = dict(type='NoSkip')


def quarters(height, width):
    masks = torch.zeros(4, height, width, dtype=torch.bool)
    for index, mask in enumerate(masks):
        mask.unflatten(0, (2, -1)).unflatten(2, (2, -1))[index // 2, :, index % 2] = True
    return ImageMasks.from_masks(masks)


def samples_of(gt, order='RGB', masks=None):
    samples = [DataSample(gt_img=image, metainfo=dict(img_output_channel_order=order)) for image in gt]
    for sample, of_image in zip(samples, masks or ()):
        sample.set_data(dict(masks=of_image))
    return DataSample.stack(samples)


def batch_of(count=2, channels=3, size=SIZE, **kwargs):
    gt = torch.rand(count, channels, *size)
    return (gt + 0.1 * torch.randn_like(gt)), samples_of(gt, **kwargs)


def build(cfg, phase=None):
    """A model none of whose weights is zero, so that each parameter that can get a gradient does."""
    model = build_part(MODELS, cfg)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    if phase:
        model.train().enter(phase)
    return model


@pytest.fixture
def quarter_cfg(model_cfg):
    return lambda spd=None, **model: model_cfg({'masks': dict(type='QuarterMasks'), **(spd or {})}, **model)


def move(network):
    """Trains it, as far as a test cares."""
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.05 * torch.randn_like(weight))


def distillation_batch(model, restored, refined, samples, regions, labelled=None, unlabeled_weight=1.0):
    """What the losses of ``model`` compare, of which the first ``labelled`` images have a ground truth."""
    gt = samples.gt_img[:labelled]
    weights = torch.full((len(restored),), unlabeled_weight / len(gt))
    weights[: len(gt)] = 1 / len(gt)

    def extract(images):
        return model.feature_extractor(model.to_rgb(images, samples))

    return DistillationBatch(restored, refined, gt, regions, weights, unlabeled_weight, model.pixel_loss, extract)


# ------------------------------------------------------------------------------------------------ losses and gradients


def test_losses_are_those_of_the_method(quarter_cfg):
    model = build(quarter_cfg(dict(losses=dict(sgr=dict(type='SGRLoss', relative=False)))), JOINT)
    inputs, samples = batch_of()
    losses = model(inputs, samples, mode='loss')
    restored = model.generator(inputs)
    regions = Regions([quarters(*SIZE)] * 2, restored)
    refined = model.refine(restored, regions)
    batch = distillation_batch(model, restored, refined, samples, regions)
    expected = {
        'student.loss_recon': (restored - samples.gt_img).abs().mean(),
        'refiner.loss_recon': (refined - samples.gt_img).abs().mean(),
        'spd.loss_image': model.losses['spd'](batch)['loss_image'],
        **{f'sgr.{name}': loss for name, loss in model.losses['sgr'](batch).items()},
    }
    assert losses.keys() == expected.keys()
    for name, loss in losses.items():
        assert loss > 0
        torch.testing.assert_close(loss, expected[name])
    total, _ = model.parse_losses(losses)
    torch.testing.assert_close(total, sum(expected.values()))


@pytest.mark.parametrize(
    'phase, names',
    [
        (JOINT, {'student.loss_recon', 'refiner.loss_recon', 'spd.loss_image', 'sgr.loss_region', 'sgr.loss_pixel'}),
        (Phase(True, True, 0.0), {'student.loss_recon', 'refiner.loss_recon'}),
        (REFINER, {'refiner.loss_recon'}),
        (STUDENT, {'student.loss_recon', 'spd.loss_image', 'sgr.loss_region', 'sgr.loss_pixel'}),
        (Phase(True, False, 0.0), {'student.loss_recon'}),
    ],
)
def test_each_loss_reaches_its_owner_and_nothing_else(quarter_cfg, phase, names):
    model = build(quarter_cfg(), phase)
    losses = model(*batch_of(), mode='loss')
    assert losses.keys() == names
    for name, loss in losses.items():
        model.zero_grad()
        loss.backward(retain_graph=True)
        reached = {
            key for key, parameter in model.named_parameters() if parameter.grad is not None and parameter.grad.any()
        }
        owners = ('refiner.', 'spf.') if name == 'refiner.loss_recon' else ('generator.',)
        assert reached == {key for key, _ in model.named_parameters() if key.startswith(owners)}, name


def test_ramp_scales_distillation_only(quarter_cfg):
    model, batch = build(quarter_cfg(), JOINT), batch_of()
    full = model(*batch, mode='loss')
    model.enter(Phase(True, True, 0.25))
    for name, loss in model(*batch, mode='loss').items():
        torch.testing.assert_close(loss, full[name] * (0.25 if name.startswith(('spd.', 'sgr.')) else 1))


def test_gradient_norms_are_squared_and_of_each_restored_image(quarter_cfg):
    model, restored = build(quarter_cfg(), JOINT), []
    model.generator.register_forward_hook(lambda module, inputs, output: restored.append(output))
    losses = model(*batch_of(), mode='loss')
    groups = {
        name: sum(loss for key, loss in losses.items() if key.startswith(f'{name}.'))
        for name in ('student', 'spd', 'sgr')
    }
    expected = {
        name: torch.autograd.grad(loss, restored[0], retain_graph=True)[0].square().sum((1, 2, 3))
        for name, loss in groups.items()
    }
    sum(losses.values()).backward()
    assert model.gradient_norms.keys() == expected.keys()
    for name, squares in expected.items():
        torch.testing.assert_close(model.gradient_norms[name], squares)


def adapt(model):
    """What SPDScheduleHook does after a step."""
    if model.phase.student and model.phase.ramp:
        model.losses['sgr'].adapt_weight(model.gradient_norms, 'sgr', model.phase.ramp, 1.0)


def sgr_share(model, batch):
    """The norm of L_SGR's gradient at the restored images, as a share of that of the student's own loss."""
    losses = model(*batch, mode='loss')
    sum(losses.values()).backward()
    share = model.gradient_norms['sgr'].sum().sqrt() / model.gradient_norms['student'].sum().sqrt()
    adapt(model)
    return share.item()


@pytest.mark.parametrize('ramp', [0.25, 1.0])
@pytest.mark.parametrize(
    'pixel_loss', [dict(type='L1Loss'), dict(type='L1Loss', loss_weight=30.0), dict(type='PSNRLoss')]
)
def test_relations_have_their_share_of_the_gradient_norm_of_the_students_own_loss(quarter_cfg, pixel_loss, ramp):
    cfg = quarter_cfg(dict(losses=dict(sgr=dict(type='SGRLoss', loss_weight=0.3))), pixel_loss=pixel_loss)
    model, batch = build(cfg, Phase(True, True, ramp)), batch_of()
    assert sgr_share(model, batch) < 0.01  # measured, and not yet known
    assert sgr_share(model, batch) == pytest.approx(0.3 * ramp, rel=1e-3)
    assert model.state_dict()['losses.sgr.adaptive_weight.sums'].all()


def test_relations_of_a_fixed_scale_know_nothing_of_the_students_loss(quarter_cfg):
    shares = []
    for weight in (1.0, 30.0):
        cfg = quarter_cfg(
            dict(losses=dict(sgr=dict(type='SGRLoss', relative=False))),
            pixel_loss=dict(type='L1Loss', loss_weight=weight),
        )
        torch.manual_seed(0)
        model, batch = build(cfg, JOINT), batch_of()
        shares.append([sgr_share(model, batch) for _ in range(2)])
    assert shares[0][1] == pytest.approx(shares[0][0]) and shares[0][0] == pytest.approx(30 * shares[1][0], rel=1e-3)
    assert not any(name.startswith('losses.sgr') for name in model.state_dict())


@pytest.mark.parametrize('phase', [REFINER, Phase(True, True, 0.0)])
def test_a_step_without_relations_leaves_their_scale(quarter_cfg, phase):
    model, batch = build(quarter_cfg(), JOINT), batch_of()
    sgr_share(model, batch)
    before = model.losses['sgr'].adaptive_weight()
    model.enter(phase)
    sum(model(*batch, mode='loss').values()).backward()
    adapt(model)
    assert torch.equal(model.losses['sgr'].adaptive_weight(), before) and 'sgr' not in model.gradient_norms


def test_a_frozen_refiner_sees_the_images_of_the_student_that_it_was_trained_on(quarter_cfg):
    two_stages = dict(schedule=dict(type='TwoStageSchedule'))
    model, (inputs, samples) = build(quarter_cfg(two_stages)), batch_of()
    model.train().enter(Phase(True, False, 0.0))
    move(model.generator)  # a warmup
    model.enter(REFINER)
    trained_on, other_weights = model.generator(inputs).detach(), copy.deepcopy(model.generator.state_dict())
    model.enter(STUDENT)
    torch.testing.assert_close(model.refiner_input(inputs, trained_on), trained_on)
    move(model.generator)
    restored = model.generator(inputs).detach()
    assert not torch.equal(restored, trained_on)
    model.enter(JOINT)
    assert model.refiner_input(inputs, restored) is restored
    model.initial_student.load_state_dict(other_weights)
    model.enter(STUDENT)
    refined = model.refine(trained_on, Regions([quarters(*SIZE)] * 2, trained_on)).detach()
    losses = model(inputs, samples, mode='loss')
    expected = model.losses['spd'](distillation_batch(model, restored, refined, samples, None))['loss_image']
    torch.testing.assert_close(losses['spd.loss_image'].detach(), expected)
    # Whoever loads its checkpoint and goes on in the student's stage has the same teacher.
    other = build(quarter_cfg(two_stages)).train()
    other.load_state_dict(model.state_dict())
    other.enter(STUDENT)
    torch.testing.assert_close(other(inputs, samples, mode='loss'), losses)


def test_a_refiner_that_trains_along_sees_the_student_of_now(quarter_cfg):
    model, (inputs, _) = build(quarter_cfg(), JOINT), batch_of()
    restored = torch.rand(2, 3, *SIZE)
    assert model.initial_student is None and model.refiner_input(inputs, restored) is restored


def test_the_first_student_is_saved_and_neither_trained_nor_averaged(quarter_cfg):
    model = build(quarter_cfg(dict(schedule=dict(type='TwoStageSchedule'))))
    assert owned_by_parts(name for name, _ in model.named_parameters())
    weights = {name for name in model.state_dict() if name.startswith('initial_student.')}
    assert weights == {f'initial_student.{name}' for name in model.generator.state_dict()}
    average = ExponentialMovingAverage(model, momentum=0.5)
    model.train().enter(REFINER)
    move(model.generator)
    model.enter(REFINER)
    average.update_parameters(model)
    for name, weight in model.generator.state_dict().items():
        assert torch.equal(average.module.initial_student.state_dict()[name], weight)
    assert set(student_weights(model.state_dict())) == {
        name for name in model.state_dict() if name.startswith('generator.')
    }


def test_without_relations_there_is_neither_feature_extractor_nor_their_loss(quarter_cfg):
    model = build(quarter_cfg(dict(losses=dict(sgr=None), feature_extractor=None)), JOINT)
    assert model.feature_extractor is None
    assert model(*batch_of(), mode='loss').keys() == {'student.loss_recon', 'refiner.loss_recon', 'spd.loss_image'}


def test_no_masks_leave_self_distillation(model_cfg):
    model = build(model_cfg(dict(masks=dict(type='NoMasks'))), JOINT)
    losses = model(*batch_of(), mode='loss')
    assert losses['spd.loss_image'] > 0 and losses['sgr.loss_region'] == losses['sgr.loss_pixel'] == 0
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize('inject', ['image', 'feature'])
def test_half_precision_gives_finite_losses_and_gradients(quarter_cfg, inject):
    model = build(quarter_cfg(dict(spf=dict(type='SPFUnit', channels=4, inject=inject))), JOINT)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = model(*batch_of(), mode='loss')
    sum(losses.values()).backward()
    assert len(losses) == 5 and all(loss.isfinite() for loss in losses.values())
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_half_precision_keeps_the_direction_of_the_gradients(quarter_cfg):
    model, batch, gradients = build(quarter_cfg(), JOINT), batch_of(), []
    for half in (False, True):
        model.zero_grad()
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=half):
            losses = model(*batch, mode='loss')
        sum(losses.values()).backward()
        gradients.append(
            {
                name: [p.grad.flatten() for p in getattr(model, name).parameters()]
                for name in ('generator', 'refiner', 'spf')
            }
        )
    for name, exact in gradients[0].items():
        half = torch.cat(gradients[1][name])
        assert nn.functional.cosine_similarity(torch.cat(exact), half, dim=0) > 0.99, name
        assert not torch.equal(torch.cat(exact), half)


def test_relations_are_compared_in_single_precision(quarter_cfg):
    """The student's and the refiner's image differ by less than half precision resolves in semantic features."""
    model, (images, samples) = build(quarter_cfg(), JOINT), batch_of()
    exact = model._extract(images, samples)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        half = model._extract(images, samples)
    assert half.dtype == torch.float32 and torch.equal(half, exact)


def test_segmenter_and_losses_are_shown_single_precision(quarter_cfg):
    """A network without a skip connection from its input ends in half precision, and SAM has a precision of its own."""
    seen = []

    class Source(QuarterMasks):
        def segment(self, images, paths=()):
            seen.append((images.dtype, (images @ images.transpose(2, 3)).dtype))
            return super().segment(images, paths)

    model = build(quarter_cfg(dict(refiner=NO_SKIP), generator=NO_SKIP), JOINT)
    model.mask_source = Source()
    model.pixel_loss.register_forward_pre_hook(lambda loss, inputs: seen.append((inputs[0].dtype,)))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert model.generator(batch_of()[0]).dtype == torch.bfloat16
        model(*batch_of(), mode='loss')
    assert set(seen) == {(torch.float32,), (torch.float32, torch.float32)}


def test_losses_do_not_depend_on_how_a_batch_is_split(quarter_cfg):
    model = build(quarter_cfg(), JOINT)
    inputs, samples = batch_of(4)
    whole = model(inputs, samples, mode='loss')
    halves = [model(inputs[part], samples_of(samples.gt_img[part]), mode='loss') for part in (slice(0, 2), slice(2, 4))]
    for name, loss in whole.items():
        torch.testing.assert_close(loss, (halves[0][name] + halves[1][name]) / 2)


# -------------------------------------------------------------------------------------------------------------- phases


@pytest.mark.parametrize('phase', [JOINT, REFINER, STUDENT])
def test_what_is_frozen_stays_in_eval_mode_and_gets_no_gradient(quarter_cfg, phase):
    model = build(quarter_cfg(), phase)
    parts = ((model.generator, phase.student), (model.refiner, phase.refiner), (model.spf, phase.refiner))
    for part, trains in parts:
        assert all(parameter.requires_grad == trains for parameter in part.parameters())
        assert all(module.training == trains for module in part.modules())
    model.eval()
    assert not any(module.training for module in model.modules())
    model.train()
    assert all(module.training == trains for part, trains in parts for module in part.modules())


def test_a_phase_can_be_left(quarter_cfg):
    model = build(quarter_cfg(), REFINER)
    model.enter(JOINT)
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_frozen_stages_need_no_graph_of_the_frozen_network(quarter_cfg):
    for phase, frozen in ((REFINER, 'generator'), (STUDENT, 'refiner')):
        model, outputs = build(quarter_cfg(), phase), []
        getattr(model, frozen).register_forward_hook(lambda module, inputs, output: outputs.append(output))
        model(*batch_of(), mode='loss')
        assert len(outputs) == 1 and not outputs[0].requires_grad


def test_training_without_the_hook_is_refused(quarter_cfg):
    with pytest.raises(RuntimeError, match='SPDScheduleHook is missing'):
        build(quarter_cfg())(*batch_of(), mode='loss')


# -------------------------------------------------------------------------- tools of training are no part of the model


@pytest.fixture
def process_group():
    dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def owned_by_parts(names):
    owners = ('generator.', 'refiner.', 'spf.', 'losses.')
    return all(name.removeprefix('module.').startswith(owners) for name in names)


def test_segmenter_and_feature_extractor_are_in_nothing_that_the_model_owns(model_cfg):
    model = build(model_cfg(), JOINT)
    before = set(model.state_dict())
    model(*batch_of(), mode='loss')
    assert isinstance(model.feature_extractor.build('cpu'), nn.Module)
    assert set(model.state_dict()) == before and owned_by_parts(before)
    assert owned_by_parts(
        name for name, _ in [*model.named_parameters(), *model.named_buffers()] if 'data_pre' not in name
    )
    twin = copy.deepcopy(model)
    assert twin.feature_extractor is model.feature_extractor and twin.mask_source is model.mask_source
    assert twin.generator is not model.generator
    average = ExponentialMovingAverage(model)
    assert owned_by_parts(name for name in average.state_dict() if name != 'steps')
    assert not any(parameter.requires_grad for parameter in model.feature_extractor.build('cpu').parameters())
    assert not any(module.training for module in model.feature_extractor.build('cpu').modules())


def test_is_built_on_first_use(quarter_cfg):
    model = build(quarter_cfg(dict(feature_extractor=dict(type='VGGExtractor', weights='/no/such/file'))), JOINT)
    with pytest.raises(FileNotFoundError, match='/no/such/file'):
        model.prepare('cpu')


def test_ddp_wraps_the_stage_at_hand_and_trains_it_alone(model_cfg, process_group):
    model = build(model_cfg())
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    for phase, trained in ((REFINER, ('refiner.', 'spf.')), (STUDENT, ('generator.',)), (JOINT, ('',))):
        model.train().enter(phase)
        wrapper = MMDistributedDataParallel(model, device_ids=None)
        assert owned_by_parts(wrapper.state_dict())
        before = copy.deepcopy(model.state_dict())
        inputs, samples = batch_of()
        data = dict(
            inputs=list(inputs * 255),
            data_samples=[
                DataSample(gt_img=gt * 255, metainfo=dict(img_channel_order='rgb', gt_channel_order='rgb'))
                for gt in samples.gt_img
            ],
        )
        wrapper.train_step(data, optimizer)
        changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
        assert changed == {name for name, _ in model.named_parameters() if name.startswith(trained)}


# -------------------------------------------------------------------------------------- the student is the stock model

SWINIR = dict(
    type='SwinIRNet',
    upscale=1,
    img_size=16,
    window_size=8,
    depths=[1],
    embed_dim=8,
    num_heads=[2],
    mlp_ratio=1,
    upsampler='',
)


@pytest.mark.parametrize('others', [{}, dict(generator=SWINIR), dict(init_cfg=dict(type='Xavier', layer='Conv2d'))])
def test_same_seed_gives_the_students_weights_of_the_stock_model(quarter_cfg, others):
    states = []
    for cfg in (stock_model(quarter_cfg(**others)), quarter_cfg(**others)):
        torch.manual_seed(3)
        model = build_part(MODELS, cfg)
        model.init_weights()
        states.append((model.generator.state_dict(), torch.get_rng_state()))
    assert all(torch.equal(value, states[1][0][name]) for name, value in states[0][0].items())
    if 'init_cfg' not in others:
        assert torch.equal(states[0][1], states[1][1])


def loaded(path, color_type='color', channel_order='rgb', gt=True):
    """One sample of a file, through mmagic's pipeline."""
    steps = [
        dict(type='LoadImageFromFile', key=key, color_type=color_type, channel_order=channel_order)
        for key in ('img', 'gt')[: 1 + gt]
    ]
    pipeline = Compose([TRANSFORMS.build(step) for step in (*steps, dict(type='PackInputs'))])
    return pipeline(dict(img_path=str(path), gt_path=str(path)))


def collated(*samples):
    return dict(
        inputs=[sample['inputs'] for sample in samples], data_samples=[sample['data_samples'] for sample in samples]
    )


@pytest.fixture(scope='module')
def png(tmp_path_factory):
    """A file of 40 by 44 pixels and its content, RGB."""
    path = tmp_path_factory.mktemp('image') / 'image.png'
    rgb = torch.randint(0, 256, (40, 44, 3), generator=torch.Generator().manual_seed(0)).byte().numpy()
    assert cv2.imwrite(str(path), rgb[..., ::-1])
    return path, rgb


def test_prediction_is_the_stock_models_bit_by_bit(model_cfg, png):
    model = build(model_cfg(), JOINT)
    stock = build_part(MODELS, stock_model(model_cfg()))
    stock.load_state_dict(student_weights(model.state_dict()), strict=True)
    ours, theirs = (network.eval().val_step(collated(loaded(png[0]), loaded(png[0]))) for network in (model, stock))
    for one, other in zip(ours, theirs):
        assert torch.equal(one.output.pred_img, other.output.pred_img)
        assert one.all_keys() == other.all_keys()
    assert ours[0].output.pred_img.shape == (3, 40, 44)


@torch.no_grad()
def test_refined_image_can_be_predicted_too(model_cfg, png):
    model = build(model_cfg(test_cfg=dict(refined=True))).eval()
    predicted = model.val_step(collated(loaded(png[0])))[0].output.pred_img
    data = model.data_preprocessor(collated(loaded(png[0])), False)
    restored = model.generator(data['inputs'])
    masks = model.mask_source.segment(model.to_rgb(restored, data['data_samples']).clamp(0, 1))
    refined = model.data_preprocessor.destruct(model.refine(restored, Regions(masks, restored)), data['data_samples'])
    assert torch.equal(predicted, refined[0])
    model.test_cfg = dict()
    assert not torch.equal(predicted, model.val_step(collated(loaded(png[0])))[0].output.pred_img)


@torch.no_grad()
def test_stored_masks_fit_an_image_that_the_preprocessor_pads(quarter_cfg, png):
    preprocessor = dict(type='DataPreprocessor', mean=[0.0] * 3, std=[255.0] * 3, pad_size_divisor=16)
    model = build(quarter_cfg(test_cfg=dict(refined=True), data_preprocessor=preprocessor)).eval()
    sample = loaded(png[0])
    sample['data_samples'].set_data(dict(masks=quarters(40, 44)))
    predicted = model.val_step(collated(sample))[0].output.pred_img
    assert predicted.shape == (3, 40, 44) and not model.mask_source.seen
    padded = model.data_preprocessor(collated(sample), False)['inputs']
    restored = model.generator(padded)
    masks = ImageMasks.from_masks(nn.functional.pad(quarters(40, 44).bitmaps, (0, 4, 0, 8)))
    refined = model.refine(restored, Regions([masks], restored))[0, :, :40, :44]
    torch.testing.assert_close(predicted, (refined.flip(0) * 255).clamp(0, 255), rtol=1e-5, atol=1e-3)


# ---------------------------------------------------------------------------- what segmenter and extractor are shown


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize(
    'mean, std', [([0.0] * 3, [255.0] * 3), ([10.0, 120.0, 200.0], [50.0, 60.0, 70.0]), (127.5, 127.5)]
)
@pytest.mark.parametrize('target', [None, 'RGB', 'BGR'])
@pytest.mark.parametrize('order', ['rgb', 'bgr'])
def test_to_rgb_undoes_what_pipeline_and_preprocessor_did(quarter_cfg, png, order, target, mean, std, training):
    preprocessor = dict(type='DataPreprocessor', mean=mean, std=std, output_channel_order=target)
    model = build_part(MODELS, quarter_cfg(data_preprocessor=preprocessor))
    data = model.data_preprocessor(collated(*[loaded(png[0], channel_order=order)] * 2), training)
    rgb = model.to_rgb(data['inputs'], data['data_samples'])
    expected = torch.from_numpy(png[1]).permute(2, 0, 1) / 255
    assert rgb.shape == (2, 3, 40, 44)
    for image in rgb:
        torch.testing.assert_close(image, expected, atol=1e-5, rtol=0)


GRAY = dict(
    generator=dict(type='NAFNet', img_channels=1, mid_channels=4, enc_blk_nums=[1], middle_blk_num=1, dec_blk_nums=[1])
)


@pytest.mark.parametrize('target', [None, 'RGB'])
def test_gray_images_are_shown_as_gray_in_three_channels(quarter_cfg, png, target):
    preprocessor = dict(type='DataPreprocessor', mean=[100.0], std=[50.0], output_channel_order=target)
    model = build(quarter_cfg(data_preprocessor=preprocessor, **GRAY), JOINT)
    data = model.data_preprocessor(collated(loaded(png[0], color_type='grayscale')), True)
    rgb = model.to_rgb(data['inputs'], data['data_samples'])
    gray = torch.from_numpy(cv2.imread(str(png[0]), cv2.IMREAD_GRAYSCALE)) / 255
    for channel in rgb[0]:
        torch.testing.assert_close(channel, gray, atol=1e-5, rtol=0)
    assert len(model(**data, mode='loss')) == 5


def test_images_that_are_not_normalized_are_taken_as_0_to_255(quarter_cfg, png):
    preprocessor = dict(type='DataPreprocessor', mean=None, std=None, data_keys=None)
    model = build_part(MODELS, quarter_cfg(data_preprocessor=preprocessor))
    data = model.data_preprocessor(collated(loaded(png[0], gt=False)), False)
    rgb = model.to_rgb(data['inputs'].float(), data['data_samples'])
    torch.testing.assert_close(rgb[0], torch.from_numpy(png[1]).permute(2, 0, 1) / 255)


def test_images_of_unknown_channel_order_are_refused(quarter_cfg):
    samples = DataSample.stack([DataSample(gt_img=torch.rand(3, 4, 4))])
    with pytest.raises(KeyError, match='img_channel_order'):
        build_part(MODELS, quarter_cfg()).to_rgb(torch.rand(1, 3, 4, 4), samples)


@pytest.mark.parametrize('order', ['RGB', 'BGR'])
def test_online_masks_are_those_of_the_restored_image_in_rgb(quarter_cfg, order):
    model = build(quarter_cfg(), JOINT)
    inputs, samples = batch_of(order=order)
    model(inputs, samples, mode='loss')
    ((images, _),) = model.mask_source.seen
    restored = model.generator(inputs).detach().clamp(0, 1)
    torch.testing.assert_close(images, restored if order == 'RGB' else restored.flip(1))
    assert not images.requires_grad


def test_masks_that_come_with_the_samples_are_used(quarter_cfg):
    model = build(quarter_cfg(dict(masks=dict(type='QuarterMasks', stored=True))), JOINT)
    inputs, samples = batch_of()
    masks = [quarters(*SIZE), ImageMasks.empty(*SIZE)]
    losses = model(inputs, samples_of(samples.gt_img, masks=masks), mode='loss')
    assert not model.mask_source.seen
    restored = model.generator(inputs)
    refined = model.refine(restored, Regions(masks, restored))
    torch.testing.assert_close(losses['refiner.loss_recon'], (refined - samples.gt_img).abs().mean())


def test_stored_masks_that_do_not_come_are_missed_in_training_only(quarter_cfg):
    model = build(quarter_cfg(dict(masks=dict(type='QuarterMasks', stored=True)), test_cfg=dict(refined=True)), JOINT)
    batch = batch_of()
    with pytest.raises(RuntimeError, match='QuarterMasks keeps masks on disk, but the samples carry none'):
        model(*batch, mode='loss')
    model.eval()(*batch, mode='tensor')
    assert len(model.mask_source.seen) == 1


def test_masks_larger_than_the_image_are_refused(quarter_cfg):
    model = build(quarter_cfg(), JOINT)
    inputs, samples = batch_of()
    with pytest.raises(ValueError, match='a transform of the pipeline moved the image and not its masks'):
        model(inputs, samples_of(samples.gt_img, masks=[quarters(64, 64)] * 2), mode='loss')


# ---------------------------------------------------------------------------------------------------- parts and errors


def test_refiner_is_the_students_architecture_with_weights_of_its_own(quarter_cfg):
    model = build_part(MODELS, quarter_cfg())
    assert type(model.refiner) is type(model.generator)
    assert not torch.equal(model.refiner.intro.weight, model.generator.intro.weight)


def test_refiner_may_be_another_network(quarter_cfg):
    model = build(quarter_cfg(dict(refiner=SWINIR)), JOINT)
    assert model.spf.entry == 'conv_first' and len(model(*batch_of(), mode='loss')) == 5


def test_a_network_that_starts_at_half_resolution_takes_spf_on_the_image_only(quarter_cfg):
    half = dict(type='HalfResolution')
    image = dict(type='SPFUnit', channels=4, inject='image')
    assert len(build(quarter_cfg(dict(spf=image), generator=half), JOINT)(*batch_of(), mode='loss')) == 5
    assert len(build(quarter_cfg(generator=half, spd=dict(refiner=SWINIR)), JOINT)(*batch_of(), mode='loss')) == 5
    with pytest.raises(ValueError, match="spd.spf.inject='image'"):
        build_part(MODELS, quarter_cfg(generator=half))


@pytest.mark.parametrize(
    'spd, model, message',
    [
        (dict(mask=1), {}, r"unknown keys \['mask'\]"),
        (dict(masks=None), {}, "masks=dict\\(type='NoMasks'\\)"),
        (
            dict(losses=dict(spd=dict(type='SPDLoss', loss_weight=0), sgr=dict(type='SGRLoss', loss_weight=0))),
            {},
            'no loss whose',
        ),
        (dict(refiner=GRAY['generator']), {}, 'images of 3 channels and spd.refiner takes 1'),
        (dict(spf=dict(type='SPFUnit', entry='outro')), {}, "spd.spf.entry='outro' is no submodule of NAFNet.*intro"),
    ],
)
def test_what_cannot_work_is_refused_when_the_model_is_built(quarter_cfg, spd, model, message):
    with pytest.raises(ValueError, match=message):
        build_part(MODELS, quarter_cfg(spd, **model))


# ------------------------------------------------------------------------------------------ images without ground truth


def unlabeled_batch(order='RGB'):
    """Two images with a ground truth and one without."""
    inputs, samples = batch_of(3, order=order)
    samples.set_metainfo(dict(labelled=[True, True, False]))
    return inputs, samples


def test_images_without_ground_truth_are_distilled_and_not_compared(quarter_cfg):
    model = build(quarter_cfg(), JOINT)
    model.unlabeled_weight = 0.25
    inputs, samples = unlabeled_batch()
    losses = model(inputs, samples, mode='loss')
    gt, restored = samples.gt_img[:2], model.generator(inputs)
    regions = Regions([quarters(*SIZE)] * 3, restored)
    refined = model.refine(restored, regions)
    torch.testing.assert_close(losses['student.loss_recon'], (restored[:2] - gt).abs().mean())
    torch.testing.assert_close(losses['refiner.loss_recon'], (refined[:2] - gt).abs().mean())
    batch = distillation_batch(model, restored, refined, samples, regions, 2, 0.25)
    for name, loss in model.losses.items():
        loss.reset_measured()
        for key, value in loss(batch).items():
            torch.testing.assert_close(losses[f'{name}.{key}'], value)


def test_the_placeholder_of_a_ground_truth_is_never_seen(quarter_cfg):
    model = build(quarter_cfg(), JOINT)
    inputs, samples = unlabeled_batch()
    losses = model(inputs, samples, mode='loss')
    samples.gt_img[2] = torch.rand(3, *SIZE)
    model.losses['spd'].reset_measured()
    torch.testing.assert_close(model(inputs, samples, mode='loss'), losses)


@pytest.mark.parametrize('schedule, phase', [('JointSchedule', JOINT), ('TwoStageSchedule', STUDENT)])
def test_images_without_ground_truth_are_restored_several_times(quarter_cfg, schedule, phase):
    model = build(quarter_cfg(dict(losses=dict(sgr=None), schedule=dict(type=schedule))))
    if schedule == 'TwoStageSchedule':
        model.train().enter(REFINER)  # from which it keeps the initial student
        first = copy.deepcopy(model.generator)
        move(model.generator)
    model.train().enter(phase)
    model.unlabeled_cascade = 3
    inputs, samples = unlabeled_batch()
    losses = model(inputs, samples, mode='loss')
    student = first if schedule == 'TwoStageSchedule' else model.generator
    seen = student(inputs)
    again = student(student(seen[2:]))
    seen = torch.cat([seen[:2], again])
    refined = model.refine(seen, Regions([quarters(*SIZE)] * 3, seen))
    batch = distillation_batch(model, model.generator(inputs), refined, samples, None, 2)
    model.losses['spd'].reset_measured()
    expected = model.losses['spd'](batch)['loss_image']
    torch.testing.assert_close(losses['spd.loss_image'], expected)


def test_restoring_several_times_leaves_the_statistics_of_the_student(quarter_cfg):
    model = build(quarter_cfg(dict(schedule=dict(type='JointSchedule'))), JOINT)
    model.generator = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3).eval())
    model.unlabeled_cascade = 3
    images = torch.rand(2, 3, *SIZE)
    model.refiner_input(images, images, labelled=1)
    assert [int(norm.num_batches_tracked) for norm in model.generator] == [0, 0]
    assert [norm.training for norm in model.generator] == [True, False]


@pytest.mark.parametrize('labelled', [[False, True], [False, False]])
def test_images_with_ground_truth_come_first(quarter_cfg, labelled):
    model, (inputs, samples) = build(quarter_cfg(), JOINT), batch_of()
    samples.set_metainfo(dict(labelled=labelled))
    with pytest.raises(ValueError, match='must come first'):
        model(inputs, samples, mode='loss')


# ----------------------------------------------------------------------------------------------------- a better teacher


def test_the_refiner_starts_from_a_checkpoint_and_keeps_it(quarter_cfg, tmp_path):
    published = build(quarter_cfg()).generator.state_dict()
    file = tmp_path / 'published.pth'
    torch.save(dict(state_dict={f'generator.{name}': value for name, value in published.items()}), file)
    model = build(quarter_cfg(dict(refiner_from=str(file))))
    model.init_weights()
    model.start_refiner()
    student = {f'generator.{name}': value for name, value in model.generator.state_dict().items()}
    fit_to_model(student, model)
    model.load_state_dict(student['state_dict'])
    for name, value in model.refiner.state_dict().items():
        torch.testing.assert_close(value, published[name])


def test_a_checkpoint_of_another_network_is_refused(quarter_cfg, tmp_path):
    file = tmp_path / 'other.pth'
    torch.save({'generator.weight': torch.rand(3)}, file)
    with pytest.raises(ValueError, match='model.spd.refiner_from.*does not fit the refiner'):
        build(quarter_cfg(dict(refiner_from=str(file)))).init_weights()
