import onnx.defs
import pytest

from edgeprof.models.macs import FORMULAS
from edgeprof.models.operators import CLASSES, CONTROL_FLOW, NOT_DEFINED, ONNX, has_no_macs

STANDARD = sorted({(schema.domain, schema.name) for schema in onnx.defs.get_all_schemas_with_history()})


@pytest.mark.parametrize(("domain", "op_type"), STANDARD)
def test_every_operator_of_the_standard_has_exactly_one_class(domain, op_type):
    key = (domain, op_type)
    places = [key in FORMULAS, *(key in members for members in CLASSES.values()), key in CONTROL_FLOW, key in NOT_DEFINED]
    assert sum(places) == 1, f"{domain}:{op_type} stands in {sum(places)} places; add it to one of macs.FORMULAS, operators"


def test_nothing_has_two_classes():
    everything = [*FORMULAS, *(key for members in CLASSES.values() for key in members), *CONTROL_FLOW, *NOT_DEFINED]
    assert len(everything) == len(set(everything))


def test_every_formula_tells_its_source():
    from edgeprof.models import macs

    functions = [value for name, value in vars(macs).items() if callable(value) and getattr(value, "__module__", "") == macs.__name__]
    assert all(function.__doc__ for function in functions if not function.__name__.startswith("_") and function.__name__ != "Formula")


def test_a_name_in_another_domain_is_another_operator():
    assert has_no_macs(ONNX, "Relu")
    assert not has_no_macs("my.own", "Relu")
    assert ("my.own", "Conv") not in FORMULAS
