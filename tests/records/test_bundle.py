"""Bundles: what is saved is loaded; what is damaged, hostile or too new is refused with a sentence; nothing is lost on the way."""

import dataclasses
import hashlib
import io
import json
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeprof.errors import BundleDamaged, BundleError, BundleTooNew, OutputError
from edgeprof.models.graph import Graph, Layer
from edgeprof.records import bundle, members, schema
from edgeprof.records.bundle import load, save
from edgeprof.records.context import Energy
from edgeprof.records.profile import Finding
from edgeprof.testing import make_graph, make_profile
from tests.laws import examples

from .strategies import assert_same, profiles

TABLES = ("layers", "runs", "spans", "samples", "windows", "tensors")
MEMBERS = ["profile.json", *(f"{name}.parquet" for name in TABLES), "graph.json"]
DATA = Path(__file__).parent / "data"
ONE_LINE = r"^[^\n]+$"
few = examples(1 / 2, suppress_health_check=[HealthCheck.function_scoped_fixture])


def example():
    graph = make_graph(["Conv", "Relu"])
    conv = dataclasses.replace(
        graph.layers[0], attributes={"alpha": -np.inf, "pads": (1, 1), "scales": (1.0, 2.0), "names": ("a",), "mode": "x", "raw": b"\xff\0"}
    )
    return dataclasses.replace(
        make_profile(findings=(Finding("drift", "warning", "It drifted.", ("a",)),)),
        graph=dataclasses.replace(graph, layers=(conv, *graph.layers[1:]), initializers=frozenset("bca")),
    )


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "p.edgeprof"
    save(example(), path)
    return path


def parts(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path, data, *, resign=True, **zip_options):
    """Writes these members; ``resign`` puts the right checksums into ``profile.json``."""
    if resign:
        header = json.loads(data["profile.json"])
        header["members"] = {name: hashlib.sha256(content).hexdigest() for name, content in data.items() if name != "profile.json"}
        data = data | {"profile.json": json.dumps(header).encode()}
    with zipfile.ZipFile(path, "w", **zip_options) as archive:
        for name, content in data.items():
            archive.writestr(name, content)


def edit_header(path, **changes):
    data = parts(path)
    rewrite(path, data | {"profile.json": json.dumps(json.loads(data["profile.json"]) | changes).encode()})


# Round trips


@given(profiles())
@few
def test_save_then_load_is_the_same_profile(tmp_path, profile):
    save(profile, tmp_path / "p.edgeprof")
    assert_same(load(tmp_path / "p.edgeprof"), profile)


def test_the_same_profile_gives_the_same_bytes(tmp_path, saved):
    again = tmp_path / "again.edgeprof"
    save(load(saved), again)
    assert again.read_bytes() == saved.read_bytes()


def test_a_large_profile_comes_back(tmp_path):
    profile = make_profile(np.linspace(0.1, 1, 5000), runs=40)
    save(profile, tmp_path / "p.edgeprof")
    assert_same(load(tmp_path / "p.edgeprof"), profile)


def test_save_and_load_take_text_and_the_profile_s_own_method_does_the_same(tmp_path):
    path = str(tmp_path / "p.edgeprof")
    profile = example()
    profile.save(path)
    assert_same(load(path), profile)


def test_every_field_of_the_model_and_the_profile_has_its_place():
    assert set(members._GraphFile.__struct_fields__) == {f.name for f in dataclasses.fields(Graph)}
    assert set(members._LayerFile.__struct_fields__) == {f.name for f in dataclasses.fields(Layer)}
    stored = {"origin", "parent", "context", "findings", "nodes", "graph", *schema.TABLES}
    assert stored == {f.name for f in dataclasses.fields(type(make_profile()))}


def test_numbers_that_json_lacks_become_unknown_in_the_context(tmp_path):
    context = dataclasses.replace(
        example().context, closure=float("nan"), fingerprint={"a": float("inf"), "b": np.float64(2), "c": np.int64(3)}
    )
    save(dataclasses.replace(example(), context=context), tmp_path / "p.edgeprof")
    loaded = load(tmp_path / "p.edgeprof").context
    assert loaded.closure is None
    assert loaded.fingerprint == {"a": None, "b": 2.0, "c": 3}


# What other tools see


def test_members_are_named_as_designed(saved):
    with zipfile.ZipFile(saved) as archive:
        assert archive.namelist() == MEMBERS
        stored = {info.filename for info in archive.infolist() if info.compress_type == zipfile.ZIP_STORED}
    assert stored == {name for name in MEMBERS if name.endswith(".parquet")}


@pytest.mark.parametrize("name", list(schema.TABLES))
def test_tables_are_plain_parquet_with_units(saved, name):
    data = parts(saved)[f"{name}.parquet"]
    table = pq.read_table(io.BytesIO(data))
    assert table.column_names == [c.name for c in schema.TABLES[name]]
    for c in schema.TABLES[name]:
        arrow = table.schema.field(c.name)
        assert arrow.type == {"str": pa.string(), "list": pa.list_(pa.string()), "bool": pa.bool_()}.get(c.dtype, c.dtype)
        assert arrow.metadata.get(b"unit", b"").decode() == c.unit
    frame = pd.read_parquet(io.BytesIO(data))
    assert len(frame) == len(getattr(example(), name))


def test_what_is_not_measured_is_nan_and_not_null(saved):
    table = pq.read_table(io.BytesIO(parts(saved)["layers.parquet"]))
    energy = table.column("energy_mj")
    assert energy.null_count == 0
    assert np.isnan(energy.to_numpy()).all()


def test_the_header_is_json_for_people(saved):
    header = json.loads(parts(saved)["profile.json"])
    assert header["schema_version"] == schema.SCHEMA_VERSION
    assert header["origin"] == "measured"
    assert header["context"]["runtime"] == "onnxruntime"
    assert header["findings"][0]["text"] == "It drifted."
    assert list(header["members"]) == MEMBERS[1:]


# Damage


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_byte_is_refused_or_changes_nothing(tmp_path, saved, data):
    path = tmp_path / "x.edgeprof"
    profile = example()
    content = bytearray(saved.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        loaded = load(path)
    except BundleError:
        return
    assert_same(loaded, profile)


def test_damage_in_the_zip_s_own_structure_is_refused_or_changes_nothing(tmp_path, saved):
    original, path = saved.read_bytes(), tmp_path / "x.edgeprof"
    profile = example()
    for place in range(original.index(b"PK\x01\x02"), len(original), 3):
        path.write_bytes(original[:place] + bytes([original[place] ^ 1 << place % 8]) + original[place + 1 :])
        try:
            loaded = load(path)
        except BundleError:
            continue
        assert_same(loaded, profile)


@given(st.floats(0, 1, exclude_max=True))
@few
def test_a_file_cut_anywhere_is_refused(tmp_path, saved, share):
    path = tmp_path / "x.edgeprof"
    content = saved.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(BundleError, match=ONE_LINE):
        load(path)


@given(st.binary(max_size=300), st.sampled_from([b"", b"PK", b"PK\x03\x04", b"PK\x05\x06"]))
@few
def test_any_bytes_are_refused(tmp_path, data, head):
    path = tmp_path / "p.edgeprof"
    path.write_bytes(head + data)
    with pytest.raises(BundleError):
        load(path)


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("damage", [None, b"", b"[", b"{}", b"PAR1xxxxPAR1", b"[" * 200_000])
def test_a_damaged_member_is_named(saved, member, damage):
    data = parts(saved)
    sums = json.loads(data["profile.json"])["members"]
    data.pop(member) if damage is None else data.update({member: damage})
    if member != "profile.json" and damage is not None:
        sums[member] = hashlib.sha256(damage).hexdigest()  # even one that was signed
        data["profile.json"] = json.dumps(json.loads(data["profile.json"]) | {"members": sums}).encode()
    rewrite(saved, data, resign=False)
    with pytest.raises(BundleDamaged, match=member) as caught:
        load(saved)
    assert caught.value.members == (member,)


@pytest.mark.parametrize("member", MEMBERS[1:])
def test_the_rest_of_a_damaged_bundle_loads_and_says_what_is_missing(saved, member):
    data = parts(saved)
    rewrite(saved, data | {member: data[member][:-9] + b"xxxxxxxxx"}, resign=False)
    with pytest.raises(BundleDamaged, match=r"checksum is wrong.*partial=True"):
        load(saved)
    whole, loaded = example(), load(saved, partial=True)
    for name in schema.TABLES:
        assert len(getattr(loaded, name)) == (0 if member == f"{name}.parquet" else len(getattr(whole, name)))
    assert loaded.graph == (None if member == "graph.json" else whole.graph)
    assert loaded.context == whole.context
    *others, finding = loaded.findings
    assert tuple(others) == whole.findings
    assert (finding.id, finding.severity) == ("bundle-damaged", "error")
    assert member in finding.text


def test_several_damaged_members_are_all_named(saved):
    data = parts(saved)
    rewrite(saved, data | {"runs.parquet": b"x", "graph.json": b"y"}, resign=False)
    with pytest.raises(BundleDamaged) as caught:
        load(saved)
    assert caught.value.members == ("runs.parquet", "graph.json")
    assert load(saved, partial=True).runs.empty


def test_a_damaged_header_cannot_be_loaded_in_part(saved):
    rewrite(saved, parts(saved) | {"profile.json": b"{"}, resign=False)
    with pytest.raises(BundleDamaged, match=r"profile\.json") as caught:
        load(saved, partial=True)
    assert caught.value.members == ("profile.json",)


@pytest.mark.parametrize(
    "changes",
    [
        {"origin": "dreamt"}, {"context": None}, {"context": {}}, {"context": {"model_name": 3}}, {"findings": [{"id": "x"}]}, {"nodes": 4},
        {"context": {"model_name": "m", "cpus": ["a"]}}, {"parent": 1},
        {"schema_version": "1"}, {"schema_version": 0}, {"schema_version": True}, {"schema_version": None},
    ],
)  # fmt: skip
def test_a_header_of_other_types_is_refused(saved, changes):
    edit_header(saved, **changes)
    with pytest.raises(BundleDamaged, match=r"profile\.json"):
        load(saved)


@pytest.mark.parametrize(
    "change",
    [
        {"attributes": {"a": {"i": 1, "s": "x"}}}, {"attributes": {"a": {}}}, {"attributes": {"a": {"f": "many"}}},
        {"attributes": {"a": {"b": "?"}}}, {"attributes": {"a": {"ints": ["x"]}}}, {"inputs": "x"}, {"name": None},
    ],
)  # fmt: skip
def test_a_graph_of_other_types_is_refused(saved, change):
    data = parts(saved)
    graph = json.loads(data["graph.json"])
    graph["layers"][0] |= change
    rewrite(saved, data | {"graph.json": json.dumps(graph).encode()})
    with pytest.raises(BundleDamaged, match=r"graph\.json"):
        load(saved)


def table_file(table):
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


@pytest.mark.parametrize("change", ["drop", "add", "text", "null", "fraction"])
def test_a_table_of_other_columns_or_types_is_refused(saved, change):
    data = parts(saved)
    table = pq.read_table(io.BytesIO(data["runs.parquet"]))
    n = len(table)
    table = {
        "drop": lambda: table.drop_columns(["block"]),
        "add": lambda: table.append_column("more", pa.array(np.zeros(n))),
        "text": lambda: table.set_column(1, "block", pa.array(["x"] * n)),
        "null": lambda: table.set_column(1, "block", pa.array([None] * n, pa.int64())),
        "fraction": lambda: table.set_column(1, "block", pa.array([0.5] * n)),
    }[change]()
    rewrite(saved, data | {"runs.parquet": table_file(table)})
    with pytest.raises(BundleDamaged, match=r"runs\.parquet"):
        load(saved)


# Hostile files


def test_members_of_one_name_are_refused(saved):
    data = parts(saved)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(saved, "a") as archive:
        archive.writestr("layers.parquet", data["layers.parquet"])
    with pytest.raises(BundleError, match=r"two members named 'layers\.parquet'"):
        load(saved)


def test_other_members_are_not_touched(tmp_path, saved):
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr("../outside.txt", b"x")
        archive.writestr("/etc/outside.txt", b"x")
        archive.writestr("notes.md", b"x")
    assert_same(load(saved), example())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.edgeprof"]
    assert not (tmp_path.parent / "outside.txt").exists()


def test_a_member_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(saved, monkeypatch):
    monkeypatch.setattr(bundle, "MEMBER_LIMIT", 1 << 20)
    rewrite(saved, parts(saved) | {"graph.json": b" " * (2 << 20)}, compression=zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(BundleError, match="claims to unpack to more than 1 MiB"):
        load(saved)


def test_members_that_unpack_to_too_much_together_are_refused(saved, monkeypatch):
    monkeypatch.setattr(bundle, "FILE_LIMIT", sum(map(len, parts(saved).values())) - 1)
    with pytest.raises(BundleError):
        load(saved)


def test_a_file_that_is_too_large_is_refused(saved, monkeypatch):
    monkeypatch.setattr(bundle, "FILE_LIMIT", 100)
    with pytest.raises(BundleError, match="no bundle is"):
        load(saved)


def test_too_many_members_are_refused(saved):
    with zipfile.ZipFile(saved, "a") as archive:
        for i in range(1001):
            archive.writestr(f"x{i}", b"")
    with pytest.raises(BundleError, match="too many members"):
        load(saved)


def test_a_table_that_claims_too_many_rows_is_refused(saved, monkeypatch):
    monkeypatch.setattr(members, "ROW_LIMITS", {**members.ROW_LIMITS, "spans": 3})
    with pytest.raises(BundleDamaged, match=r"spans\.parquet.*at most 3 make sense"):
        load(saved)


def test_a_dictionary_that_would_need_too_much_when_written_out_is_refused(saved):
    rows = 40_000
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["x" * 30_000]))
    samples = pa.table({"time_ms": np.zeros(rows), "channel": column, "value": np.zeros(rows)})
    file = table_file(samples)
    assert len(file) < 200_000
    rewrite(saved, parts(saved) | {"samples.parquet": file})
    with pytest.raises(BundleDamaged, match=r"samples\.parquet.*would need 1,200,000,000 bytes"):
        load(saved)


def test_other_packing_is_refused(saved):
    rewrite(saved, parts(saved), resign=False, compression=zipfile.ZIP_BZIP2)
    with pytest.raises(BundleDamaged, match="unexpected way"):
        load(saved)


@pytest.mark.parametrize("content", [b"", b"hello", b"{}", b"\x80\x04\x95"])
def test_what_is_no_zip_is_refused(tmp_path, content):
    path = tmp_path / "p.edgeprof"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"^p\.edgeprof is (empty|not a zip file)\. Expected a \.edgeprof bundle"):
        load(path)


def test_another_zip_is_refused(tmp_path):
    path = tmp_path / "p.edgeprof"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", b"x")
    with pytest.raises(BundleDamaged, match=r"is not a bundle or is damaged: profile\.json is missing"):
        load(path)


def test_a_path_that_cannot_be_read_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.edgeprof"):
        with pytest.raises(BundleError, match="Cannot read"):
            load(path)


# Versions


def test_a_newer_schema_is_refused(saved):
    edit_header(saved, schema_version=schema.SCHEMA_VERSION + 1, context={"shape": "unheard of"})
    with pytest.raises(BundleTooNew, match=r"newer edgeprof \(schema 3; this one reads up to 2\)\. Update edgeprof"):
        load(saved)
    with pytest.raises(BundleTooNew):
        load(saved, partial=True)


def test_there_is_one_upgrade_for_each_older_version():
    assert len(bundle.UPGRADES) == schema.SCHEMA_VERSION - 1


def test_older_bundles_go_through_each_upgrade_in_turn(saved, monkeypatch):
    def to_2(contents):
        context = contents.header["context"]
        return dataclasses.replace(contents, header=contents.header | {"context": context | {"board": context["board"] + " 2"}})

    def to_3(contents):
        runs = contents.tables["runs"]
        runs = runs.set_column(1, "block", pa.array([7] * len(runs)))
        context = contents.header["context"]
        header = contents.header | {"context": context | {"board": context["board"] + " 3"}}
        return dataclasses.replace(contents, header=header, tables=contents.tables | {"runs": runs})

    now = schema.SCHEMA_VERSION
    monkeypatch.setattr(bundle, "UPGRADES", (*bundle.UPGRADES, to_2, to_3))
    monkeypatch.setattr(bundle, "SCHEMA_VERSION", now + 2)
    assert load(saved).context.board == "local 2 3"
    assert (load(saved).runs["block"] == 7).all()
    edit_header(saved, schema_version=now + 1)
    assert load(saved).context.board == "local 3"


def test_a_bundle_of_version_1_opens_with_what_it_has():
    profile = load(DATA / "v1.edgeprof")
    assert len(profile.measured_layers) == 13
    assert profile.context.memory.process["load"].peak_bytes > 1e6
    assert profile.layers[["live_memory_bytes", "energy_closed_mj", "latency_isolated_ms"]].isna().all(axis=None)
    assert profile.windows.empty and profile.tensors.empty
    assert profile.context.energy == Energy()


def test_an_older_bundle_that_does_not_hold_what_it_should_is_damaged(saved, monkeypatch):
    monkeypatch.setattr(bundle, "UPGRADES", (*bundle.UPGRADES, lambda contents: contents.header["gone"]))
    monkeypatch.setattr(bundle, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 1)
    with pytest.raises(BundleDamaged, match="what schema 2 says"):
        load(saved)


# Writing


def only(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on file sizes to run into")
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, saved):
    import resource

    before = saved.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"Cannot write .*p\.edgeprof"):
            save(make_profile((1.0,)), saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert saved.read_bytes() == before
    assert only(tmp_path) == ["p.edgeprof"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_said(tmp_path, saved):
    before = saved.read_bytes()
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="Cannot write"):
            save(make_profile(), saved)
    finally:
        tmp_path.chmod(0o700)
    assert saved.read_bytes() == before


@pytest.mark.parametrize("where", ["none/p.edgeprof", "file/p.edgeprof", "folder", "x" * 300])
def test_a_place_that_cannot_be_written_is_said(tmp_path, where):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="Cannot write"):
        save(make_profile(), tmp_path / where)
    assert only(tmp_path) == ["file", "folder"]


def test_an_interruption_leaves_the_old_file_and_nothing_else(tmp_path, saved, monkeypatch):
    before = saved.read_bytes()

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(make_profile((1.0,)), saved)
    assert saved.read_bytes() == before
    assert only(tmp_path) == ["p.edgeprof"]


def test_saving_over_a_file_replaces_it(tmp_path, saved):
    save(make_profile((1.0,)), saved)
    assert_same(load(saved), make_profile((1.0,)))
    assert only(tmp_path) == ["p.edgeprof"]


@pytest.mark.parametrize("value", [object(), "\ud800", {1j: 2}])
def test_what_has_no_place_in_a_bundle_is_said_and_nothing_is_written(tmp_path, value):
    context = dataclasses.replace(make_profile().context, fingerprint={"x": value})
    with pytest.raises(BundleError, match="This profile cannot be saved"):
        save(dataclasses.replace(make_profile(), context=context), tmp_path / "p.edgeprof")
    assert only(tmp_path) == []


def test_a_name_that_is_no_text_is_said(tmp_path):
    with pytest.raises(BundleError, match="This profile cannot be saved"):
        save(make_profile((1.0,), source_nodes=[["\ud800"]]), tmp_path / "p.edgeprof")


def test_a_profile_that_is_too_big_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "MEMBER_LIMIT", 1000)
    with pytest.raises(BundleError, match=r"too big \(.*layers\.parquet"):
        save(make_profile(), tmp_path / "p.edgeprof")
    assert list(Path(tmp_path).iterdir()) == []
