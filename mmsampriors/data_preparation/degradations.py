"""Synthetic rain, noise (Gaussian, or of a camera) and blur, as pure functions on float images.

Every function takes an image (H, W, 3) of float in [0, 1], in the intensities that the file holds (gamma-encoded, as
deraining, denoising and deblurring publications take them), and a ``numpy.random.Generator``; it returns float32 of
the same shape in [0, 1]. The result is a function of the image, the generator's state and the settings alone.
"""

import math
from dataclasses import dataclass, field, fields

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d


def setting(default, low: float, high: float, description: str, by_stops: bool = False):
    """Declares one setting of a :class:`Settings` table, with its limits (inclusive) and what it means.

    Args:
        default (float | tuple): A number or a pair (lowest, highest).
        low (float): The lowest value that is allowed.
        high (float): The highest value that is allowed.
        description (str): What it means, for the help of the command line.
        by_stops (bool): A range is drawn from uniformly on the logarithm: each doubling is equally likely.
    """
    return field(default=default, metadata=dict(low=low, high=high, description=description, by_stops=by_stops))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A table of settings; the subclasses name them. Each is a number or a pair (lowest, highest).

    Raises:
        ValueError: A value is no number and no pair, is outside its limits, or a pair runs backwards.
    """

    #: Photographs are cropped at the right and bottom so that their sides are multiples of it.
    multiple = 1

    def __post_init__(self):
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None:
                _check(item, value)

    def draw(self, rng) -> dict[str, float | None]:
        """Draws each setting from its range, in the order of the table; what is None stays None."""
        # A fixed value also consumes a draw, so that fixing one setting leaves those after it as they were.
        return {item.name: _draw(rng, getattr(self, item.name), item.metadata['by_stops']) for item in fields(self)}


def _draw(rng, value, by_stops):
    position = rng.random()
    if value is None:
        return None
    low, high = _ends(value)
    if by_stops:
        return low * (high / low) ** position
    return low + position * (high - low)


def _ends(value) -> tuple[float, float]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def _check(item, value):
    ends = _ends(value)
    numbers = len(ends) == 2 and all(isinstance(end, (int, float)) and math.isfinite(end) for end in ends)
    if not numbers or ends[0] > ends[1]:
        raise ValueError(f'{item.name} takes a number, or a pair (lowest, highest); found {value!r}')
    low, high = item.metadata['low'], item.metadata['high']
    if ends[0] < low or ends[1] > high:
        raise ValueError(f'{item.name} must lie within {low:g} and {high:g}; found {value!r}')


# Drops at several depths: the near ones are longer, wider and fewer. Factors on length and width. [ours]
DEPTHS = (0.5, 0.75, 1.0, 1.3, 1.7)
# Wind is not the same everywhere: standard deviation of a depth's direction from the image's, in degrees. [ours]
ANGLE_SPREAD = 2.5
AIRLIGHT = 0.85
SIGMA_OF_FWHM = 1 / 2.3548


@dataclass(frozen=True, kw_only=True)
class RainSettings(Settings):
    angle: tuple = setting(
        (-35.0, 35.0), -90, 90, 'direction of fall, in degrees from the vertical (positive: to the right)'
    )
    length: tuple = setting((15.0, 40.0), 2, 500, 'length of a streak at middle depth, in pixels')
    width: tuple = setting((1.0, 2.2), 0.5, 50, 'full width of a streak at half its brightness, in pixels')
    density: tuple = setting((0.05, 0.25), 0, 2, 'area of all streaks, as a share of the image (overlaps count twice)')
    brightness: tuple = setting((0.4, 0.8), 0, 1, 'opacity of the brightest streaks')
    veiling: tuple = setting((0.0, 0.2), 0, 1, 'share of the light that far rain replaces by a grey veil')


def add_rain(image: np.ndarray, rng: np.random.Generator, **settings) -> np.ndarray:
    """Adds rain streaks and a veil: ``O = (1 - v) (B + S (1 - B)) + v A``.

    S are the streaks, blended as a screen (as where Rain800 and Rain1200 were made in an image editor: noise, motion
    blur, screen), in several layers with their own direction, under a veil of transmission 1 - v and airlight A (the
    heavy rain model of Yang et al., "Deep Joint Rain Detection and Removal from a Single Image", CVPR 2017). Depths,
    soft streak profile and default ranges are [ours].

    Args:
        image (np.ndarray): (H, W, 3) float in [0, 1].
        rng (np.random.Generator): Source of all randomness.
        **settings: Those of :class:`RainSettings`; each a number or a pair (lowest, highest).

    Returns:
        np.ndarray: (H, W, 3) float32 in [0, 1].
    """
    drawn = RainSettings(**settings).draw(rng)
    veiling = drawn.pop('veiling')
    streaks = draw_streaks(image.shape[:2], rng, **drawn)[..., None]
    image = image.astype(np.float32)
    return (1 - veiling) * (image + streaks * (1 - image)) + np.float32(veiling * AIRLIGHT)


def draw_streaks(size, rng, *, angle: float, length: float, width: float, density: float, brightness: float):
    """Draws rain streaks of all depths as a map of opacity, (H, W) float32 in [0, ``brightness``]."""
    clear = np.ones(size, np.float32)
    for depth in DEPTHS:
        kernel = streak_kernel(angle + rng.normal(0, ANGLE_SPREAD), length * depth, width * depth)
        drops = _scatter_drops(size, rng, kernel, density / len(DEPTHS) / (length * width * depth**2))
        clear *= 1 - np.minimum(drops * np.float32(brightness), 1)
    return np.minimum(1 - clear, np.float32(brightness))


def _scatter_drops(size, rng, kernel, drops_per_pixel):
    reach_y, reach_x = kernel.shape[0] // 2, kernel.shape[1] // 2
    # Drops start beyond the border too, so that streaks enter and leave the image as they cross it.
    height, width = size[0] + 2 * reach_y, size[1] + 2 * reach_x
    count = rng.poisson(drops_per_pixel * height * width)
    seeds = np.zeros((height, width), np.float32)
    places = rng.integers(height * width, size=count)
    np.add.at(seeds.reshape(-1), places, rng.uniform(0.25, 1, count).astype(np.float32))
    drops = cv2.filter2D(seeds, cv2.CV_32F, kernel, borderType=cv2.BORDER_CONSTANT)
    return np.clip(drops[reach_y : reach_y + size[0], reach_x : reach_x + size[1]], 0, 1)


def streak_kernel(angle: float, length: float, width: float) -> np.ndarray:
    """Makes one streak of peak 1: Gaussian across, faded at both ends along; odd sides, float32."""
    direction = np.array([np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))])
    # A pixel averages over its own area, which widens what would be thinner than the sampling.
    sigma = np.hypot(width * SIGMA_OF_FWHM, np.sqrt(1 / 12))
    reach_x, reach_y = np.ceil(np.abs(direction) * length / 2 + 3 * sigma).astype(int)
    y, x = np.mgrid[-reach_y : reach_y + 1, -reach_x : reach_x + 1]
    along = x * direction[0] + y * direction[1]
    across = x * direction[1] - y * direction[0]
    fade = np.cos(np.pi / 2 * np.clip(2 * along / length, -1, 1)) ** 0.5
    return (fade * np.exp(-(across**2) / (2 * sigma**2))).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class NoiseSettings(Settings):
    sigma: tuple = setting(
        25.0, 0, 255, 'standard deviation of the Gaussian noise, in 0 to 255; a range makes blind pairs'
    )
    peak: tuple | None = setting(
        None, 1, 1e6, 'photons that a white pixel collects (their noise: Poisson); not given: Gaussian noise alone'
    )


def add_noise(image: np.ndarray, rng: np.random.Generator, **settings) -> np.ndarray:
    """Adds white Gaussian noise, or Poisson-Gaussian noise where ``peak`` is set, independent in every channel.

    ``O = P + N(0, sigma / 255)`` with P the image, or ``Poisson(peak * image) / peak``: the variance at an intensity
    x is ``x / peak + (sigma / 255)^2``, the model of Foi et al., "Practical Poissonian-Gaussian Noise Modeling and
    Fitting for Single-Image Raw-Data", TIP 2008. As in colour denoising benchmarks (sigma 15, 25, 50, or blind 0 to
    50) the noise is added to the intensities of the file. The result is clipped to [0, 1], as a saved file must be.

    Takes and gives what :func:`add_rain` does, with the settings of :class:`NoiseSettings`.
    """
    drawn = NoiseSettings(**settings).draw(rng)
    image = image.astype(np.float32)
    if drawn['peak'] is not None:
        image = (rng.poisson(image * drawn['peak']) / drawn['peak']).astype(np.float32)
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(drawn['sigma'] / 255)
    return np.clip(image + noise, 0, 1)


POINTS_PER_PIXEL = 8
GAMMA = 2.2


@dataclass(frozen=True, kw_only=True)
class BlurSettings(Settings):
    length: tuple = setting(
        (8.0, 35.0), 0, 500, 'length of the path that the camera travels while it exposes, in pixels'
    )
    turn: tuple = setting(
        (30.0, 200.0), 0, 1000, 'how far its direction wanders on the way, in degrees (standard deviation; 0: straight)'
    )


def add_blur(image: np.ndarray, rng: np.random.Generator, **settings) -> np.ndarray:
    """Blurs an image as a camera does that moves on a random path while it exposes.

    The path is a smooth random walk in the image plane, travelled at uneven speed, after Boracchi and Foi, "Modeling
    the Performance of Image Restoration From Motion Blur", TIP 2012, as DeblurGAN (CVPR 2018) used it for training;
    this walk of direction and its default ranges are [ours]. The same kernel applies to the whole image. Light is
    averaged in linear intensities, by the gamma 2.2 with which the GoPro set (Nah et al., CVPR 2017) was made. The
    kernel's centre of mass is its centre, so blurred and sharp images stay aligned.

    Takes and gives what :func:`add_rain` does, with the settings of :class:`BlurSettings`.

    Raises:
        ValueError: The image is smaller than the kernel.
    """
    kernel = shake_kernel(rng, **BlurSettings(**settings).draw(rng))
    if min(image.shape[:2]) < len(kernel):
        raise ValueError(
            f'an image of {image.shape[1]}x{image.shape[0]} pixels is smaller than the blur kernel '
            f'({len(kernel)} pixels a side): lower length, or leave the image out'
        )
    linear = image.astype(np.float32) ** GAMMA
    blurred = cv2.filter2D(linear, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT_101)
    return np.clip(blurred, 0, 1) ** np.float32(1 / GAMMA)


def shake_kernel(rng: np.random.Generator, *, length: float, turn: float) -> np.ndarray:
    """Draws a camera path as a blur kernel: square, odd sides, non-negative, sum 1, float32."""
    path, dwell = shake_path(rng, length=length, turn=turn)
    path = path - dwell @ path
    reach = int(np.ceil(np.abs(path).max())) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    corner = np.floor(path).astype(int)
    part = path - corner
    # Each point spreads over its four neighbours, which keeps the centre of mass where it is.
    for dx in (0, 1):
        for dy in (0, 1):
            share = np.abs(1 - dx - part[:, 0]) * np.abs(1 - dy - part[:, 1])
            np.add.at(kernel, (corner[:, 1] + dy + reach, corner[:, 0] + dx + reach), dwell * share)
    return (kernel / kernel.sum()).astype(np.float32)


def shake_path(rng: np.random.Generator, *, length: float, turn: float) -> tuple[np.ndarray, np.ndarray]:
    """Walks a random path of exactly ``length`` pixels.

    Returns:
        tuple: Points (T, 2) as (x, y) in pixels, and the share of the exposure spent at each, (T,), sum 1.
    """
    steps = max(64, round(length * POINTS_PER_PIXEL))
    wander = np.cumsum(rng.standard_normal(steps)) / np.sqrt(steps)
    heading = rng.uniform(0, 2 * np.pi) + np.deg2rad(turn) * gaussian_filter1d(wander, steps / 30)
    path = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0) * (length / steps)
    slowness = gaussian_filter1d(rng.standard_normal(steps), steps / 15)
    dwell = np.exp(0.6 * slowness / slowness.std())
    return path, dwell / dwell.sum()


@dataclass(frozen=True, kw_only=True)
class LowresSettings(Settings):
    scale: int = setting(4, 2, 16, 'how many times smaller the image becomes, a whole number')
    blur: tuple = setting(0.0, 0, 50, 'standard deviation of a Gaussian blur before that, in pixels of the photograph')
    noise: tuple = setting(0.0, 0, 255, 'standard deviation of Gaussian noise on the small image, in 0 to 255')
    jpeg: tuple | None = setting(None, 1, 100, 'quality of JPEG that the small image is saved with; not given: none')

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.scale, (tuple, list)) or self.scale != int(self.scale):
            raise ValueError(f'scale takes one whole number; found {self.scale!r}')

    @property
    def multiple(self) -> int:
        """The scale."""
        return int(self.scale)


def make_lowres(image: np.ndarray, rng: np.random.Generator, **settings) -> np.ndarray:
    """Makes an image smaller, as super-resolution takes it: blur, bicubic reduction, noise, JPEG.

    By default the reduction alone, the classical setting of DIV2K and of published tables.

    Args:
        image (np.ndarray): (H, W, 3) float in [0, 1], H and W multiples of ``scale``.
        rng (np.random.Generator): Source of all randomness.
        **settings: Those of :class:`LowresSettings`; each but ``scale`` a number or a pair (lowest, highest).

    Returns:
        np.ndarray: (H / scale, W / scale, 3) float32 in [0, 1].
    """
    settings = LowresSettings(**settings)
    drawn = settings.draw(rng)
    image = image.astype(np.float32)
    if drawn['blur']:
        image = cv2.GaussianBlur(image, (0, 0), drawn['blur'], borderType=cv2.BORDER_REFLECT)
    image = np.clip(bicubic_reduced(image, settings.multiple), 0, 1)
    if drawn['noise']:
        image = add_noise(image, rng, sigma=drawn['noise'])
    if drawn['jpeg'] is None:
        return image
    return _as_jpeg(image, round(drawn['jpeg']))


def bicubic_reduced(image: np.ndarray, scale: int) -> np.ndarray:
    """The image ``scale`` times smaller as MATLAB's imresize makes it: bicubic, antialiased, mirrored at the borders.

    Args:
        image (np.ndarray): (H, W, C) float, H and W multiples of ``scale``.
        scale (int): At least 1.

    Returns:
        np.ndarray: (H / scale, W / scale, C), of the same type, not clipped.
    """
    # By a whole number every output pixel has the same weights, of the pixels around its cell.
    taps = np.arange(-2 * scale, 3 * scale)
    x = np.abs(taps - (scale - 1) / 2) / scale
    weights = np.where(x <= 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x <= 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0))
    weights = (weights / weights.sum()).astype(image.dtype)
    for axis in (0, 1):
        lines = np.moveaxis(image, axis, 0)
        padded = np.pad(lines, [(2 * scale, 2 * scale), (0, 0), (0, 0)], mode='symmetric')
        rows = [slice(start, start + len(lines), scale) for start in taps + 2 * scale]
        image = np.moveaxis(sum(weight * padded[row] for weight, row in zip(weights, rows)), 0, axis)
    return image


#: Task to name of a test set to how it is made, (function, settings). The first of each task is the makers' default, or
#: the noise that is most often trained on. ``configs/_base_/robustness.py`` lists the same names.
ROBUSTNESS = dict(
    derain=dict(
        rain=(add_rain, RainSettings()),
        rain_heavy=(add_rain, RainSettings(density=(0.4, 0.8), brightness=(0.6, 0.9))),
        rain_slanted=(add_rain, RainSettings(angle=(45, 70))),
        rain_long=(add_rain, RainSettings(length=(60, 100))),
        rain_veiled=(add_rain, RainSettings(veiling=(0.3, 0.5))),
    ),
    deblur=dict(
        blur=(add_blur, BlurSettings()),
        blur_long=(add_blur, BlurSettings(length=(45, 70))),
        blur_straight=(add_blur, BlurSettings(turn=0)),
    ),
    denoise=dict(
        noise_25=(add_noise, NoiseSettings(sigma=25)),
        noise_15=(add_noise, NoiseSettings(sigma=15)),
        noise_50=(add_noise, NoiseSettings(sigma=50)),
        noise_75=(add_noise, NoiseSettings(sigma=75)),
        noise_poisson=(add_noise, NoiseSettings(sigma=5, peak=60)),
    ),
)


# ------------------------------------------------------------------------------------------------ noise of cameras

SHOT_AT_ISO_100 = 2.5e-5  # variance over intensity: a white pixel collects 40,000 photons, on a large sensor. [ours]
# The noise of reading by that of photons, on natural logarithms: slope, offset, spread (Brooks et al.).
READ_FIT = (2.18, 1.2, 0.26)
RED_GAINS, BLUE_GAINS = (1.9, 2.4), (1.5, 1.9)
SAMPLINGS = (
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
)
# What bilinear demosaicing takes from the pixels that have a colour.
GREEN_KERNEL = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float32) / 4
RED_BLUE_KERNEL = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 4
LEVELS = np.linspace(0, 1, 1024, dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class CameraSettings(Settings):
    iso: tuple = setting(
        (100.0, 12800.0), 25, 1e6, 'sensitivity of a large sensor; a phone has this noise at a quarter', by_stops=True
    )
    contrast: tuple = setting((0.0, 1.0), 0, 1, "strength of the camera's tone curve")
    saturation: tuple = setting((0.0, 0.6), 0, 2, "how far its colour matrix parts the sensor's colours")
    quality: tuple = setting((70.0, 100.0), 1, 100, 'of its JPEG')


def add_camera_noise(image: np.ndarray, rng: np.random.Generator, **settings) -> np.ndarray:
    """Adds the noise of a camera: made in the sensor, mixed by demosaicing, colours and tone, and saved as JPEG.

    The image goes back to the sensor, gets its noise there and comes forth again, after Brooks et al., "Unprocessing
    Images for Learned Raw Denoising", CVPR 2019 (tone curve, gamma, colour matrix, white balance and levels of noise)
    and Guo et al., "Toward Convolutional Blind Denoising of Real Photographs" (CBDNet), CVPR 2019 (demosaicing and
    JPEG). The variance at an intensity x of the sensor is ``shot x + read``, its mosaic that of Bayer. Only the noise
    is demosaiced: the truth of a real pair, the mean of many shots, holds the traces of demosaicing too. The random
    colour matrix is [ours].

    Takes and gives what :func:`add_rain` does, with the settings of :class:`CameraSettings`.
    """
    drawn = CameraSettings(**settings).draw(rng)
    gains = np.array([rng.uniform(*RED_GAINS), 1, rng.uniform(*BLUE_GAINS)], np.float32)
    matrix = colour_matrix(rng, drawn['saturation'])
    linear = _linear_levels(drawn['contrast'])
    # Rows of the matrix sum to 1 and its inverse has no negative entry, so the sensor's intensities lie in [0, 1].
    sensor = np.interp(image, LEVELS, linear).astype(np.float32) @ np.linalg.inv(matrix).T / gains
    mosaic = bayer_mosaic(image.shape[:2], rng)
    noise = sensor_noise((sensor * mosaic).sum(axis=2), rng, drawn['iso'])
    sensor += demosaiced(noise, mosaic)
    noisy = np.interp((sensor * gains) @ matrix.T, linear, LEVELS)
    return _as_jpeg(noisy, round(drawn['quality']), SAMPLINGS[rng.integers(len(SAMPLINGS))])


def colour_matrix(rng: np.random.Generator, saturation: float) -> np.ndarray:
    """Draws a matrix from the sensor's colours to those of the file, (3, 3) float32; each row sums to 1."""
    others = rng.dirichlet((2, 2), 3)
    matrix = (1 + saturation) * np.eye(3)
    for row, (first, second) in enumerate(others):
        matrix[row, (row + 1) % 3] -= saturation * first
        matrix[row, (row + 2) % 3] -= saturation * second
    return matrix.astype(np.float32)


def _linear_levels(contrast):
    """The light that each of ``LEVELS`` in a file stands for: the inverse of the tone curve, then of gamma."""
    curve = (1 - contrast) * LEVELS + contrast * LEVELS**2 * (3 - 2 * LEVELS)
    return np.interp(LEVELS, curve, LEVELS).astype(np.float32) ** np.float32(GAMMA)


def bayer_mosaic(size, rng: np.random.Generator) -> np.ndarray:
    """Which colour each pixel of the sensor sees, (H, W, 3) float32 of 0 and 1; the first one is drawn."""
    down, right = rng.integers(2, size=2)
    rows, columns = np.ogrid[down : down + size[0], right : right + size[1]]
    red, blue = (rows % 2 == 0) & (columns % 2 == 0), (rows % 2 == 1) & (columns % 2 == 1)
    return np.stack([red, ~(red | blue), blue], axis=2).astype(np.float32)


def sensor_noise(seen: np.ndarray, rng: np.random.Generator, iso: float) -> np.ndarray:
    """Draws the noise of photons and of reading, float32 like ``seen``, the intensities at the sensor's pixels."""
    shot = SHOT_AT_ISO_100 * iso / 100
    slope, offset, spread = READ_FIT
    read = np.exp(slope * np.log(shot) + offset + rng.normal(0, spread))
    photons = rng.poisson(seen / shot) * shot
    return (photons - seen + rng.normal(0, np.sqrt(read), seen.shape)).astype(np.float32)


def demosaiced(seen: np.ndarray, mosaic: np.ndarray) -> np.ndarray:
    """Fills in from the neighbours the two colours that a pixel does not see, (H, W, 3) float32."""
    kernels = RED_BLUE_KERNEL, GREEN_KERNEL, RED_BLUE_KERNEL
    channels = [
        cv2.filter2D(seen * mosaic[..., index], cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT_101)
        for index, kernel in enumerate(kernels)
    ]
    return np.stack(channels, axis=2)


def _as_jpeg(image, quality, sampling=SAMPLINGS[0]):  # OpenCV's own
    pixels = (np.clip(image[..., ::-1], 0, 1) * 255).round().astype(np.uint8)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    encoded = cv2.imencode('.jpg', pixels, options)[1]
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32) / 255
