"""The error whose message is shown to the user."""


class UserError(Exception):
    """Something that the user gave cannot be used. The message is one line with the place, the problem and the cure.

    The command line prints it without a traceback and exits with code 2.
    """
