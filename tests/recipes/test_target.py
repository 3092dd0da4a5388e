"""What a processor is good at, from what boards and this machine say of themselves."""

import platform

import pytest

from edgeprof.recipes.target import Target, target_of, this_machine


@pytest.mark.parametrize(
    ("architecture", "features", "activation_type", "reduce_range", "multiple", "dot_product"),
    [
        ("x86_64", {"avx2"}, "uint8", True, 8, False),
        ("AMD64", {"avx2", "avx_vnni"}, "uint8", False, 8, True),
        ("x86_64", {"avx2", "avx512f"}, "uint8", True, 16, False),
        ("x86_64", {"avx512f", "avx512_vnni"}, "uint8", False, 16, True),
        ("i386", set(), "uint8", False, 8, None),
        ("x86_64", set(), "uint8", False, 8, None),
        ("aarch64", {"asimd"}, "int8", False, 8, False),
        ("aarch64", {"asimd", "asimddp"}, "int8", False, 8, True),
        ("armv7l", {"neon"}, "int8", False, 8, False),
        ("", set(), "int8", False, 8, None),
    ],
)
def test_what_follows_from_architecture_and_features(architecture, features, activation_type, reduce_range, multiple, dot_product):
    target = Target(architecture, frozenset(features))
    assert target.activation_type == activation_type
    assert target.reduce_range is reduce_range
    assert target.channel_multiple == multiple
    assert target.has_dot_product is dot_product


def test_a_fingerprint_names_processor_and_board():
    target = target_of({"machine": "aarch64", "cpu_model": "Cortex-A76", "cpu_features": ["asimd", "asimddp"]}, "pi5")
    assert target == Target("aarch64", frozenset({"asimd", "asimddp"}), "Cortex-A76 of pi5")


@pytest.mark.parametrize("features", [None, "avx512f", 5, {}])
def test_a_fingerprint_may_say_nothing_of_use(features):
    target = target_of({"cpu_features": features})
    assert target == Target("", frozenset(), "unknown processor")
    assert target.has_dot_product is None


def test_this_machine():
    target = this_machine()
    assert target.architecture == platform.machine()
    assert target.name == "this machine"
