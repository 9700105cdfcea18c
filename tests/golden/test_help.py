"""What `--help` says, pinned: of the group and of `run`, at the width of a plain terminal."""

import pytest
from click.testing import CliRunner
from syrupy.assertion import SnapshotAssertion

from effbench.cli.main import COMMANDS, cli

WIDTH = 80


def shown(*words: str) -> str:
    done = CliRunner().invoke(cli, [*words, "--help"], prog_name="effbench", terminal_width=WIDTH)
    assert done.exit_code == 0
    return done.output


@pytest.mark.parametrize("command", ["", "run"])
def test_help(command: str, snapshot: SnapshotAssertion) -> None:
    assert shown(*command.split()) == snapshot


@pytest.mark.parametrize("command", COMMANDS)
def test_every_sentence_fits_and_says_what_the_command_does(command: str) -> None:
    text = shown(command)
    assert all(len(line) <= WIDTH for line in text.splitlines())
    body = text.split("Options:")[0].split("\n\n", 1)[1].strip()
    assert body.endswith((".", "undecided.", "--strict."))
