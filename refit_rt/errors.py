"""The one error meant for the person at the keyboard."""


class UserError(Exception):
    """Something the user gave cannot be used. The message is one line: what, where, and the cure.

    The command line prints it without a traceback and exits with code 2.
    """
