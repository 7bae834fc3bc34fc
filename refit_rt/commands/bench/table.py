"""The result of a measurement: a table, as aligned text or as Markdown."""

from dataclasses import dataclass

import msgspec

from refit_rt.commands.machine import processor_model
from refit_rt.config import Group


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of figures, each with its name in the first cell."""

    heads: list[str]  # the first one says what is measured
    rows: list[list[str]]

    def text(self) -> str:
        """For the terminal: names to the left, figures to the right."""
        lines = [self.heads, *self.rows]
        width, *widths = (max(map(len, column)) for column in zip(*lines, strict=True))
        lines = [[name.ljust(width), *map(str.rjust, figures, widths)] for name, *figures in lines]
        return "\n".join("  ".join(line).rstrip() for line in lines)

    def markdown(self, command: str, machine: str = "") -> str:
        """For a README, below a line that names the command and the machine, by default its processor."""
        lines = [f"`{command}` on {machine or processor_model()}:", ""]
        lines += ["| " + " | ".join(cells) + " |" for cells in (self.heads, ["---"] * len(self.heads), *self.rows)]
        return "\n".join(lines)


def command_of(name: str, **groups: Group) -> str:
    """The command that repeats a measurement: the verb, and the settings that are not the defaults."""
    words = ["refit-rt", name, "--markdown"]
    for group, settings in groups.items():
        defaults = type(settings)()
        for field in msgspec.structs.fields(settings):
            value = getattr(settings, field.name)
            if value != getattr(defaults, field.name):
                option = field.name.replace("_", "-")
                words += [f"--{group}.{'' if value is not False else 'no-'}{option}"]
                if isinstance(value, dict):
                    words += [f"{key} {one}" for key, one in value.items()]
                elif not isinstance(value, bool):
                    words.append(str(value))
    return " ".join(words)
