"""Where built-in documents are: in a wheel, in a checkout, in folders of the user's, and in none of them."""

from pathlib import Path

import pytest

from effbench import resources
from effbench.model.error import InputError


@pytest.fixture
def package(tmp_path: Path) -> Path:
    place = tmp_path / "site" / "effbench"
    place.mkdir(parents=True)
    return place


def test_a_checkout_has_its_own_folders(package: Path) -> None:
    (package.parent / "reports" / "templates").mkdir(parents=True)
    assert resources.folder("templates", package) == package.parent / "reports" / "templates"


def test_the_packaged_folder_wins(package: Path) -> None:
    (package.parent / "workloads").mkdir()
    (package / "_data" / "workloads").mkdir(parents=True)
    assert resources.folder("workloads", package) == package / "_data" / "workloads"


def test_neither_is_a_precise_error(package: Path) -> None:
    with pytest.raises(InputError) as caught:
        resources.folder("policies", package)
    assert str(package / "_data" / "policies") in str(caught.value)
    assert str(package.parent / "ci" / "policies") in str(caught.value)
    with pytest.raises(InputError, match="no resource kind 'pets'"):
        resources.folder("pets", package)  # type: ignore[arg-type]


def test_names_have_no_suffix_and_are_sorted() -> None:
    names = resources.names("workloads")
    assert {"node/quick", "node/standard", "node/full", "selftest/truth"} <= set(names) and names == sorted(names)
    assert "node-2026" in resources.names("policies")
    assert "schema" not in names and not any(name.endswith(".json") for name in names)


def test_a_name_is_found_with_and_without_its_suffix() -> None:
    expected = resources.folder("workloads") / "node" / "quick.yaml"
    assert resources.find("workloads", "node/quick") == expected == resources.find("workloads", "node/quick.yaml")
    assert resources.find("workloads", expected) == expected


def test_extra_folders_come_before_the_built_in_one(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    own = tmp_path / "node" / "quick.yaml"
    own.write_text("x: 1\n")
    (tmp_path / "mine.yaml").write_text("x: 1\n")
    assert resources.find("workloads", "node/quick", [tmp_path]) == own
    assert "mine" in resources.names("workloads", [tmp_path, tmp_path / "absent"])


@pytest.mark.parametrize("name", ["node/quik", "nodequick", "../secrets", "/etc/passwd-not", "", "node"])
def test_an_unknown_name_lists_the_choices(name: str) -> None:
    with pytest.raises(InputError) as caught:
        resources.find("workloads", name)
    assert "node/quick" in str(caught.value) and "suite" in str(caught.value)


def test_the_closest_name_is_suggested() -> None:
    with pytest.raises(InputError, match="Did you mean node/quick"):
        resources.find("workloads", "node/quik")
