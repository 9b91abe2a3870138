"""The one exception that users are meant to see."""


class TslrecError(Exception):
    """Something given to tslrec-min can't be used: a file, a folder, an option's value or a model.

    The message says what was given, what was expected and what to do. The command line prints it as one
    line and exits with status 1; anything else that is raised is a defect of this package.
    """
