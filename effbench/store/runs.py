"""A run folder as a whole: its record (from the journal where need be), its scorecard, and its site's figures."""

from pathlib import Path

from effbench.catalog.site import load_site
from effbench.model.error import DocumentError
from effbench.model.grade import Grade
from effbench.model.record import Record
from effbench.model.scorecard import Scorecard
from effbench.model.site import SiteFacts
from effbench.run import journal
from effbench.run.record import build
from effbench.score.node import score
from effbench.store import documents

SITE = "site.yaml"


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


def card_of(path: Path, facts: SiteFacts | None = None) -> tuple[Scorecard, Record | None]:
    """Return the scorecard of a run folder, a record or a scorecard file, and the record where there is one.

    `facts` are the site's own figures; those kept in the run folder stand in when there are none.

    Raises:
        DocumentError: nothing readable is there.
        CatalogError: the site's figures in the run folder have mistakes.
    """
    named = path.name.endswith(".gz") or path.name == documents.RECORD
    if path.is_file() and not named and documents.sniff(path) is Scorecard:
        return documents.read(path, Scorecard), None
    record = record_of(path)
    return score(record, facts or site_of(path)), record


def any_document(path: Path) -> Record | Scorecard | Grade:
    """Read a stored document of any kind. Raises DocumentError when it is none."""
    return documents.read(path, documents.sniff(path))


def site_of(run: Path) -> SiteFacts | None:
    """Return the site's figures that were kept with a run; None when there are none.

    Raises:
        CatalogError: they were changed since and have mistakes now.
    """
    file = (run if run.is_dir() else run.parent) / SITE
    return load_site(file) if file.is_file() else None


def keep_site(folder: Path, source: Path) -> None:
    """Keep a copy of the site's figures with the run, so that its reports can be made again without the original.

    Raises:
        OutputError: the folder cannot take it.
    """
    if source.resolve() != (folder / SITE).resolve():
        documents.write(folder / SITE, source.read_bytes())
