"""What an agent says of a board: a Raspberry Pi that is not well."""

from __future__ import annotations

GB = 10**9
PI = {
    "environment": {
        "board_model": "Raspberry Pi 5 Model B Rev 1.0", "cpu_model": "Cortex-A76", "os": "Debian 12", "kernel": "6.6.51", "cpus": 4,
        "governor": "ondemand", "clock_khz": [1_500_000, 2_400_000], "clock_max_khz": [2_400_000] * 2,
        "temperature_c": {"thermal_zone0 cpu-thermal": 83.4},
        "throttle_flags": {"now": ["throttled"], "since_boot": ["throttled", "under-voltage"]},
        "alarms": [], "memory_bytes": {"MemTotal": 8 * GB, "MemAvailable": 6 * GB, "SwapTotal": GB, "SwapFree": GB // 2},
        "disk_free_bytes": 2 * 10**8, "disk_total_bytes": 32 * GB, "load_1min": 0.5, "uptime_s": 200_000.0, "python": "3.11.2",
        "busy_processes": [{"name": "chromium", "cpu_share": 0.8}], "pressure_percent": {"cpu": 1.0, "memory": 0.0},
    },
    "runtimes": {"onnxruntime": {"version": "1.32.0", "providers": ["CPUExecutionProvider"]}},
    "sensors": [{"name": "thermal", "channels": []}, {"name": "clocks", "channels": []}],
    "problems": [["pi_pmic-permission", "The power cannot be read: join the group video."], ["x-info", "Only told."]],
    "in_use": {"who": "ann@desk", "held_s": 125.0},
}  # fmt: skip
