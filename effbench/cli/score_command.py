"""`effbench score`: stored records to their scorecard, again, without hardware: of one run or of many nodes."""

from pathlib import Path

import click

from effbench import api
from effbench.cli import options
from effbench.store.runs import scored


@click.command("score")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN|DIR")
@click.option(
    "--subject",
    type=click.Choice(["node", "cluster"]),
    default="node",
    show_default=True,
    help="cluster: DIR holds one folder per node; writes DIR/cluster.json and its reports.",
)
@options.policy_option
@options.site_option
@options.json_option
def command(run: Path, subject: str, policy: str, site: Path | None, as_json: bool) -> int:
    """Print the scorecard of RUN (a run folder or its record.json) as JSON, or compare the nodes in DIR.

    With --subject cluster the exit code is the verdict over the nodes: 1 when one failed, else 3 when one is not rated
    or did not report, else 4 when one is undecided, else 0. A node that stands out is named and changes no verdict.
    """
    if subject == "cluster":
        from effbench.cli import cluster_files

        card, verdict = api.cluster_artefacts(run, api.load_policy(policy, options.search_path(None)))
        return cluster_files.show(run, card, verdict, as_json)
    folder = run if run.is_dir() else run.parent
    options.emit(api.encode(scored(api.record_of(run), folder, api.load_site(site) if site else None)))
    return 0
