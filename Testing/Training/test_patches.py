"""Patches and their augmentation."""

from dataclasses import replace

import numpy as np
from lopsided_training.augment import Change, ChannelChange, changed, draw_change, mirrored
from lopsided_training.config import PatchConfig
from lopsided_training.patches import PreparedCase, draw


def test_patches_are_repeatable_and_withhold_optional_sequences() -> None:
    rng = np.random.default_rng(0)
    lesion = np.zeros((40, 40, 40), bool)
    lesion[20:23, 20:23, 20:23] = True
    case = PreparedCase(
        "x",
        rng.normal(size=(4, 40, 40, 40)).astype(np.float16),
        lesion,
        ~lesion,
        np.zeros_like(lesion),
        np.array([[21.0, 21, 21]]),
        np.ones(4, bool),
        (1.0, 1.0, 1.0),
    )
    config = PatchConfig(size=16, on_lesion=1.0, drop=0.5)
    first, second = (draw([case], config, 8, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first.images, second.images)
    assert first.labels.any(axis=(1, 2, 3, 4)).all(), "every patch around a lesion has it"
    assert not (first.labels * first.trust).any()
    missing = ~first.images.any(axis=(2, 3, 4))
    assert not missing[:, 0].any(), "post-contrast T1 is never withheld"
    assert 0 < missing[:, 1:].mean() < 1
    cut = {name: getattr(case, name)[:10] for name in ("lesion", "trusted", "hidden")}
    small = replace(case, image=case.image[:, :10], centres=np.zeros((0, 3)), **cut)
    assert draw([small], config, 1, rng).images.shape == (1, 4, 16, 16, 16)


def test_a_change_is_a_function_of_what_was_drawn() -> None:
    rng = np.random.default_rng(3)
    image = rng.normal(size=(3, 6, 7, 8)).astype(np.float32)
    as_it_is = ChannelChange(1.0, 0.0, 1.0, None, 0.0, 0)
    assert np.array_equal(changed(image, Change((), (as_it_is,) * 3)), image)
    other = changed(image, Change((0, 2), (as_it_is, None, ChannelChange(2.0, 0.5, 1.0, None, 0.0, 0))))
    assert np.array_equal(other[0], image[0, ::-1, :, ::-1])
    assert not other[1].any()
    assert np.allclose(other[2], 2 * image[2, ::-1, :, ::-1] + 0.5)
    noisy = Change((), (ChannelChange(1.0, 0.0, 1.2, (0.5, 0.5, 0.5), 0.3, 9), as_it_is, as_it_is))
    assert np.array_equal(changed(image, noisy), changed(image, noisy))
    assert np.std(changed(image, noisy)[0] - changed(image, Change((), noisy.channels[:0] + (as_it_is,) * 3))[0]) > 0.2


def test_drawn_changes_repeat_and_vary() -> None:
    present = np.array([True, True, False])
    drawn = [draw_change(present, 0.5, True, np.random.default_rng(n)) for n in range(40)]
    assert drawn[3] == draw_change(present, 0.5, True, np.random.default_rng(3))
    assert len(set(drawn)) == 40
    assert all(change.channels[0] is not None and change.channels[2] is None for change in drawn)
    assert 0 < sum(change.channels[1] is None for change in drawn) < 40
    plain = draw_change(present, 0.0, False, np.random.default_rng(1))
    image = np.random.default_rng(2).normal(size=(3, 4, 5, 6)).astype(np.float32) * present[:, None, None, None]
    assert np.array_equal(changed(image, plain), mirrored(image, plain))
