"""`effbench import`: what other tools measured, read into one record per node; never rated as if measured here."""

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from effbench.cli import options
from effbench.model.grade import EXIT_CODES, PRECEDENCE, Grade, Verdict
from effbench.model.imported import Apart, ImportedNode, ImportSummary, Outlier
from effbench.model.policy import Policy

SHOWN = 20


@click.command("import")
@click.argument("format_name", metavar="FORMAT")
@click.argument("files", metavar="FILE...", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), required=True, metavar="DIR")
@click.option("--accelerator", metavar="NAME", help="Which part this is: a row of `effbench list accelerators`.")
@click.option("--claim", metavar="TEXT|FILE", help="The same from a claim: `8x NVIDIA H200`, or a claim.yaml.")
@click.option("--node", metavar="NAME", help="The node's name, for one file that does not say whose it is.")
@options.json_option
def command(
    format_name: str,
    files: tuple[Path, ...],
    output: Path,
    accelerator: str | None,
    claim: str | None,
    node: str | None,
    as_json: bool,
) -> int:
    """Read FILEs of FORMAT (superbench, dcgm, gpu-fryer, nccl-tests, nvbandwidth) into DIR: records.jsonl, import.json.

    Says who stands out among the nodes, what is missing or no number, and which part of the files could not be read.
    Nothing imported is rated: a figure of another tool has no rounds and no interval. `effbench grade DIR` gives the
    verdict under a policy. Exit code 0 when any node could be read, 2 when none.
    """
    from effbench.catalog.imports import import_map
    from effbench.importers.records import records
    from effbench.store import documents, imports

    if node is not None and len(files) > 1:
        raise click.UsageError("--node names one node, and there are several files; name the files after their nodes.")
    import_map(format_name)
    part = _part(accelerator, claim)
    documents.prepare(output)
    fleet, bad = imports.keep(output, records(format_name, files, node, part))
    summary = fleet.summary(format_name, [str(file) for file in files], bad)
    documents.write(output / imports.SUMMARY, documents.encode(summary))
    if as_json:
        options.emit_json(summary)
    else:
        _show(summary, output)
    return 0 if summary.nodes else 2


def _part(accelerator: str | None, claim: str | None) -> str | None:
    """The part that a person says it is. Of a claim only the part counts here: an import counts no devices."""
    from effbench.catalog.claim import read_claim
    from effbench.importers.records import part_named

    if accelerator is not None and claim is not None:
        raise click.UsageError("--accelerator and --claim both say which part it is; give one of them.")
    if claim is not None:
        return read_claim(claim).part
    return part_named(accelerator) if accelerator is not None else None


class _Node(msgspec.Struct, frozen=True, omit_defaults=True):
    """One node of an import with its grade, what its import told of it, and how it stands to a baseline if given."""

    node: str
    grade: Grade
    told: list[str] = []
    against_baseline: Apart | None = None


def grade_import(path: Path, policy: Policy, as_json: bool, baseline: Path | None = None) -> int:
    """Grade every record of an import and return the exit code of the gravest verdict; no record is not rated.

    What the import told of a node, and what is far from a `baseline` of earlier imports, is told beside the verdict
    and changes none.

    Raises:
        DocumentError: a record, the summary or the baseline is damaged. InputError: they are not of the same format.
    """
    from effbench.grade.verdict import grade
    from effbench.score.imported import scorecard
    from effbench.score.imported_baseline import against
    from effbench.store.baselines import load_imported
    from effbench.store.imports import records_of, summary_of

    summary = summary_of(path)
    told = {node.node: _told(node) for node in summary.nodes} if summary is not None else {}
    apart = against(load_imported(baseline)) if baseline is not None else None
    met = set[Verdict]()
    kept: list[_Node] = []
    for record in records_of(path):
        verdict_of = grade(scorecard(record), policy)
        node = _Node(record.node, verdict_of, told.get(record.node, []), apart(record) if apart is not None else None)
        met.add(node.grade.verdict)
        if as_json:
            kept.append(node)
        else:
            options.emit("\n".join(options.plain(text) for text in _graded(node)))
    verdict: Verdict = next((v for v in PRECEDENCE if v in met), "not_rated")
    if as_json:
        options.emit_json({"verdict": verdict, "nodes": kept})
    else:
        options.emit("\n".join([*_findings(summary), f"Verdict: {verdict}, exit code {EXIT_CODES[verdict]}"]))
    return EXIT_CODES[verdict]


def _graded(node: _Node) -> list[str]:
    """The verdict of one node, what its import told of it; beside a baseline what is far off, then what is missing."""
    lines = [f"{node.grade.verdict:<10} {node.node}  {node.grade.summary}", *_listed("node", node.told)]
    if node.against_baseline is not None:
        far, gone = node.against_baseline.far, node.against_baseline.missing
        lines += [f"  {_far(o, 'of the baseline')}" for o in far[:SHOWN]]
        lines += [f"  and {len(far) - SHOWN} more far off, in --json"] if len(far) > SHOWN else []
        lines += [f"  {_some('missing', gone)}"] if gone else []
    return lines


def _show(summary: ImportSummary, output: Path) -> None:
    """Print what a person needs: the lost records, the fleet, then each node that has something to tell."""
    lines = [f"{len(summary.nodes)} nodes read, {len(summary.bad)} records lost  ({summary.imported})"]
    lines += _listed("lost", [f"{bad.where}: {bad.problem}" for bad in summary.bad])
    lines += [f"{a.figure}: median {a.share:.1%} of the rated peak of {a.part}" for a in summary.anchors]
    lines += _findings(summary)
    lines += _listed("node", [line for node in summary.nodes for line in _told(node)])
    quiet = sum(not list(_told(node)) for node in summary.nodes)
    lines += [f"{quiet} nodes with nothing to tell"] if quiet else []
    reasons = sorted({node.reason for node in summary.nodes})
    lines += [f"Not rated: {reason}" for reason in reasons]
    lines += [f"Records: {output}/records.jsonl"] if summary.nodes else []
    lines.append(f"All of the above: {output}/import.json")
    options.emit("\n".join(options.plain(line) for line in lines))


def _findings(summary: ImportSummary | None) -> list[str]:
    found = summary.findings if summary is not None else []
    return [options.plain(f"{finding.severity}: {finding.message}  [{finding.code}]") for finding in found]


def _told(node: ImportedNode) -> list[str]:
    told = [f"{node.node}: {text}" for text in node.failed]
    told += [f"{node.node}: {_far(o)}" for o in node.outliers]
    for what, names in (
        ("missing", node.missing),
        ("not finite", node.not_finite),
        ("no number", node.not_numbers),
    ):
        if names:
            told.append(f"{node.node}: {_some(what, names)}")
    return told


def _far(o: Outlier, whose: str = "") -> str:
    word = "worse" if o.worse else "far off" if o.worse is None else "better"
    middle = f"the median {whose}".rstrip()
    return f"{o.figure} is {o.value:.4g}, {middle} {o.median:.4g} ({word}, {o.score:+.1f} deviations)"


def _some(what: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{what}: {', '.join(names[:3])}{more}"


def _listed(what: str, texts: list[str]) -> list[str]:
    more = [f"  ... and {len(texts) - SHOWN} more, in import.json"] if len(texts) > SHOWN else []
    return [f"  {what}  {text}" for text in texts[:SHOWN]] + more
