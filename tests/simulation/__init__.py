"""The simulator (T3, T4): engine, healer, agents and fake hosts in virtual time, under faults drawn from a seed."""
