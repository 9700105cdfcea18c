"""A run folder as a whole: its record (from the journal where need be), its scorecard, and what that rests on.

With a run are kept the site's own figures and the baseline that it is held against, so that everything can be made
again from the folder alone.
"""

from pathlib import Path

from effbench.catalog.site import load_site
from effbench.model.baseline import Baseline
from effbench.model.error import DocumentError, InputError
from effbench.model.grade import Grade
from effbench.model.record import Record
from effbench.model.scorecard import Scorecard
from effbench.model.site import SiteFacts
from effbench.run import journal
from effbench.run.record import build
from effbench.score.against_baseline import against_baseline
from effbench.score.node import score
from effbench.store import documents
from effbench.store.baselines import load_baseline, save_baseline

SITE, BASELINE = "site.yaml", "baseline.json"


def replay(folder: Path) -> Record:
    """Rebuild the record of a run folder from its journal; the same journal gives the same bytes.

    Raises DocumentError when there is no journal, or not one whole trial in it.
    """
    return build(journal.read(folder / documents.JOURNAL))


def record_of(path: Path) -> Record:
    """Read the record of a run folder or a `record.json`; a damaged one is rebuilt from the journal beside it.

    Raises:
        DocumentError: neither the record nor the journal can be read.
    """
    file = path / documents.RECORD if path.is_dir() else path
    if not path.exists():
        raise DocumentError(f"{path}: no such run; `effbench list runs` shows the ones here")
    if file.name.endswith(".gz"):
        return build(journal.read(file))
    beside = file.parent / documents.JOURNAL
    if not file.exists() and not beside.exists():
        raise DocumentError(f"{path}: neither {documents.RECORD} nor {documents.JOURNAL} is there: not a run folder")
    if not file.exists() and beside.exists():
        return build(journal.read(beside))
    try:
        return documents.read(file, Record)
    except DocumentError as damage:
        salvageable = file.name == documents.RECORD and beside.exists()
        if "written by a newer effbench" in str(damage) or not salvageable:
            raise
        return build(journal.read(beside))


def scored(record: Record, folder: Path, facts: SiteFacts | None = None, baseline: Baseline | None = None) -> Scorecard:
    """Return the scorecard of `record`, held against a baseline where there is one.

    `facts` are the site's own figures; those kept in `folder` stand in when there are none, and so for the baseline.

    Raises:
        InputError: the run is one of the baseline's own, or of another device class, or only one of both is simulated.
        DocumentError, CatalogError: what is kept in the folder is damaged.
    """
    card = score(record, facts or site_of(folder))
    kept = folder / BASELINE
    if baseline is None and kept.is_file():
        baseline = load_baseline(kept)
    return against_baseline(card, record, baseline) if baseline is not None else card


def card_of(
    path: Path, facts: SiteFacts | None = None, baseline: Baseline | None = None
) -> tuple[Scorecard, Record | None]:
    """Return the scorecard of a run folder, a record or a scorecard file, and the record where there is one.

    `facts` and `baseline` as in `scored`.

    Raises:
        DocumentError: nothing readable is there.
        InputError: the run cannot be held against the baseline; of a scorecard file nobody knows its trials.
        CatalogError: the site's figures in the run folder have mistakes.
    """
    named = path.name.endswith(".gz") or path.name == documents.RECORD
    if path.is_file() and not named and documents.sniff(path) is Scorecard:
        if baseline is not None:
            raise InputError(f"{path}: a scorecard does not say by which trials; give the run folder or its record")
        return documents.read(path, Scorecard), None
    record = record_of(path)
    return scored(record, _folder(path), facts, baseline), record


def any_document(path: Path) -> Record | Scorecard | Grade:
    """Read a stored document of any kind. Raises DocumentError when it is none."""
    return documents.read(path, documents.sniff(path))


def site_of(run: Path) -> SiteFacts | None:
    """Return the site's figures that were kept with a run; None when there are none.

    Raises:
        CatalogError: they were changed since and have mistakes now.
    """
    file = _folder(run) / SITE
    return load_site(file) if file.is_file() else None


def keep_site(folder: Path, source: Path) -> None:
    """Keep a copy of the site's figures with the run, so that its reports can be made again without the original.

    Raises:
        OutputError: the folder cannot take it.
    """
    if source.resolve() != (folder / SITE).resolve():
        documents.write(folder / SITE, source.read_bytes())


def keep_baseline(folder: Path, baseline: Baseline) -> None:
    """Keep the baseline that a run is held against with it. Raises OutputError: the folder cannot take it."""
    save_baseline(folder / BASELINE, baseline)


def carry(source: Path, target: Path) -> None:
    """Copy the journal of a run folder, and what is kept with it, into another folder.

    Raises:
        OutputError: the folder cannot take it. DocumentError: there is no journal.
    """
    if not (source / documents.JOURNAL).is_file():
        raise DocumentError(f"{source}: there is no {documents.JOURNAL} to replay")
    documents.write(target / documents.JOURNAL, (source / documents.JOURNAL).read_bytes())
    carry_kept(source, target)


def carry_kept(source: Path, target: Path) -> None:
    """Copy what is kept with a run, the site's figures and the baseline, into another folder.

    Raises:
        OutputError: the folder cannot take it.
    """
    for name in (SITE, BASELINE):
        if (source / name).is_file():
            documents.write(target / name, (source / name).read_bytes())


def _folder(path: Path) -> Path:
    """The run folder that `path`, the folder itself or a file in it, means."""
    return path if path.is_dir() else path.parent
