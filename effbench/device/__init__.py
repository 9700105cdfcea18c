"""Observing hardware: NVML, CPU, fake and replayed devices, the telemetry child."""
