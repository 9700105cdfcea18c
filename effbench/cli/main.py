"""The entry point: a lazy group of commands, and the one place that turns outcomes into exit codes."""

import importlib
import os
import sys

import click

from effbench import __version__
from effbench.model.error import EffbenchError

COMMANDS = {
    "run": "Measure this node, score it, grade it, and write the scorecard.",
    "qualify": "Qualify this node by a recipe: suite, policy and budget, one verdict, one exit code.",
    "plan": "Show what a run would do, in what order and how long; measure nothing.",
    "score": "Turn a stored record into its scorecard again.",
    "grade": "Grade a stored run or scorecard under a policy.",
    "verdict": "Print the last verdict of a node on one line; drain the node in Slurm on it.",
    "report": "Render a stored run or scorecard in any format.",
    "policy": "Check the rules of a policy: unknown metrics, wrong units, thresholds out of reach.",
    "replay": "Rebuild the record and every artefact from a journal, byte for byte.",
    "compare": "Compare runs metric by metric: worse, same, better or undecided.",
    "baseline": "Make a baseline of several runs, to hold later ones against.",
    "project": "Say what models of a scaling run give for a number of ranks not measured.",
    "list": "List runs, suites, kernels, devices, policies, metrics or accelerators.",
    "show": "Show one suite, policy, accelerator, run or file.",
    "explain": "Explain a finding code or a metric, and what to do about it.",
    "doctor": "Say what would disturb a measurement on this node, and what to do.",
    "selftest": "Measure a known truth, or what the power sensors really do.",
    "energy": "Run a command of yours and say what energy every device took meanwhile.",
    "meter": "Copy a run and add a wall meter's log to it.",
    "import": "Read what other tools measured (SuperBench, DCGM, gpu-fryer, nccl-tests, nvbandwidth).",
    "render": "Print manifests by which Kubernetes runs a suite or qualifies its nodes.",
    "redact": "Copy a run with names, serials and paths replaced by salted hashes.",
}
UNEXPECTED = 3
INTERRUPTED = 130


class LazyGroup(click.Group):
    """Knows every command's name and sentence; imports a command's module only when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table: the way through the program."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; None when there is no such name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"effbench.cli.{cmd_name}_command")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the nearest name for an unknown command."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{hint} Commands: {', '.join(COMMANDS)}.")
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", message="effbench %(version)s")
def cli() -> None:
    """effbench: how efficient a GPU node really is, with evidence.

    `effbench run` executes reference training and inference kernels on this node, holds what is achieved against
    what is possible, and writes a scorecard that rates the node. No evidence, no rating.

    Exit codes: 0 pass, 1 fail, 2 wrong input, 3 not rated, 4 undecided, 130 interrupted.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with its code. A bug of ours is 3: it must never condemn a node."""
    sys.exit(invoke(arguments))


def invoke(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code; messages for people go to stderr, never a traceback."""
    try:
        result = cli.main(args=arguments, prog_name="effbench", standalone_mode=False)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except EffbenchError as error:
        click.echo(f"effbench: {error}", err=True)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:
        if os.environ.get("EFFBENCH_DEBUG"):
            raise
        text = f"{type(error).__name__}: {error}"
        click.echo(f"effbench: unexpected error, a bug of effbench and not of the node: {text}", err=True)
        click.echo("Run it again with EFFBENCH_DEBUG=1 and report what it prints.", err=True)
        return UNEXPECTED
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    main()
