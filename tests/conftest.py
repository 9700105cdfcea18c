"""What every test shares: the list, at the very end, of what was skipped and why."""

from collections import defaultdict

import pytest


def _reason(report: pytest.TestReport) -> str:
    """The sentence behind a skip, without pytest's own `Skipped: ` in front of it."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ").strip()


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the skipped tests by reason, each with how many tests and in which files."""
    places: dict[str, list[str]] = defaultdict(list)
    for report in terminalreporter.stats.get("skipped", []):
        places[_reason(report)].append(report.nodeid.split("::")[0])
    terminalreporter.section("Skipped, and why")
    if not places:
        terminalreporter.write_line("nothing was skipped")
    for reason, files in sorted(places.items()):
        terminalreporter.write_line(f"{len(files):4d}  {reason}  [{', '.join(sorted(set(files)))}]")
