"""What a training run leaves for people to look at: `report.html`, and its facts in `report.json`. Needs no torch."""

from adapterhub.report.report import Report
from adapterhub.report.write import HTML_FILE, JSON_FILE, read_report, write_report

__all__ = ["HTML_FILE", "JSON_FILE", "Report", "read_report", "write_report"]
