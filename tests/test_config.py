"""Settings: sizes as people write them."""

from __future__ import annotations

import pytest

from adapterhub.config import Config, Size
from adapterhub.errors import ConfigError


class Room(Config):
    size: Size


@pytest.mark.parametrize(
    ("given", "nbytes"),
    [("1000", 1000), (1000, 1000), ("512MB", 512_000_000), ("512 mb", 512_000_000), ("2GiB", 2 << 30), ("1.5kB", 1500)],
)
def test_a_size_is_bytes_or_has_a_unit(given: object, nbytes: int) -> None:
    assert Room.load({"size": given}, where="test").size == nbytes


@pytest.mark.parametrize("given", ["", "lots", "5 apples", "-1", "-5MB", "0", 0, "0.3B", "1e3", None])
def test_what_is_no_size_is_refused_saying_what_is(given: object) -> None:
    with pytest.raises(ConfigError, match=r"^test: size: not a size \(accepted: such as 512MB, 2GiB, or a number of"):
        Room.load({"size": given}, where="test")
