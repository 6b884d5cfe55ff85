"""One unit of a column, in SI."""

PERCENT, MEGA, GIGA, MIB = 0.01, 1e6, 1e9, 2.0**20
