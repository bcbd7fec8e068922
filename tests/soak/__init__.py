"""The soak of a whole cluster in the namespace lab: faults at random while there is work, and a judge who stands outside (T7)."""
