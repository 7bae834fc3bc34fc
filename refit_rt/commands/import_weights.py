"""The verb `import-weights`: an official checkpoint → a bundle."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from refit_rt.commands.shared import Folder, say, torch_needed


def import_weights(
    checkpoint: Positional[Annotated[str, arg(metavar="CHECKPOINT")]],
    body: Positional[Annotated[str, arg(metavar="BODY")]],
    /,
    *,
    out: Folder = "refit-official",
) -> int:
    """Turn an official ReFit checkpoint into a bundle for --fit.bundle.

    It needs torch.

    Args:
        checkpoint: A checkpoint of ReFit's authors, such as refit_all.pt, or one that ReFit's trainer or another one
            has written (Lightning, DataParallel, averaged weights, safetensors). Nothing in it is executed.
        body: The SMPL body that it was trained on, from import-smpl.
        out: The folder of the bundle.
    """
    with torch_needed():
        from refit_rt.bundle import make
    make.import_weights(Path(checkpoint), Path(body), Path(out))
    say(f"{out}: use it with --fit.bundle {out}")
    return 0
