"""Two small tasks that the project ships, for the demo and for tests. Needs no torch."""

from adapterhub.tasks.orders import score_order
from adapterhub.tasks.task import Task
from adapterhub.tasks.tickets import score_label

ORDERS = Task("orders", score_order)
"""A message to a shop becomes JSON."""
TICKETS = Task("tickets", score_label)
"""A customer's message gets one of six labels."""

__all__ = ["ORDERS", "TICKETS", "Task"]
