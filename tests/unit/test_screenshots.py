"""The images in docs; that they show what they should, somebody has looked at."""

from __future__ import annotations

import pytest

from dev.screenshots import FOLDER, IMAGES, LARGEST


def test_images_in_docs_are_all_taken_by_make_screenshots():
    assert {path.name for path in FOLDER.glob("*.png")} == IMAGES


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_image_is_small_enough_for_a_page(name):
    assert (FOLDER / name).stat().st_size <= LARGEST
