"""The verb `bundle`: a checkpoint of training/ → a bundle."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from refit_rt.commands.shared import File, Folder, say, torch_needed


def bundle(
    checkpoint: Positional[Annotated[str, arg(metavar="CHECKPOINT")]],
    /,
    *,
    out: Folder = "bundle",
    licence: str = "",
    facts: File = "",
) -> int:
    """Turn a checkpoint of training/ into a bundle for --fit.bundle.

    It needs torch.

    Args:
        checkpoint: A last.pt of training/.
        out: The folder of the bundle.
        licence: The licence of the weights, for the bundle's card.
        facts: A yaml file with `training` and `accuracy`, for the bundle's card.
    """
    with torch_needed():
        from refit_rt.bundle.checkpoint import export_checkpoint
    export_checkpoint(Path(checkpoint), Path(out), licence, Path(facts) if facts else None)
    say(f"{out}: use it with --fit.bundle {out}")
    return 0
