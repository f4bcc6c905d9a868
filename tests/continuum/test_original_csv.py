from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from aiotwin_nb.continuum import Node, Role, read_nodes_csv, write_nodes_csv
from aiotwin_nb.errors import InvalidInput


@pytest.fixture
def read(tmp_path):
    def reader(text):
        path = tmp_path / "nodes.csv"
        path.write_text(text, encoding="utf-8")
        return read_nodes_csv(path)

    return reader


def test_six_columns(read):
    ga, client = read('n1,global_aggregator,,0.1,,\n\nn4,client,"n1:130, n2:60.5",0.29,24,3\n')
    assert ga == Node("n1", Role.GLOBAL_AGGREGATOR, energy=Decimal("0.1"))
    links = {"n1": Decimal(130), "n2": Decimal("60.5")}
    assert client == Node("n4", Role.CLIENT, links, energy=Decimal("0.29"), partition=(3, 24))


def test_four_columns(read):
    (client,) = read('n4,client,"n1:120,n2:20","0:100,7:5"\n')
    assert client.data == {0: 100, 7: 5}
    assert client.samples == 105


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("n1,globl_aggregator,,", r"nodes\.csv, line 1, type: 'globl_aggregator'.*Did you mean 'global_aggregator'"),
        (",client,,", "line 1, id: ''"),
        ("n1,client,", "line 1, line: .* not 3"),
        ('n1,client,"","",1', "not 5"),
        ("n1,client,n2:1,n3:2", "line 1, data: 'n3' is wrong; allowed is a whole number"),
        ("n1,client,n2,", "links: 'n2' is wrong; allowed is peer:cost pairs"),
        ("n1,client,:3,", "links: ':3' is wrong"),
        ("n1,client,n2:x,", "links: 'x' is wrong; allowed is a finite number, 0 or more"),
        ("n1,client,n2:-1,", "links: '-1'"),
        ("n1,client,n2:NaN,", "links: 'NaN'"),
        ('n1,client,"n2:1,n2:2",', "links: 'n2:2' is wrong; allowed is each peer only once"),
        ("n1,client,,0:-3", "data: '-3'"),
        ("n1,client,,,4,", "partition_id: ''"),
        ("n1,client,,,4,4", "partition_id: '4' is wrong; allowed is 0 to num_partitions - 1"),
        ("n1,client,,x,4,1", "energy: 'x'"),
        ("n1,client,,\nn2,client,,\n\nn1,client,,", "line 4, id: 'n1' is wrong.*line 1 has this one"),
        ('n1,client,"n2:1,', "not CSV"),
    ],
)
def test_errors_name_file_line_field_and_what_is_allowed(read, text, words):
    with pytest.raises(InvalidInput, match=words):
        read(text)


def test_unreadable_files(tmp_path):
    with pytest.raises(InvalidInput, match=r"cannot read the nodes file .*none\.csv"):
        read_nodes_csv(tmp_path / "none.csv")
    latin = tmp_path / "latin.csv"
    latin.write_bytes(b"n\xe91,client,,")
    with pytest.raises(InvalidInput, match="not UTF-8"):
        read_nodes_csv(latin)


def test_write_and_read_back(tmp_path):
    nodes = (
        Node("n1", Role.GLOBAL_AGGREGATOR),
        Node("n4", Role.CLIENT, {"n1": Decimal("1E+2"), "n2": Decimal("0.5")}, data={0: 10, 1: 20}),
    )
    write_nodes_csv(nodes, tmp_path / "out.csv")
    assert read_nodes_csv(tmp_path / "out.csv") == nodes
    assert '"n1:100,n2:0.5","0:10,1:20"' in (tmp_path / "out.csv").read_text()
    with pytest.raises(InvalidInput, match="no comma"):
        write_nodes_csv([Node("a,b", Role.CLIENT)], tmp_path / "out.csv")


def test_files_of_the_original():
    reference = Path(__file__).resolve().parents[2].parent / "shared" / "reference"
    if not reference.is_dir():
        pytest.skip(reason=f"needs the reference files in {reference}")
    assert len(read_nodes_csv(reference / "cluster-24.csv")) == 30
    assert [n.id for n in read_nodes_csv(reference / "icmlcn" / "1a" / "changes.csv")] == ["n12", "n13"]
