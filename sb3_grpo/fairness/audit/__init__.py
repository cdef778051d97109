"""The same metrics for records that no simulator made: a hospital's own log.

============= ===============================================================================================
columns.py    what the columns are called, from options or a YAML file
files.py      reading CSV and Parquet in chunks, with the line of whatever is wrong
cells.py      from cells to numbers, hours, yes or no, categories
problems.py   rows that cannot be used
log.py        a file as chunks of the patient table
duplicates.py records that occur twice
units.py      what is taken for independent, and what that assumes
stays.py      stays by unit and group
intervals.py  intervals of shares and means
audit.py      everything together
words.py      what it says in words
document.py   as JSON and as a tidy table
page.py       as a page; picture.py as a picture, terminal.py in a terminal
report.py     all of these
monitor.py    a log watched over time; monitor_words.py and monitor_picture.py show it
============= ===============================================================================================
"""

from sb3_grpo.fairness.audit.audit import Audit, GroupAudit, Question, audit_records
from sb3_grpo.fairness.audit.columns import ColumnMap, Source, map_of, read_map
from sb3_grpo.fairness.audit.files import RecordsError
from sb3_grpo.fairness.audit.log import PatientLog
from sb3_grpo.fairness.audit.report import AuditReport

__all__ = [
    "Audit",
    "AuditReport",
    "ColumnMap",
    "GroupAudit",
    "PatientLog",
    "Question",
    "RecordsError",
    "Source",
    "audit_records",
    "map_of",
    "read_map",
]
