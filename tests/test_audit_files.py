"""Files of records: what is read, and what is refused with line and column."""

import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sb3_grpo.fairness.audit import ColumnMap, PatientLog, RecordsError, Source, map_of, read_map
from sb3_grpo.fairness.audit.columns import column_option
from tests.hospital_log import COLUMN_MAP, visits, write, write_map


def table_of(path: Path, columns: ColumnMap | None = None, rows: int = 1000, **options: Any) -> pd.DataFrame:
    log = PatientLog(path, columns or ColumnMap(), **options)
    return pd.concat([chunk.astype({c: object for c in chunk.select_dtypes("category")}) for chunk in log.tables(rows)])


def text_file(folder: Path, text: str, name: str = "log.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def refused(path: Path, columns: ColumnMap | None = None, **options: Any) -> str:
    with pytest.raises(RecordsError) as caught:
        table_of(path, columns, **options)
    return str(caught.value)


# --- what is read ---


def test_the_log_of_a_hospital(tmp_path: Path) -> None:
    """Every kind of field from one map, against values worked out by hand."""
    path = text_file(
        tmp_path,
        "Visit No,Arrived,Seen,Left At,Age,Sex,ESI,Disposal,Ethnicity\n"
        "1,2024-01-01 00:00:00,2024-01-01 01:30:00,,> 89,F,2,home,A\n"
        "2,2024-01-01T12:00,,2024-01-01T12:15,17,m,5,left,?\n"
        "3,2024-01-08,2024-01-08 00:00:36,,65,Other,3,readmitted,Ünsal\n",
    )
    table = table_of(path, read_map(write_map(tmp_path)), attributes=["ethnicity"])
    assert table["wait"].tolist() == pytest.approx([1.5, 0.25, 0.01])
    assert table["arrival"].tolist() == pytest.approx([24 * 19719, 24 * 19719 + 12, 24 * 19726])  # days since 5 January 1970
    assert np.floor(table["arrival"] / 168).diff().tolist()[1:] == [0, 1]  # the first of January 2024 was a Monday
    assert table["age_band"].tolist() == ["elderly", "child", "elderly"]
    assert table["sex"].tolist() == ["female", "male", "Other"]
    assert table["severity_arrival"].tolist() == ["critical", "routine", "urgent"]
    assert table["target_wait"].tolist() == [0.5, 4.0, 1.0]
    assert table["outcome"].tolist() == ["treated-success", "left", "treated-failure"]
    assert table["ethnicity"].tolist()[::2] == ["A", "Ünsal"] and pd.isna(table["ethnicity"].iloc[1])
    assert table["record_id"].tolist() == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (lambda t: t.replace("\n", "\r\n"), {}),
        (lambda t: "\ufeff" + t, {}),
        (lambda t: t.replace("\n", "\n\n"), {}),
        (lambda t: t.replace(",", ";"), {"delimiter": ";"}),
        (lambda t: t.replace(",", ";").replace("1.5", "1,5"), {"delimiter": ";", "decimal": ","}),
        (lambda t: t.replace("1.5", " 1.5").replace("F", " F "), {}),
        (lambda t: t, {"encoding": "latin-1"}),
        (lambda t: t, {"encoding": "utf-16"}),
    ],
    ids=["windows", "mark", "blank lines", "semicolons", "decimal comma", "spaces", "latin-1", "utf-16"],
)
def test_forms_of_text(tmp_path: Path, change: object, options: dict[str, str]) -> None:
    text = 'wait,sex,treated,region\n1.5,F,yes,"São Paulo"\n0,M,no,"Zürich"\n'
    path = text_file(tmp_path, change(text), encoding=options.get("encoding", "utf-8"))  # type: ignore[operator]
    table = table_of(path, ColumnMap(**options), attributes=["region"])  # type: ignore[arg-type]
    assert table["wait"].tolist() == [1.5, 0.0] and table["treated"].tolist() == [1.0, 0.0]
    assert table["region"].tolist() == ["São Paulo", "Zürich"]


def test_gzip_and_parquet(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    table = visits(500)
    plain = table_of(write(tmp_path, table), map_of({"columns": {}}), attributes=["Ward", "Ethnicity"])
    zipped = write(tmp_path, table, "visits.csv.gz")
    columns = read_map(write_map(tmp_path))
    expected = table_of(write(tmp_path, table), columns)
    pd.testing.assert_frame_equal(table_of(zipped, columns), expected)
    assert len(plain) == 500
    parquet = tmp_path / "visits.parquet"
    duckdb.connect().execute(
        f"COPY (SELECT * REPLACE (CAST(Arrived AS TIMESTAMP) AS Arrived, CAST(ESI AS INT) AS ESI) FROM read_csv('{zipped}', "
        f"all_varchar=true)) TO '{parquet}' (FORMAT parquet)"
    )
    pd.testing.assert_frame_equal(table_of(parquet, columns, rows=100), expected, check_dtype=False)
    table["ESI"] = 9
    write(tmp_path, table)
    duckdb.connect().execute(f"COPY (SELECT * FROM read_csv('{tmp_path / 'visits.csv'}', all_varchar=true)) TO '{parquet}'")
    assert re.match(r"visits.parquet, row 1, column 'ESI'", refused(parquet, columns))


def test_labels_keep_their_zeros(tmp_path: Path) -> None:
    """01 is a name, not the number 1; a value by number means the cell that shows it."""
    path = text_file(tmp_path, "ward,treated,triage\n01,1,1\n02,0,2\n10,1,1\n")
    columns = map_of({"columns": {"severity_arrival": {"column": "triage", "values": {1: "critical", 2: "routine"}}}})
    table = table_of(path, columns, attributes=["ward"])
    assert table["ward"].tolist() == ["01", "02", "10"]
    assert table["severity_arrival"].tolist() == ["critical", "routine", "critical"]


def test_durations_have_units(tmp_path: Path) -> None:
    path = text_file(tmp_path, "w,d,a,b\n90,2,30,-60\n0,0.5,0,-30\n")
    columns = map_of(
        {
            "columns": {
                "wait": {"column": "w", "unit": "minutes"},
                "target_wait": {"value": 30, "unit": "minutes"},
                "service_time": {"column": "d", "unit": "days"},
                "treated": {"value": "yes"},
            }
        }
    )
    table = table_of(path, columns)
    assert table["wait"].tolist() == [1.5, 0.0] and table["target_wait"].tolist() == [0.5, 0.5]
    assert table["service_time"].tolist() == [48.0, 12.0]
    between = map_of({"columns": {"wait": {"from": "b", "to": "a", "unit": "minutes"}}})
    assert table_of(path, between)["wait"].tolist() == [1.5, 0.5]
    assert table_of(path, ColumnMap().with_fields(dict([column_option("wait=w in minutes")])))["wait"].tolist() == [1.5, 0.0]
    with_factor = map_of({"columns": {"wait": {"column": "b", "unit": "minutes", "factor": -1}}})
    assert table_of(path, with_factor)["wait"].tolist() == [1.0, 0.5]


def test_who_still_waits_at_the_end(tmp_path: Path) -> None:
    """Without an end and a way out, the wait lasts until observation ended, and the patient was not treated."""
    path = text_file(tmp_path, "came,seen\n2024-01-01 00:00,2024-01-01 02:00\n2024-01-01 20:00,\n")
    content = {"columns": {"wait": {"from": "came", "to": "seen"}}}
    assert "column 'seen': got ''; accepted: a moment, or the map's observed_until" in refused(path, map_of(content))
    table = table_of(path, map_of({**content, "observed_until": "2024-01-02"}))
    assert table["wait"].tolist() == [2.0, 4.0] and table["treated"].tolist() == [1.0, 0.0]


def test_rows_are_chosen(tmp_path: Path) -> None:
    path = text_file(tmp_path, "visit,wait\n1,3\n2,4\n1,5\n,6\n")
    assert table_of(path, map_of({"keep": {"visit": 1}}))["wait"].tolist() == [3.0, 5.0]
    assert table_of(path, map_of({"keep": {"visit": [2, ""]}}))["wait"].tolist() == [4.0, 6.0]
    assert "no row has visit = 9" in refused(path, map_of({"keep": {"visit": 9}}))


# --- what is refused ---

BAD_CELLS: list[tuple[str, str, dict[str, Any], str]] = [
    ("wait", "abc", {}, "column 'wait': got 'abc'; accepted: a number of hours"),
    ("wait", "-1", {}, "column 'wait': got '-1'; accepted: a duration of at least 0"),
    ("wait", "inf", {}, "column 'wait': got 'inf'; accepted: a number of hours"),
    ("wait", "3,5", {}, "column 'wait': got '3,5'; accepted: a number of hours"),
    ("wait", "", {}, "column 'wait': got ''; accepted: a number of hours; of the untreated"),
    ("target_wait", "0", {}, "column 'target_wait': got '0'; accepted: a duration above 0"),
    ("age", "131", {}, "column 'age': got '131'; accepted: age from 0 to 130"),
    ("age", "-1", {}, "column 'age': got '-1'; accepted: age from 0 to 130"),
    ("arrival", "yesterday", {}, "column 'arrival': got 'yesterday'; accepted: a"),
    ("arrival", "", {}, "column 'arrival': got ''; accepted: a number of hours: arrival may not be missing"),
    ("outcome", "cured", {}, "column 'outcome': got 'cured'; accepted: one of treated-success, treated-failure"),
    ("outcome", "", {}, "outcome may not be missing"),
    ("severity_arrival", "2", {}, "column 'severity_arrival': got '2'; accepted: one of routine, urgent, critical"),
    ("treated", "perhaps", {}, "column 'treated': got 'perhaps'; accepted: yes or no"),
    ("benefit", "3", {}, "column 'benefit': got '3'; accepted: a benefit of at most the demand"),
    ("episode", "1.5", {}, "column 'episode': got '1.5'; accepted: a whole number"),
]


@pytest.mark.parametrize(("column", "cell", "options", "message"), BAD_CELLS, ids=[f"{c}={v}" for c, v, _, _ in BAD_CELLS])
def test_a_bad_cell_is_named(tmp_path: Path, column: str, cell: str, options: dict, message: str) -> None:
    good = {
        "episode": "1",
        "arrival": "5",
        "age": "40",
        "wait": "1",
        "target_wait": "2",
        "outcome": "left",
        "severity_arrival": "routine",
        "demand": "1",
        "benefit": "0",
    }
    if column == "treated":
        good["treated"] = "yes"
        del good["outcome"]
    rows = [{**good}, {**good}, {**good, column: f'"{cell}"'}, {**good}]
    lines = [",".join(good), *(",".join(row.values()) for row in rows)]
    text = lines[0] + "\n" + "\n".join(lines[1:])
    said = refused(text_file(tmp_path, text), **options)
    assert said.startswith("log.csv, line 4, ") and message in said


def test_line_of_a_cell_below_a_cell_of_two_lines(tmp_path: Path) -> None:
    """The line is that of the file, not the number of the record; blank lines count."""
    path = text_file(tmp_path, 'note,wait\n"two\nlines",1\n\n"x, y",-2\n')
    assert "line 5, column 'wait': got '-2'" in refused(path)


def test_order_in_time(tmp_path: Path) -> None:
    path = text_file(tmp_path, "came,seen\n2024-01-01 05:00,2024-01-01 06:00\n2024-01-01 05:00,2024-01-01 04:59\n")
    said = refused(path, map_of({"columns": {"wait": {"from": "came", "to": "seen"}}}))
    assert said == "log.csv, line 3, column 'seen': got '2024-01-01 04:59'; accepted: a moment not before 'came'"
    path = text_file(tmp_path, "came,seen\n05/01/2024 05:00,05/01/2024 06:00\n")
    between = {"from": "came", "to": "seen"}
    assert "line 2, column 'came'" in refused(path, map_of({"columns": {"wait": between}}))
    table = table_of(path, map_of({"columns": {"wait": {**between, "format": "%d/%m/%Y %H:%M"}}}))
    assert table["wait"].tolist() == [1.0]
    path = text_file(
        tmp_path, "came,seen\n2024-01-01 05:00+01:00,2024-01-01 06:00+01:00\n2024-01-01 05:00,2024-01-01 06:00+01:00\n"
    )
    assert "in one time zone" in refused(path, map_of({"columns": {"wait": between}}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "log.csv: is empty; expected a first line with the names of the columns"),
        ("\n\n", "is empty"),
        ("wait,sex\n", "holds no rows below its first line"),
        ("wait;sex\n1;F\n", "cells seem to be separated by a semicolon: give the delimiter ';'"),
        ("wait\tsex\n1\tF\n", r"cells seem to be separated by a tab: give the delimiter '\\t'"),
        ("wait,wait\n1,2\n", "line 1: two columns are called 'wait'"),
        ("wait,,sex\n1,2,F\n", "line 1: column 2 has no name"),
        ("wait,sex\n1,F\n2,M,x\n", "line 3: got 3 cells, expected 2 as in the first line"),
        ("wait,sex\n1,F\n2\n3,M\n", "line 3: got 1 cells, expected 2"),
        ('wait,sex\n1,"F"\n"2"\n3,M\n', "line 3: got 1 cells, expected 2"),
        ("wait,sex\n1,F,\n2,M,\n", "line 2: got 3 cells, expected 2"),
        ("\xff\xfew\x00", "the text is in UTF-16"),
        ("PK\x03\x04 something", "is a zip archive or a spreadsheet"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = text_file(tmp_path, text, encoding="latin-1")
    assert re.search(message, refused(path)), refused(path)


def test_other_bad_files(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "nothing.csv")
    assert "expected a file whose name ends in .csv, .csv.gz, .parquet" in refused(
        text_file(tmp_path, "a,b\n1,2\n", "log.txt")
    )
    latin = text_file(tmp_path, "sex,region\nF,Bern\nM,Zürich\n", encoding="latin-1")
    assert "log.csv, line 3: got the byte 0xfc, which is not utf-8; give the encoding" in refused(latin)
    assert "encoding: got 'utf-9'" in refused(latin, ColumnMap(encoding="utf-9"))
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress(b"wait,sex\n" + b"1,F\n" * 5000)[:-20])
    assert "cannot be unpacked" in refused(cut)
    assert "delimiter: got '::'" in refused(text_file(tmp_path, "a,b\n1,2\n"), ColumnMap(delimiter="::"))


def test_missing_columns_are_named_with_what_is_near(tmp_path: Path) -> None:
    path = text_file(tmp_path, "Wait_Min,sex\n1,F\n")
    said = refused(path, map_of({"columns": {"wait": "wiat_min"}}))
    assert said == (
        "log.csv, line 1: no column 'wiat_min' (for wait) (perhaps 'Wait_Min' was meant); the columns are Wait_Min, sex"
    )
    assert "no column 'ward' (to group by)" in refused(path, attributes=["ward"])
    assert "no column 'year' (to choose rows by)" in refused(path, map_of({"keep": {"year": 2024}}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"colums": {}}, r"unknown key 'colums' \(perhaps 'columns' was meant\)"),
        (
            {"columns": {"wait": {"column": "w", "unit": "minute"}}},
            r"columns: wait: unit: got 'minute', expected one of seconds",
        ),
        ({"columns": {"wait": {"from": "a"}}}, r"columns: wait: got .* expected one of: column, from and to"),
        ({"columns": {"wait": {"column": "a", "from": "b", "to": "c"}}}, "expected one of: column, from and to"),
        ({"columns": {"sex": {"from": "a", "to": "b"}}}, "from and to are for wait, target_wait, service_time"),
        ({"columns": {"sex": {"colum": "a"}}}, r"columns: sex: unknown key 'colum' \(perhaps 'column' was meant\)"),
        ({"columns": {"sex": 3}}, "columns: sex: got 3, expected the name of a column or a mapping"),
        ({"columns": {"treated": {"column": "t", "values": {True: "yes"}}}}, "got the truth value True"),
        ({"columns": {"age": {"column": "a", "factor": "x"}}}, "factor: got 'x', expected a number"),
        ({"age_bands": [65, 18]}, r"age_bands: got \[65, 18\], expected ascending limits"),
        ({"keep": 3}, "keep: got 3, expected a mapping"),
        ({"observed_until": "soon"}, r"observed_until: got 'soon', expected a time-stamp"),
        ({"columns": {"need": {"value": "x"}}}, "columns: need: value: got 'x', expected a number or yes or no"),
    ],
)
def test_bad_maps_are_named(tmp_path: Path, content: dict, message: str) -> None:
    path = text_file(tmp_path, "a,b,c,w,t\n1,2,3,4,yes\n")
    with pytest.raises(ValueError, match=message):
        table_of(path, map_of(content))


@pytest.mark.parametrize("text", ["wait", "=x", "wait="])
def test_bad_column_options(text: str) -> None:
    with pytest.raises(ValueError, match="expected FIELD=COLUMN"):
        column_option(text)


def test_column_options() -> None:
    assert column_option("wait = from came in to went out") == ("wait", Source(start="came in", end="went out"))
    assert column_option("sex=Gender at birth") == ("sex", Source(column="Gender at birth"))


def test_map_file_is_named_in_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"map.yml: unknown key 'nonsense'"):
        read_map(write_map(tmp_path, COLUMN_MAP + "nonsense: 1\n"))


def test_bad_rows_are_left_out_if_they_may_be(tmp_path: Path) -> None:
    path = text_file(tmp_path, "wait,age\n1,30\n-1,200\n2,40\nx,50\n3,60\n")
    log = PatientLog(path, ColumnMap(), bad_rows=2)
    assert pd.concat(list(log.tables()))["wait"].tolist() == [1.0, 2.0, 3.0]
    (sentence,) = log.problems.sentences()
    assert sentence.startswith("2 bad rows were left out: ") and "First: log.csv, line 3" in sentence
    assert "2 bad rows so far, at most 1 may be left out" in refused(path, bad_rows=1)
