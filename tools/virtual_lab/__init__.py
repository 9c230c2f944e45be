"""A lab of real arm64 boards without hardware: Debian 12 under QEMU, each board with an instruction-counting clock.

    python -m tools.virtual_lab build
    python -m tools.virtual_lab start pi4 --cpu cortex-a72
    python -m tools.virtual_lab add pi4 | sh          # makes it a target of edgenas
    python -m tools.virtual_lab stop

The boards' clocks count instructions, not seconds: a latency repeats to a tenth of a percent whatever this computer
does meanwhile, and it differs between processors. It is no prediction of a real board's latency.
"""
