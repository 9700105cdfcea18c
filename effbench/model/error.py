"""The errors that people see.

    EffbenchError                 something a person can act on; one message: what, where, next step
    ├── InputError                what the user gave is wrong: arguments, YAML, paths       (exit 2)
    │   ├── CatalogError          a YAML document has mistakes: all of them, each file:line:column
    │   ├── DocumentError         a journal, record or scorecard is damaged, or newer than this program
    │   └── OutputError           the output folder is unwritable, full, or not empty
    ├── SiteError                 this machine cannot do what was asked: no torch, GPU unseen  (exit 3)
    └── WorkerError               a child process died, hung or answered nonsense              (exit 3)

Errors are for people and end a command; findings are for machines and travel with the record.
"""


class EffbenchError(Exception):
    """Base of every error that effbench raises on purpose."""

    exit_code = 3


class InputError(EffbenchError):
    """The user's arguments, documents or paths are wrong."""

    exit_code = 2


class CatalogError(InputError):
    """A YAML document has mistakes. `problems` holds one line per mistake, each `file:line:column: text`."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class DocumentError(InputError):
    """A journal, record, scorecard or grade cannot be read, or was written by a newer effbench."""


class OutputError(InputError):
    """The place for the results cannot take them."""


class SiteError(EffbenchError):
    """This machine lacks something that the request needs."""


class WorkerError(EffbenchError):
    """A child process broke its side of the protocol."""
