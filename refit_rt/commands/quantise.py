"""The verb `quantise`: an int8 encoder for a bundle."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from refit_rt.commands.shared import say, torch_needed


def quantise(
    bundle: Positional[Annotated[str, arg(metavar="BUNDLE")]],
    images: Positional[Annotated[str, arg(metavar="IMAGES")]],
    /,
) -> int:
    """Add an int8 encoder to a bundle, for --fit.precision int8.

    It needs torch and onnx.

    Args:
        bundle: The folder of the bundle.
        images: A folder with 100 or more photos of people. The ranges of the encoder's numbers are measured on them.
    """
    with torch_needed():
        from refit_rt.bundle.quantise import quantise_with
    error = quantise_with(bundle, Path(images))
    say(f"{bundle}: use it with --fit.precision int8 (its maps differ by {error:.1%} from the exact ones)")
    return 0
