"""The toy study, in the folder of a test."""

from pathlib import Path

import pytest

from tests.studies.toy import Study


@pytest.fixture
def study_with_report(tmp_path) -> Study:
    return Study(tmp_path)


@pytest.fixture
def study(study_with_report, monkeypatch) -> Study:
    """Its report is an empty page: to build one takes longer than everything else that is tested here."""

    def empty_page(folder: Path) -> Path:
        (folder / "report.html").touch()
        return folder / "report.html"

    monkeypatch.setattr("cjepa.studies.study.build_report", empty_page)
    return study_with_report
