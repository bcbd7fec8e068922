"""Leads: elects itself, hears the agents, and heals."""
