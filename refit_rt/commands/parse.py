"""Arguments and settings → the call of a verb. tyro alone reads the arguments; what it refuses becomes one line."""

import difflib
import inspect
import operator
import re
from collections.abc import Callable, Collection
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import partial
from inspect import Parameter
from io import StringIO
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import tyro
from tyro.conf import arg

from refit_rt import config
from refit_rt.errors import UserError

HERE = Path("config.yaml")
CONFIG_HELP = "Settings file. Without this option, config.yaml of the current folder is read if there is one."
CONFIG_TYPE = Annotated[str, arg(metavar="FILE", help=CONFIG_HELP)]
CONFIG = Parameter("config", Parameter.KEYWORD_ONLY, default="", annotation=CONFIG_TYPE)
COLOUR, RULE = re.compile(r"\x1b\[[0-9;]*m"), re.compile(r"^[╰─╯-]+$")
SWITCH_VALUES = ("true", "false", "True", "False")
REFUSALS = (  # what tyro prints, and what is printed instead
    (r"Error parsing (\S+): invalid literal for int\(\) with base 10: (.*)", r"\1: \2 is not a whole number"),
    (r"Error parsing (\S+): could not convert string to float: (.*)", r"\1: \2 is not a number"),
    (r"Error parsing (\S+): Failed to parse key-value pairs!", r"\1 needs pairs, as in \1 all FILE"),
    (r"invalid choice (.*) for argument '(\S+)'\. Expected one of \((.*?),?\)\.", r"\2: \1 is not one of \3"),
    (r"Missing value for argument '(\S+)'\..*", r"\1 needs a value"),
    (r"Missing from [^:]*: (\S+) .*", r"\1 is missing"),
)


def split(arguments: list[str], verbs: Collection[str]) -> tuple[str, list[str]]:
    """The verb that the arguments begin with, and the rest. Raises UserError for one that is not in the table."""
    verb, rest = arguments[0], arguments[1:]
    if verb == "bench":  # two words name what to measure; bench alone is bench live
        what, rest = (rest[0], rest[1:]) if rest and not rest[0].startswith("-") else ("live", rest)
        verb = f"bench {what}"
    if verb in verbs:
        return verb, rest
    if verb.startswith("-"):
        raise UserError(f"{verb} comes before the verb; options follow it, as in refit-rt run {verb} (refit-rt --help)")
    near = difflib.get_close_matches(verb, verbs, 1)
    hint = f"did you mean {near[0]}?" if near else "refit-rt --help lists the verbs"
    raise UserError(f"unknown verb {verb!r}; {hint}")


class Values(NamedTuple):
    """The values of a verb's parameters."""

    positional: tuple[Any, ...]
    named: dict[str, Any]


def parse(verb: Callable[..., int], name: str, arguments: list[str]) -> Callable[[], int]:
    """The call of a verb, with values for its parameters from the arguments and the settings file.

    A verb has settings if the type of a parameter is a config.Group, or config.Settings for all groups. It then has
    --config too, and the values in the file are the defaults of its options. --help is printed before any file is
    read, and there is nothing left to call. Raises UserError, in one line, for an argument or a file that is refused.
    """
    reader = Reader(verb, name)
    try:
        values = reader.read(arguments, config.Settings())
    except SystemExit:
        return lambda: 0
    if reader.groups:
        file = values.named["config"] or (str(HERE) if HERE.is_file() else "")
        if file:
            values = reader.read(arguments, config.load(Path(file)))
        for group, prefix in reader.groups.items():
            values.named[group] = reader.check(values.named[group], prefix)
        if "config" in inspect.signature(verb).parameters:
            values.named["config"] = file
        else:
            del values.named["config"]
    return partial(verb, *values.positional, **values.named)


class Reader:
    """Reads the arguments of one verb with tyro."""

    def __init__(self, verb: Callable[..., int], name: str) -> None:
        self._prog, self._doc = f"refit-rt {name}", verb.__doc__
        self._parameters = list(inspect.signature(verb).parameters.values())
        kinds = {parameter.name: _type(parameter) for parameter in self._parameters}
        self.groups = {  # parameter → what its options begin with
            name: "--" if kind is config.Settings else f"--{name}."
            for name, kind in kinds.items()
            if issubclass(kind, config.Group)
        }
        if self.groups and "config" not in kinds:
            self._parameters.insert(list(kinds).index(next(iter(self.groups))), CONFIG)

    def read(self, arguments: list[str], defaults: config.Settings) -> Values:
        """The values of the arguments, else the defaults. Raises UserError, and SystemExit after --help."""
        caught = StringIO()
        try:
            with redirect_stderr(caught):
                values, unknown = self._cli(self._parameters, arguments, defaults)
        except SystemExit as end:
            if not end.code:
                raise
            unknown = self._unknown_options(arguments)
            raise self._refusal(self._unexpected(unknown[0]) if unknown else one_line(caught.getvalue())) from None
        unknown += [value for value in values.positional if value in SWITCH_VALUES]  # --smooth.enabled false
        if unknown:
            raise self._refusal(self._unexpected(unknown[0]))
        return values

    def check(self, group: config.Group, prefix: str) -> config.Group:
        """The same settings, if they obey the rules. Raises UserError."""
        try:
            return config.check(group, lambda setting: prefix + setting.replace("_", "-"))
        except UserError as error:
            raise self._refusal(str(error)) from error

    def _cli(
        self, parameters: list[Parameter], arguments: list[str], defaults: config.Settings
    ) -> tuple[Values, list[str]]:
        """The values, and the arguments that are left over."""

        def values(*positional: Any, **named: Any) -> Values:
            return Values(positional, named)

        given = {
            group: defaults if prefix == "--" else getattr(defaults, group) for group, prefix in self.groups.items()
        }
        parameters = [
            parameter.replace(default=given.get(parameter.name, parameter.default)) for parameter in parameters
        ]
        values.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        values.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        values.__doc__ = self._doc
        return tyro.cli(values, prog=self._prog, args=arguments, return_unknown_args=True)

    def _unknown_options(self, arguments: list[str]) -> list[str]:
        """The unknown options, read without positional arguments: tyro takes an option for one that is still due."""
        options = [parameter for parameter in self._parameters if parameter.kind is not Parameter.POSITIONAL_ONLY]
        with suppress(SystemExit), redirect_stderr(StringIO()), redirect_stdout(StringIO()):
            return [rest for rest in self._cli(options, arguments, config.Settings())[1] if rest.startswith("-")]
        return []

    def _unexpected(self, argument: str) -> str:
        """What to say about an argument that the verb does not have."""
        if not argument.startswith("-"):
            switch = "; a switch takes no value: --smooth.enabled turns it on, --smooth.no-enabled off"
            return f"unexpected argument {argument!r}" + (switch if argument in SWITCH_VALUES else "")
        option = argument.partition("=")[0]
        near = difflib.get_close_matches(option.replace("_", "-"), self._options(), 1)
        return f"unknown option {option}" + (f"; did you mean {near[0]}?" if near else "")

    def _options(self) -> list[str]:
        """Every option of the verb, from its help."""
        shown = StringIO()
        with suppress(SystemExit), redirect_stdout(shown):
            self._cli(self._parameters, ["--help"], config.Settings())
        rows = [row.strip("│| ") for row in shown.getvalue().splitlines()]
        return [option for row in rows if row.startswith("-") for option in re.findall(r"--[a-z][\w.-]*", row)]

    def _refusal(self, reason: str) -> UserError:
        return UserError(f"{reason} ({self._prog} --help)")


def one_line(box: str) -> str:
    """The reason in an error of tyro. It stands below the title and above the help, between rules or in a frame."""
    rows = [RULE.sub("", row.strip("│ ")) for row in COLOUR.sub("", box).splitlines()[1:]]
    reason = " ".join(takewhile(bool, dropwhile(operator.not_, rows)))
    for pattern, line in REFUSALS:
        if match := re.fullmatch(pattern, reason):
            return match.expand(line)
    return reason


def _type(parameter: Parameter) -> type:
    """The type of a parameter, without what is annotated to it."""
    kind = parameter.annotation
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return kind if isinstance(kind, type) else object
