"""What a board may say of itself, true or not: strategies for fingerprints."""

from __future__ import annotations

from hypothesis import strategies as st

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
KEYS = (
    "governor", "clock_min_khz", "clock_max_khz", "throttle_flags", "throttle_count", "alarms", "cooling", "load_1min", "cpus",
    "pressure_percent", "busy_processes", "gpu", "disk_free_bytes", "power_mode", "power_source", "virtual_machine",
)  # fmt: skip
shaped = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(KEYS, anything),
        "throttle_flags": st.fixed_dictionaries({"now": anything, "since_boot": anything}) | anything,
        "busy_processes": st.lists(st.fixed_dictionaries({"name": anything, "cpu_share": anything}), max_size=8) | anything,
    },
)
