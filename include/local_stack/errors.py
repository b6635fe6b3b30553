"""The one error of this package: a sentence for the person at the terminal."""


class StackError(Exception):
    """Something the person who started the stack has to know; its text is the whole message."""
