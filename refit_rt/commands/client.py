"""The verb `client`: a reader of the stream for another language, copied out of the package."""

import shutil
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from refit_rt.commands.shared import say
from refit_rt.errors import UserError
from refit_rt.files import write_whole

CLIENTS = Path(__file__).parents[1] / "clients"
README = "README.md"
# What a client has from another one: where it goes, and the file.
BORROWED = {"unreal": {"Source/RefitRtLiveLink/Private/refit_rt.hpp": "cpp/refit_rt.hpp"}}


def client(
    name: Positional[Annotated[str, arg(metavar="NAME")]] = "",
    folder: Positional[Annotated[str, arg(metavar="DIR")]] = "",
    /,
) -> int:
    """Copy out a client of the stream: C++, JavaScript and others.

    Without NAME, the clients are listed.

    Args:
        name: The client to copy.
        folder: A folder that is empty or not there yet.
    """
    if not name:
        for one in clients():
            say(f"{one:<12}{_title(one)}")
        return 0
    if name not in clients():
        raise UserError(f"client: there is none named '{name}'. Give one of {', '.join(clients())}")
    if not folder:
        raise UserError(f"client: names no folder. Give one, as in refit-rt client {name} refit-rt-{name}")
    target = Path(folder).expanduser()
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise UserError(f"{target}: is there and is not empty. Give an empty folder or a new name")
    for place, path in _files(name).items():
        with write_whole(target / place, "Give a folder of your own") as made:
            shutil.copyfile(path, made)
    say(f"{target}: begin with {target / README}")
    return 0


def clients() -> list[str]:
    """The names of the clients in this package."""
    return sorted(path.parent.name for path in CLIENTS.glob(f"*/{README}"))


def _files(name: str) -> dict[str, Path]:
    """Where each file goes in the copy, and the file."""
    inside = (path for path in (CLIENTS / name).rglob("*") if "__pycache__" not in path.parts)
    own = {path.relative_to(CLIENTS / name).as_posix(): path for path in sorted(inside) if path.is_file()}
    return own | {place: CLIENTS / path for place, path in BORROWED.get(name, {}).items()}


def _title(name: str) -> str:
    """The title of a client's page."""
    with (CLIENTS / name / README).open(encoding="utf-8") as page:
        return page.readline().lstrip("# ").rstrip()
